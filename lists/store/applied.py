"""Effects that happen once per item (P4): the changes of a decision and its outcome are one transaction, found again by the item's id."""

from collections.abc import Callable, Collection, Sequence
from typing import assert_never

from sqlalchemy import Connection, delete, insert, select, tuple_

from config.names import ItemId, ListId
from lists.changes import Change, Decision, HoldPost, ReleaseHeld, Roster
from lists.errors import NoSuchList
from lists.model import HeldPost, MailingList, Member
from lists.store import held, members
from lists.store.lists import find_list, find_row
from lists.store.schema import applied_outcome

TRIM_PAGE = 500  # items asked about at once


class StoreRoster:
    """What `decide` reads: the store inside the transaction that will take its changes."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def mailing_list(self, list_id: ListId) -> MailingList | None:
        """Return a list, None when it is gone."""
        try:
            return find_list(self._connection, list_id)
        except NoSuchList:
            return None

    def member(self, list_id: ListId, address: str) -> Member | None:
        """Return the member with this address, None for anybody else."""
        row = self._row(list_id)
        return None if row is None else members.find_member(self._connection, row, address)

    def owners(self, list_id: ListId) -> tuple[str, ...]:
        """Return the owners' addresses, sorted."""
        row = self._row(list_id)
        return () if row is None else members.addresses_of(self._connection, row, ("owner",))

    def held(self, number: int) -> HeldPost | None:
        """Return a held post, None when somebody has decided about it already."""
        return held.find_held(self._connection, number)

    def _row(self, list_id: ListId) -> int | None:
        try:
            return find_row(self._connection, list_id)[0]
        except NoSuchList:
            return None


def apply_once(
    connection: Connection, item_id: ItemId, decide: Callable[[Roster], Decision], now_ms: int
) -> bytes:
    """Return the stored outcome of this item, else decide, perform and store; a decision not to keep undoes all."""
    stored = stored_outcome(connection, item_id)
    if stored is not None:
        return stored
    decision = decide(StoreRoster(connection))
    if decision.keep:
        for change in decision.changes:
            _perform(connection, item_id, change, now_ms)
        connection.execute(
            insert(applied_outcome).values(item_id=item_id, created_at=now_ms, outcome=decision.outcome)
        )
    return decision.outcome


def stored_outcome(connection: Connection, item_id: ItemId) -> bytes | None:
    """Return the outcome that an item's effect was stored with, None when it has had none."""
    query = select(applied_outcome.c.outcome).where(applied_outcome.c.item_id == item_id)
    stored = connection.execute(query).scalar()
    return None if stored is None else bytes(stored)


def _perform(connection: Connection, item_id: ItemId, change: Change, now_ms: int) -> None:
    match change:
        case HoldPost():
            held.hold_post(connection, item_id, change, now_ms)
        case ReleaseHeld():
            held.release_held(connection, change.id)
        case _:
            assert_never(change)


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
