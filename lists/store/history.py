"""The history: what was changed for whom, from what to what, and where that came from. Only added to, and read in pages, newest first."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, insert, select

from config.names import ListId
from lists.mailbox import address_key
from lists.records import History, Origin
from lists.store.schema import history

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Entry = tuple[str, str, str, str]  # address as written, what, old, new
_ADD = insert(history)


class Pen:
    """Writes into one transaction: the connection, where its changes come from, and when they happen."""

    __slots__ = ("connection", "now_ms", "origin")

    def __init__(self, connection: Connection, origin: Origin, now_ms: int) -> None:
        self.connection = connection
        self.origin = origin
        self.now_ms = now_ms

    @property
    def now(self) -> datetime:
        """The aware UTC time of this transaction."""
        return read_time(self.now_ms)

    def note(self, list_id: str, address: str, what: str, old: object = "", new: object = "") -> None:
        """Write down one change; `address` "" is the list's own."""
        self.note_all(list_id, [(address, what, show(old), show(new))])

    def note_all(self, list_id: str, entries: Iterable[Entry]) -> None:
        """Write down many changes of one list."""
        whence = {
            "at": self.now_ms,
            "list_id": list_id,
            "cause": self.origin.kind,
            "who": self.origin.who,
            "why": self.origin.why,
            "item_id": self.origin.item_id,
        }
        rows = [
            whence
            | {"address_key": address_key(address), "address": address, "what": what, "old": old, "new": new}
            for address, what, old, new in entries
        ]
        if rows:
            self.connection.execute(_ADD, rows)


def show(value: object) -> str:
    """Write a value for a person: the same words that bin/postroom takes."""
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:g}"
        case datetime():
            return value.isoformat(timespec="seconds")
        case _:
            return str(value)


def read_history(
    connection: Connection, list_id: ListId, address: str | None, before: int | None, limit: int
) -> tuple[History, ...]:
    """Return one page, newest first, of one address or (None) of a whole list; the next one is before the last one's id."""
    query = select(history).where(history.c.list_id == list_id).order_by(history.c.id.desc()).limit(limit)
    if address is not None:
        query = query.where(history.c.address_key == address_key(address))
    if before is not None:
        query = query.where(history.c.id < before)
    return tuple(_read(row) for row in connection.execute(query).mappings().all())


def _read(row: Any) -> History:
    return History(
        id=row["id"],
        at=read_time(row["at"]),
        list_id=ListId(row["list_id"]),
        address=row["address"],
        what=row["what"],
        old=row["old"],
        new=row["new"],
        origin=Origin(row["cause"], row["who"], row["item_id"], row["why"]),
    )


def read_time(at_ms: int) -> datetime:
    """Return a stored time."""
    return EPOCH + timedelta(milliseconds=at_ms)


def maybe_time(at_ms: int | None) -> datetime | None:
    """Return a stored time that may be none."""
    return None if at_ms is None else read_time(at_ms)


def store_time(at: datetime) -> int:
    """Return what is stored of a time: milliseconds since 1970, cut."""
    return (at - EPOCH) // timedelta(
        milliseconds=1
    )  # whole numbers: a float of seconds loses some milliseconds
