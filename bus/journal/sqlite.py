"""The journal of a site: a SQLite file, and a redo log before it that makes a batch durable at once.

What an operation means is ledger.py's; when which file gets what is ahead.py's; the files are redo.py's, database.py's and bodies.py's,
SQL is tables.py's, and how all of it is opened is opening.py's.
"""

import contextlib
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from bus.journal import space, tables
from bus.journal.api import Busy, Corrupt, Counters, Op, Result, Row, Shunted, Work
from bus.journal.batch import is_id, read_item, show_shunted, wanted
from bus.journal.bodies import SPILL_ABOVE, Damaged
from bus.journal.ledger import Ledger
from bus.journal.opening import Opened, beside, open_file
from bus.journal.pending import Numbers
from bus.messages import Item, Note, decode_item
from config.names import ItemId, ListId, Queue
from config.settings import BusSettings

T = TypeVar("T")


class SqliteJournal:
    """A journal in the file `path`; `spill_above` is for tests."""

    def __init__(self, path: Path, settings: BusSettings, spill_above: int = SPILL_ABOVE) -> None:
        self._path = Path(os.path.realpath(path))  # two names of one file share a lock
        self._ballast = space.Ballast(beside(self._path, ".ballast"), settings.ballast, settings.min_free)
        self._spill_above = spill_above
        self._opened: Opened | None = None

    @property
    def _this(self) -> Opened:
        if self._opened is None:
            raise RuntimeError(f"{self._path} is not open")
        return self._opened

    def open(self) -> str:
        """Own the journal, bring its schema up to date, count its epoch up and return it; raises Busy, Broken or Unusable."""
        if self._opened is not None:
            raise Busy(f"{self._path} is open already")
        self._opened = open_file(self._path, self._ballast, self._spill_above)
        return self._opened.epoch

    def close(self) -> None:
        """Checkpoint and let go."""
        this, self._opened = self._opened, None
        if this is None:
            return
        this.ahead.close()
        this.lock.clear()  # before the log goes: a crash in between must not look like a lost log
        try:
            this.database.connection.close()  # the last connection checkpoints and removes the log
        finally:
            this.lock.release()

    # work -------------------------------------------------------------------------------------------------------------

    def apply(self, batch: Sequence[Op], now_ms: int) -> list[Result]:
        """Do all of the batch, durably; one result an op. Raises Full, Broken; ValueError for a wrong op."""
        ahead = self._this.ahead
        known = ahead.load(wanted(batch))
        ledger = Ledger(known, ahead.numbers.row, ahead.numbers.body, now_ms)
        results = [ledger.apply(op) for op in batch]
        ahead.keep(ledger.changes, Numbers(ledger.next_row, ledger.next_body), now_ms)
        return results

    def tidy(self) -> None:
        """Bring the database up to the log when it is time. Raises Broken."""
        self._this.ahead.follow_if_due()

    @property
    def is_behind(self) -> bool:
        """Whether `tidy` has something to do."""
        return self._this.ahead.is_behind

    def _read(self, question: Callable[[sqlite3.Connection], T]) -> T:
        return self._this.ahead.ask(question)

    def recover(self) -> Iterator[Row]:
        """Give every row, in order of (place, row)."""
        query = f"SELECT {tables.ROW} FROM item ORDER BY place, row"
        found = self._read(lambda connection: connection.execute(query).fetchall())
        yield from map(tables.to_row, found)

    def fetch(self, rows: Sequence[int]) -> list[Work]:
        """Read what is to be leased; raises Corrupt naming the row when it is not what was stored, KeyError for a row that is not there."""
        found: dict[int, Work] = {}
        for row in rows:
            with _corrupt(row):
                work = self._this.ahead.pending.work(row, self._this.database.bodies.read)
            if work is not None:
                found[row] = work
        older = [row for row in rows if row not in found]
        if older:
            found.update(self._this.database.ask(lambda connection: self._fetch(connection, older)))
        return [found[row] for row in rows]

    def _fetch(self, connection: sqlite3.Connection, rows: Sequence[int]) -> dict[int, Work]:
        query = "SELECT row, env, body, recipients FROM item WHERE row IN"
        found = {row: columns for row, *columns in tables.select(connection, query, rows)}
        notes = _notes(connection, rows)
        return {row: self._work(row, found[row], notes.get(row, {})) for row in rows}

    def _work(self, row: int, columns: Sequence[Any], notes: dict[int, Note]) -> Work:
        env, body, recipients = columns
        bodies = self._this.database.bodies
        with _corrupt(row):
            return Work(
                item=decode_item(env),
                content=bodies.read(body),
                recipients=bodies.read(recipients) if recipients else None,
                notes=self._this.ahead.pending.notes(row, notes),
            )

    # questions --------------------------------------------------------------------------------------------------------

    def counters(self) -> dict[Queue, Counters]:
        """Return the counters of every queue that ever had an item."""
        return self._read(
            lambda connection: {Queue(queue): counts for queue, counts in tables.load_counters(connection)}
        )

    def paused(self) -> frozenset[Queue]:
        """Return the queues that a person paused."""
        return self._read(
            lambda connection: frozenset(queue for (queue,) in connection.execute("SELECT queue FROM paused"))
        )

    def shunted(
        self, queue: Queue | None, list_id: ListId | None, after_row: int, limit: int
    ) -> list[Shunted]:
        """Return shunted items in order of row."""
        query = (
            f"SELECT {tables.ENTRY} FROM item WHERE state = 2 AND row > ? AND (? IS NULL OR queue = ?) "
            "AND (? IS NULL OR list_id = ?) ORDER BY row LIMIT ?"
        )
        values = (after_row, queue, queue, list_id, list_id, limit)
        found = self._read(lambda connection: connection.execute(query, values).fetchall())
        return [show_shunted(tables.to_entry(columns)) for columns in found]

    def find(self, text: str) -> list[tuple[Row, Item, tuple[Note, ...], str]]:
        """Return what is stored of an item id, root id or Message-ID: row, item, notes, last reason."""
        # Message-IDs have no index: mail comes all the time, and a person asks this now and then.
        where = "id = :text OR root = :text" if is_id(text) else "message_id = :text"
        value = bytes.fromhex(text) if is_id(text) else text
        query = f"SELECT {tables.ENTRY} FROM item WHERE {where} ORDER BY row"
        found = self._read(lambda connection: connection.execute(query, {"text": value}).fetchall())
        entries = [tables.to_entry(columns) for columns in found]
        rows = [entry.row.row for entry in entries]
        notes: dict[int, dict[int, Note]] = {}
        with contextlib.suppress(Corrupt):  # the rest is worth showing
            notes = self._read(lambda connection: _notes(connection, rows))
        return [
            (entry.row, read_item(entry), tuple(notes.get(entry.row.row, {}).values()), entry.reason)
            for entry in entries
        ]

    def existing(self, ids: Sequence[ItemId]) -> frozenset[ItemId]:
        """Return those of the ids that have a row in any state."""
        octets = [bytes.fromhex(item_id) for item_id in ids if is_id(item_id)]
        query = "SELECT id FROM item WHERE id IN"
        return self._read(
            lambda connection: frozenset(
                tables.to_id(item_id) for (item_id,) in tables.select(connection, query, octets)
            )
        )

    # space and end ----------------------------------------------------------------------------------------------------

    def free_octets(self) -> tuple[int, int]:
        """Return free and total octets of the file system that the journal is on."""
        return space.free_octets(self._path.parent)

    def give_up_ballast(self) -> None:
        """Free the space that is kept for a full disk."""
        self._ballast.give_up()

    def restore_ballast(self) -> None:
        """Take it again; quietly does nothing while there is too little space."""
        self._ballast.restore()


def _notes(connection: sqlite3.Connection, rows: Sequence[int]) -> dict[int, dict[int, Note]]:
    notes: dict[int, dict[int, Note]] = {}
    for row, note in tables.load_notes(connection, rows):
        notes.setdefault(row, {})[note.number] = note
    return notes


@contextlib.contextmanager
def _corrupt(row: int) -> Iterator[None]:
    """Say of which row what cannot be read is."""
    try:
        yield
    except (Damaged, msgspec.DecodeError) as error:
        raise Corrupt(row, str(error)) from error
