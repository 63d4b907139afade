"""What automatic mail an address has had, under the gate's keyed hash; the gate says what it means."""

from datetime import datetime

from sqlalchemy import Connection, bindparam, delete, insert, select, update

from lists.changes import SpendBudget
from lists.gate import Spent
from lists.store.history import store_time
from lists.store.schema import mail_budget

_SPENT = select(mail_budget.c.since, mail_budget.c.count).where(mail_budget.c.key == bindparam("whose"))
_SPEND = (
    update(mail_budget)
    .where(mail_budget.c.key == bindparam("whose"))
    .values(since=bindparam("since_ms"), count=bindparam("number"))
)
_BEGIN = insert(mail_budget)


def spend(connection: Connection, change: SpendBudget) -> None:
    """Write an address's row."""
    since_ms, count = change.spent.since_ms, change.spent.count
    row = {"whose": change.key, "since_ms": since_ms, "number": count}
    if not connection.execute(_SPEND, row).rowcount:
        connection.execute(_BEGIN, {"key": change.key, "since": since_ms, "count": count})


def read_spent(connection: Connection, key: str) -> Spent:
    """Return an address's row; an empty one for an address that had nothing."""
    row = connection.execute(_SPENT, {"whose": key}).first()
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
