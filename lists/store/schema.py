"""The tables of the list store as they are now; migrations/ has the way here from every released version.

Neutral between SQLite and PostgreSQL. Row ids are never used again (AUTOINCREMENT, sequences): items and tokens name them. Times are
milliseconds since 1970 UTC, from config.clock. docs/states.md tells what each row means.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# SQLite counts only an INTEGER PRIMARY KEY by itself; elsewhere 64 bits.
RowId = BigInteger().with_variant(Integer(), "sqlite")

# One row. `version` rises with what RCPT looks at, `deliveries` with what only the way out looks at.
version = Table(
    "version",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("version", BigInteger, nullable=False),
    Column("deliveries", BigInteger, nullable=False),
)

# Somebody with several addresses. An address known only by itself has no person.
person = Table(
    "person",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("display_name", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    sqlite_autoincrement=True,
)

address = Table(
    "address",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("address_key", Text, nullable=False, unique=True),  # mailbox.address_key
    Column("address", Text, nullable=False),  # as it was written
    Column("person_id", RowId, ForeignKey("person.id"), index=True),
    Column("created_at", BigInteger, nullable=False),
    sqlite_autoincrement=True,
)

mailing_list = Table(
    "list",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("list_id", Text, nullable=False, unique=True),
    Column("address", Text, nullable=False, unique=True),
    Column("created_at", BigInteger, nullable=False),
    Column("version", BigInteger, nullable=False),  # the site's, when this list last changed
    Column("rewritten", BigInteger, nullable=False),
    Column("deliveries", BigInteger, nullable=False),
    sqlite_autoincrement=True,
)

setting = Table(
    "setting",
    metadata,
    Column("list_row", RowId, ForeignKey("list.id"), primary_key=True),
    Column("name", Text, primary_key=True),
    Column("value", Text, nullable=False),  # JSON
)

# The key stands here too: roll, snapshot and listing read this table in order of an index, without a join.
membership = Table(
    "membership",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("list_row", RowId, ForeignKey("list.id"), nullable=False),
    Column("address_key", Text, ForeignKey("address.address_key"), nullable=False, index=True),
    Column("role", Text, nullable=False),
    Column("delivery", Boolean, nullable=False),
    Column("moderation_action", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    UniqueConstraint("list_row", "address_key", "role"),
    Index(None, "list_row", "id"),
    sqlite_autoincrement=True,
)

ban = Table(
    "ban",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("list_id", Text, nullable=False),  # "": in the whole site
    Column("pattern", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    UniqueConstraint("list_id", "pattern"),
    sqlite_autoincrement=True,
)

held_post = Table(
    "held_post",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("list_id", Text, nullable=False),  # stays when the list is removed
    Column("item_id", Text, nullable=False),
    Column("reverse_path", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("message_id", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("size", BigInteger, nullable=False),  # octets
    Column("created_at", BigInteger, nullable=False),
    Column("content", LargeBinary, nullable=False),  # last: a listing does not read over it
    Index(None, "list_id", "id"),
    sqlite_autoincrement=True,
)

applied_outcome = Table(
    "applied_outcome",
    metadata,
    Column("item_id", Text, primary_key=True),
    Column("created_at", BigInteger, nullable=False, index=True),
    Column("outcome", LargeBinary, nullable=False),
)
