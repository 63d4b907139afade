"""The first schema.

Frozen: what a released migration does never changes, so it does not import schema.py.
"""

import sqlalchemy as sa
from alembic import op

revision = "1"
down_revision = None
branch_labels = None
depends_on = None

RowId = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make every table, and the one row of `version`."""
    _make_version()
    _make_people()
    _make_lists()
    _make_posts()


def _make_version() -> None:
    version = op.create_table(
        "version",
        sa.Column("id", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("deliveries", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_version"),
    )
    op.bulk_insert(version, [{"id": 1, "version": 1, "deliveries": 1}])


def _make_people() -> None:
    op.create_table(
        "person",
        sa.Column("id", RowId, nullable=False),
        sa.Column("display_name", sa.Text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_person"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "address",
        sa.Column("id", RowId, nullable=False),
        sa.Column("address_key", sa.Text, nullable=False),
        sa.Column("address", sa.Text, nullable=False),
        sa.Column("person_id", RowId),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_address"),
        sa.UniqueConstraint("address_key", name="uq_address_address_key"),
        sa.ForeignKeyConstraint(["person_id"], ["person.id"], name="fk_address_person_id"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_address_person_id", "address", ["person_id"])


def _make_lists() -> None:
    op.create_table(
        "list",
        sa.Column("id", RowId, nullable=False),
        sa.Column("list_id", sa.Text, nullable=False),
        sa.Column("address", sa.Text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("rewritten", sa.BigInteger, nullable=False),
        sa.Column("deliveries", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_list"),
        sa.UniqueConstraint("list_id", name="uq_list_list_id"),
        sa.UniqueConstraint("address", name="uq_list_address"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "setting",
        sa.Column("list_row", RowId, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("value", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("list_row", "name", name="pk_setting"),
        sa.ForeignKeyConstraint(["list_row"], ["list.id"], name="fk_setting_list_row"),
    )
    op.create_table(
        "membership",
        sa.Column("id", RowId, nullable=False),
        sa.Column("list_row", RowId, nullable=False),
        sa.Column("address_key", sa.Text, nullable=False),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("delivery", sa.Boolean, nullable=False),
        sa.Column("moderation_action", sa.Text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_membership"),
        sa.UniqueConstraint(
            "list_row", "address_key", "role", name="uq_membership_list_row_address_key_role"
        ),
        sa.ForeignKeyConstraint(["list_row"], ["list.id"], name="fk_membership_list_row"),
        sa.ForeignKeyConstraint(["address_key"], ["address.address_key"], name="fk_membership_address_key"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_membership_address_key", "membership", ["address_key"])
    op.create_index("ix_membership_list_row_id", "membership", ["list_row", "id"])
    op.create_table(
        "ban",
        sa.Column("id", RowId, nullable=False),
        sa.Column("list_id", sa.Text, nullable=False),
        sa.Column("pattern", sa.Text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_ban"),
        sa.UniqueConstraint("list_id", "pattern", name="uq_ban_list_id_pattern"),
        sqlite_autoincrement=True,
    )


def _make_posts() -> None:
    op.create_table(
        "held_post",
        sa.Column("id", RowId, nullable=False),
        sa.Column("list_id", sa.Text, nullable=False),
        sa.Column("item_id", sa.Text, nullable=False),
        sa.Column("reverse_path", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("message_id", sa.Text, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("content", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_held_post"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_held_post_list_id_id", "held_post", ["list_id", "id"])
    op.create_table(
        "applied_outcome",
        sa.Column("item_id", sa.Text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("outcome", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("item_id", name="pk_applied_outcome"),
    )
    op.create_index("ix_applied_outcome_created_at", "applied_outcome", ["created_at"])
