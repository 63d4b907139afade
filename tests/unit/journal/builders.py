"""Items, operations and a bench for the tests of the journal: short names in, books checked after every step."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bus.journal.api import Counters, Journal, Op, Result, Row, Settle, SettledRow, Store, Stored
from bus.journal.batch import HOUR_MS
from bus.journal.memory import MemoryJournal
from bus.journal.sqlite import SqliteJournal
from bus.messages import Item, Note, Placed
from config.names import Instance, ItemId, ListId, Queue, id_about
from config.settings import BusSettings

NOW_MS = 1_795_000_000_000  # 2026-11-18
ANT = ListId("ant.example.org")
INCOMING, OUTGOING = Queue("incoming"), Queue("outgoing")
SMALL = BusSettings(min_free=0, ballast=4096)

__all__ = ["ANT", "HOUR_MS", "INCOMING", "NOW_MS", "OUTGOING", "SMALL"]


def id_of(name: str) -> ItemId:
    """Make an id from a name: a digest, or (every other) a UUIDv7 of some time, which the journal knows how to compare."""
    digest = id_about(name)
    if int(digest[-1], 16) % 2:
        return digest
    return ItemId(f"01{digest[2:12]}7{digest[13:16]}8{digest[17:]}")


def make_item(name: str, **fields: Any) -> Item:
    """Make an item whose id comes from `name`."""
    defaults: dict[str, Any] = {
        "id": id_of(name),
        "root_id": id_of(name),
        "queue": INCOMING,
        "list_id": ANT,
        "recipient": "ant@example.org",
        "accepted_at": datetime(2026, 11, 18, 8, 0, tzinfo=UTC),
    }
    return Item(**{**defaults, **fields})


def make_store(
    *items: Item | str, content: bytes = b"content", keys: Sequence[bytes] = (), **fields: Any
) -> Store:
    """Make a Store of items, or of names of items."""
    made = tuple(make_item(item) if isinstance(item, str) else item for item in items)
    return Store(items=made, content=content, content_keys=tuple(keys), **fields)


def make_output(name: str, content: int = -1, recipients: int | None = None, **fields: Any) -> Placed:
    """Make an output for outgoing, of the parent's content."""
    return Placed(make_item(name, **{"queue": OUTGOING, "recipient": "", **fields}), content, recipients)


def make_note(number: int, *, done: bool = False, instance: str = "outgoing-1:a") -> Note:
    """Make a note of an SMTP transaction with one recipient."""
    results = ((250, "2.0.0 ok"),) if done else None
    return Note(number=number, part=(number, number + 1), instance=Instance(instance), results=results)


def ids(*names: str) -> tuple[ItemId, ...]:
    """Return the ids of named items."""
    return tuple(map(id_of, names))


def assert_books_balance(journal: Journal) -> None:
    """Hold the counters of every queue against what lies in it (DESIGN P6)."""
    rows = list(journal.recover())
    for queue, counts in journal.counters().items():
        lies = sum(1 for row in rows if row.queue == queue)
        came = counts.accepted + counts.produced + counts.released
        assert came == counts.done + counts.dropped + counts.suppressed + counts.held + lies, (
            queue,
            counts,
            lies,
        )
    assert {row.queue for row in rows} <= set(journal.counters())


class Bench:
    """One journal under test, of either engine, and what a test does to it."""

    def __init__(self, make: Callable[[], Journal]) -> None:
        self._make = make
        self.now_ms = NOW_MS
        self.journal = make()
        self.epoch = self.journal.open()

    def do(self, *ops: Op) -> list[Result]:
        """Apply one batch and check the books."""
        results = self.journal.apply(ops, self.now_ms)
        assert len(results) == len(ops)
        assert_books_balance(self.journal)
        return results

    def store(self, *items: Item | str, **fields: Any) -> Stored:
        """Apply one Store."""
        (result,) = self.do(make_store(*items, **fields))
        assert isinstance(result, Stored)
        return result

    def put(self, name: str, **fields: Any) -> Row:
        """Store one new item and return its row."""
        content = fields.pop("content", b"content")
        (row,) = self.store(make_item(name, **fields), content=content).rows
        return row

    def settle(self, row: Row, *outputs: Placed, **fields: Any) -> SettledRow:
        """Apply one Settle."""
        (result,) = self.do(Settle(row=row.row, outputs=outputs, **fields))
        assert isinstance(result, SettledRow)
        return result

    def rows(self) -> dict[int, Row]:
        """Return all rows by number."""
        return {row.row: row for row in self.journal.recover()}

    def row(self, row: Row) -> Row:
        """Return a row as it is now."""
        return self.rows()[row.row]

    def counts(self, queue: Queue = INCOMING) -> Counters:
        """Return the counters of a queue."""
        return self.journal.counters()[queue]

    def restart(self) -> None:
        """Close the journal and open it again, as another process would."""
        self.journal.close()
        self.journal = self._make()
        self.epoch = self.journal.open()

    def leftovers(self) -> dict[str, int]:
        """Count bodies (and what uses them) and notes that are stored, looked up behind the journal's back."""
        if isinstance(self.journal, MemoryJournal):
            disk = self.journal._disk
            assert set(disk.bodies) == set(disk.known.refs)
            return {
                "bodies": len(disk.bodies),
                "uses": sum(disk.known.refs.values()),
                "notes": sum(map(len, disk.known.notes.values())),
                "seen": len(disk.known.seen),
                "keys": len(disk.known.unreplied),
            }
        assert isinstance(self.journal, SqliteJournal)
        return sqlite_leftovers(self.journal)


def sqlite_leftovers(journal: SqliteJournal) -> dict[str, int]:
    """Count what is stored; a body is a row or a file, never both, never neither."""
    journal._this.ahead.follow()
    connection = journal._this.database.connection
    bodies = {body for (body,) in connection.execute("SELECT id FROM body")}
    octets = {body for (body,) in connection.execute("SELECT body FROM octets")}
    files = {int(path.name) for path in spill_folder(journal).glob("*")}  # int: no temporary file is left
    assert bodies == octets | files
    assert not octets & files
    found: dict[str, int] = {}
    for name, query in {
        "bodies": "SELECT count(*) FROM body",
        "uses": "SELECT coalesce(sum(refs), 0) FROM body",
        "notes": "SELECT count(*) FROM note",
        "seen": "SELECT count(*) FROM seen",
        "keys": "SELECT count(*) FROM unreplied",
    }.items():
        (found[name],) = connection.execute(query).fetchone()
    return found


def spill_folder(journal: SqliteJournal) -> Path:
    """Return the folder of large bodies."""
    return journal._path.with_name(journal._path.name + ".bodies")
