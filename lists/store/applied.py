"""Effects that happen once per item (P4): the changes of a decision and its outcome are one transaction, found again by the item's id."""

from collections.abc import Callable, Collection, Sequence

from msgspec.structs import replace
from sqlalchemy import Connection, bindparam, delete, insert, select, tuple_

from config.names import ItemId
from lists.changes import Decision
from lists.roster import Roster
from lists.store.history import Pen
from lists.store.performing import perform
from lists.store.reading import StoreRoster
from lists.store.schema import applied_outcome

TRIM_PAGE = 500  # items asked about at once

_OUTCOME = select(applied_outcome.c.outcome).where(applied_outcome.c.item_id == bindparam("item"))
_STORE = insert(applied_outcome)


def apply_once(
    connection: Connection, item_id: ItemId, decide: Callable[[Roster], Decision], now_ms: int
) -> bytes:
    """Return the stored outcome of this item, else decide, perform and store; a decision not to keep undoes all."""
    stored = stored_outcome(connection, item_id)
    if stored is not None:
        return stored
    decision = decide(StoreRoster(connection))
    if decision.keep:
        origin = replace(decision.origin, item_id=decision.origin.item_id or item_id)
        pen = Pen(connection, origin, now_ms)
        for change in decision.changes:
            perform(pen, change)
        connection.execute(_STORE, {"item_id": item_id, "created_at": now_ms, "outcome": decision.outcome})
    return decision.outcome


def stored_outcome(connection: Connection, item_id: ItemId) -> bytes | None:
    """Return the outcome that an item's effect was stored with, None when it has had none."""
    stored = connection.execute(_OUTCOME, {"item": item_id}).scalar()
    return None if stored is None else bytes(stored)


def old_outcomes(
    connection: Connection, before_ms: int, after: tuple[int, str]
) -> Sequence[tuple[int, ItemId]]:
    """Return one page of outcomes stored before a time, in order of time and id."""
    place = tuple_(applied_outcome.c.created_at, applied_outcome.c.item_id)
    query = (
        select(applied_outcome.c.created_at, applied_outcome.c.item_id)
        .where(applied_outcome.c.created_at < before_ms, place > tuple_(*after))
        .order_by(applied_outcome.c.created_at, applied_outcome.c.item_id)
        .limit(TRIM_PAGE)
    )
    return [(at, ItemId(item_id)) for at, item_id in connection.execute(query).all()]


def forget_outcomes(connection: Connection, item_ids: Collection[ItemId]) -> None:
    """Delete these outcomes."""
    connection.execute(delete(applied_outcome).where(applied_outcome.c.item_id.in_(list(item_ids))))
