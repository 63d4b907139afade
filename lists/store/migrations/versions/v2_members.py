"""What is known of members: delivery and preferences, history, tokens, requests, bounces, budgets of automatic mail.

Frozen: what a released migration does never changes, so it does not import schema.py.
"""

import sqlalchemy as sa
from alembic import op

revision = "2"
down_revision = "1"
branch_labels = None
depends_on = None

RowId = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Give memberships their new columns, and make the new tables empty."""
    _widen_membership()
    _make_history()
    _make_token()
    _make_request()
    _make_bounces()
    _make_budget()


def _widen_membership() -> None:
    for column in (
        sa.Column("display_name", sa.Text, nullable=False, server_default=""),
        sa.Column("language", sa.Text, nullable=False, server_default=""),
        sa.Column("delivery_mode", sa.Text, nullable=False, server_default="regular"),
        sa.Column("delivery_status", sa.Text, nullable=False, server_default="enabled"),
        sa.Column("status_by", sa.Text, nullable=False, server_default=""),
        sa.Column("status_why", sa.Text, nullable=False, server_default=""),
        sa.Column("status_at", sa.BigInteger),
        sa.Column("status_until", sa.BigInteger),
        sa.Column("receive_own_postings", sa.Boolean, nullable=False, server_default=sa.true()),
        sa.Column("acknowledge_posts", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("hide_address", sa.Boolean, nullable=False, server_default=sa.false()),
    ):
        op.add_column("membership", column)
    # The first version had a switch that only bin/postroom could turn: off meant that an owner had done it.
    op.execute(
        "UPDATE membership SET delivery_status = 'by_owner', status_why = 'from an earlier version' WHERE NOT delivery"
    )
    op.drop_column("membership", "delivery")
    some = sa.text("status_until IS NOT NULL")
    op.create_index(
        "ix_membership_status_until",
        "membership",
        ["status_until"],
        sqlite_where=some,
        postgresql_where=some,
    )


def _make_history() -> None:
    op.create_table(
        "history",
        sa.Column("id", RowId, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("list_id", "address_key", "address")),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("what", "old", "new")),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("cause", "who", "why", "item_id")),
        sa.PrimaryKeyConstraint("id", name="pk_history"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_history_list_id_address_key_id", "history", ["list_id", "address_key", "id"])


def _make_token() -> None:
    op.create_table(
        "token",
        sa.Column("id", RowId, nullable=False),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("hash", "purpose", "list_id")),
        *(
            sa.Column(name, sa.Text, nullable=False)
            for name in ("address_key", "address", "item_id", "about")
        ),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
        sa.Column("used_at", sa.BigInteger),
        sa.PrimaryKeyConstraint("id", name="pk_token"),
        sa.UniqueConstraint("hash", name="uq_token_hash"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_token_expires_at_id", "token", ["expires_at", "id"])
    op.create_index("ix_token_list_id_address_key", "token", ["list_id", "address_key"])


def _make_request() -> None:
    op.create_table(
        "request",
        sa.Column("id", RowId, nullable=False),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("list_id", "address_key", "kind", "address")),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("state", "asked_by", "options", "item_id")),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_request"),
        sa.UniqueConstraint("list_id", "address_key", "kind", name="uq_request_list_id_address_key_kind"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_request_expires_at_id", "request", ["expires_at", "id"])


def _make_bounces() -> None:
    op.create_table(
        "bounce_record",
        sa.Column("membership_id", RowId, autoincrement=False, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("score", sa.Float, nullable=False),
        sa.Column("day", sa.Text, nullable=False),
        sa.Column("day_weight", sa.Float, nullable=False),
        sa.Column("counts", sa.Text, nullable=False),
        sa.Column("warnings_sent", sa.Integer, nullable=False),
        sa.Column("probed_at", sa.BigInteger),
        sa.Column("due_at", sa.BigInteger),
        sa.PrimaryKeyConstraint("membership_id", name="pk_bounce_record"),
        sa.ForeignKeyConstraint(["membership_id"], ["membership.id"], name="fk_bounce_record_membership_id"),
    )
    op.create_index("ix_bounce_record_due_at_membership_id", "bounce_record", ["due_at", "membership_id"])
    op.create_table(
        "bounce_evidence",
        sa.Column("id", RowId, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        *(
            sa.Column(name, sa.Text, nullable=False)
            for name in ("list_id", "address_key", "domain", "same_words")
        ),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("day", "bounce_class", "status")),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("diagnostic", "item_id")),
        sa.PrimaryKeyConstraint("id", name="pk_bounce_evidence"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_bounce_evidence_at", "bounce_evidence", ["at"])
    for columns in (["address_key", "id"], ["domain", "at"], ["same_words", "at"]):
        op.create_index(
            f"ix_bounce_evidence_list_id_{'_'.join(columns)}", "bounce_evidence", ["list_id", *columns]
        )
    op.create_table(
        "freeze",
        sa.Column("id", RowId, nullable=False),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("list_id", "topic")),
        sa.Column("since", sa.BigInteger, nullable=False),
        sa.Column("until", sa.BigInteger, nullable=False),
        sa.Column("told_at", sa.BigInteger),
        sa.PrimaryKeyConstraint("id", name="pk_freeze"),
        sa.UniqueConstraint("list_id", "topic", name="uq_freeze_list_id_topic"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_freeze_until", "freeze", ["until"])


def _make_budget() -> None:
    op.create_table(
        "mail_budget",
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("since", sa.BigInteger, nullable=False),
        sa.Column("count", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_mail_budget"),
    )
    op.create_index("ix_mail_budget_since", "mail_budget", ["since"])
