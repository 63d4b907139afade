"""What automatic mail an address has had, under the gate's keyed hash; the gate says what it means."""

from datetime import datetime

from sqlalchemy import Connection, delete, insert, select, update

from lists.changes import SpendBudget
from lists.gate import Spent
from lists.store.history import store_time
from lists.store.schema import mail_budget


def spend(connection: Connection, change: SpendBudget) -> None:
    """Write an address's row."""
    values = {"since": change.spent.since_ms, "count": change.spent.count}
    chosen = mail_budget.c.key == change.key
    if not connection.execute(update(mail_budget).where(chosen).values(values)).rowcount:
        connection.execute(insert(mail_budget).values(values | {"key": change.key}))


def read_spent(connection: Connection, key: str) -> Spent:
    """Return an address's row; an empty one for an address that had nothing."""
    row = connection.execute(
        select(mail_budget.c.since, mail_budget.c.count).where(mail_budget.c.key == key)
    ).first()
    return Spent() if row is None else Spent(int(row[0]), int(row[1]))


def trim_budgets(connection: Connection, before: datetime, limit: int) -> int:
    """Forget some of the rows whose window began before; returns how many."""
    old = (
        select(mail_budget.c.key)
        .where(mail_budget.c.since < store_time(before))
        .order_by(mail_budget.c.since)
        .limit(limit)
    )
    return int(
        connection.execute(delete(mail_budget).where(mail_budget.c.key.in_(old.scalar_subquery()))).rowcount
    )
