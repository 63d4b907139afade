"""The tables of the list store as they are now; migrations/ has the way here from every released version.

Neutral between SQLite and PostgreSQL. Row ids are never used again (AUTOINCREMENT, sequences): items and tokens name them. Times are
milliseconds since 1970 UTC, from config.clock. docs/states.md tells what each row means.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    false,
    text,
    true,
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
    Column("moderation_action", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("display_name", Text, nullable=False, server_default=""),
    Column("language", Text, nullable=False, server_default=""),
    Column("delivery_mode", Text, nullable=False, server_default="regular"),
    Column("delivery_status", Text, nullable=False, server_default="enabled"),
    Column("status_by", Text, nullable=False, server_default=""),
    Column("status_why", Text, nullable=False, server_default=""),
    Column("status_at", BigInteger),
    Column("status_until", BigInteger),
    Column("receive_own_postings", Boolean, nullable=False, server_default=true()),
    Column("acknowledge_posts", Boolean, nullable=False, server_default=false()),
    Column("hide_address", Boolean, nullable=False, server_default=false()),
    UniqueConstraint("list_row", "address_key", "role"),
    Index(
        "ix_membership_status_until",
        "status_until",
        sqlite_where=text("status_until IS NOT NULL"),
        postgresql_where=text("status_until IS NOT NULL"),
    ),
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

# What happened to whom and why; only added to. The list-id and the key stand as text: it outlives list, member and address.
history = Table(
    "history",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("at", BigInteger, nullable=False),
    Column("list_id", Text, nullable=False),
    Column("address_key", Text, nullable=False),  # "": the list itself
    Column("address", Text, nullable=False),
    Column("what", Text, nullable=False),
    Column("old", Text, nullable=False),
    Column("new", Text, nullable=False),
    Column("cause", Text, nullable=False),
    Column("who", Text, nullable=False),
    Column("why", Text, nullable=False),
    Column("item_id", Text, nullable=False),
    Index(None, "list_id", "address_key", "id"),
    sqlite_autoincrement=True,
)

token = Table(
    "token",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("hash", Text, nullable=False, unique=True),
    Column("purpose", Text, nullable=False),
    Column("list_id", Text, nullable=False),
    Column("address_key", Text, nullable=False),
    Column("address", Text, nullable=False),
    Column("item_id", Text, nullable=False),
    Column("about", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("used_at", BigInteger),
    Index(None, "expires_at", "id"),
    Index(None, "list_id", "address_key"),
    sqlite_autoincrement=True,
)

request = Table(
    "request",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("list_id", Text, nullable=False),
    Column("address_key", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("address", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("asked_by", Text, nullable=False),
    Column("options", Text, nullable=False),  # JSON
    Column("item_id", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    UniqueConstraint("list_id", "address_key", "kind"),
    Index(None, "expires_at", "id"),
    sqlite_autoincrement=True,
)

bounce_record = Table(
    "bounce_record",
    metadata,
    Column("membership_id", RowId, ForeignKey("membership.id"), primary_key=True, autoincrement=False),
    Column("state", Text, nullable=False),
    Column("score", Float, nullable=False),
    Column("day", Text, nullable=False),  # the last that scored, ISO 8601; "": none
    Column("day_weight", Float, nullable=False),
    Column("counts", Text, nullable=False),  # JSON
    Column("warnings_sent", Integer, nullable=False),
    Column("probed_at", BigInteger),
    Column("due_at", BigInteger),
    Index(None, "due_at", "membership_id"),
)

# One row a bounce. By list-id and key like history, so that it is there when somebody asks why they were removed.
bounce_evidence = Table(
    "bounce_evidence",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("at", BigInteger, nullable=False, index=True),
    Column("list_id", Text, nullable=False),
    Column("address_key", Text, nullable=False),
    Column("domain", Text, nullable=False),
    Column("same_words", Text, nullable=False),
    Column("day", Text, nullable=False),
    Column("bounce_class", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("diagnostic", Text, nullable=False),
    Column("item_id", Text, nullable=False),
    Index(None, "list_id", "address_key", "id"),
    Index(None, "list_id", "domain", "at"),
    Index(None, "list_id", "same_words", "at"),
    sqlite_autoincrement=True,
)

freeze = Table(
    "freeze",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("list_id", Text, nullable=False),  # "": the whole site
    Column("topic", Text, nullable=False),
    Column("since", BigInteger, nullable=False),
    Column("until", BigInteger, nullable=False, index=True),
    Column("told_at", BigInteger),
    UniqueConstraint("list_id", "topic"),
    sqlite_autoincrement=True,
)

# Automatic mail by address, under a hash that only this site's key can make (lists/gate.py): no list of strangers' addresses.
mail_budget = Table(
    "mail_budget",
    metadata,
    Column("key", Text, primary_key=True),
    Column("since", BigInteger, nullable=False, index=True),
    Column("count", Integer, nullable=False),
)
