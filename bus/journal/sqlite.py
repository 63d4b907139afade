"""The journal of a site: one SQLite file, one connection, one transaction a batch.

WAL with synchronous=FULL: a commit that returned is on stable storage (NORMAL lost 192 of 500 acknowledged rows in a power cut). The
connection is exclusive: there is no second reader that could block a checkpoint. A checkpoint that fails loses nothing, since it writes
the same pages from the log again. The log is kept smaller than the ballast: once that is given up, the log can be emptied and what is
queued can leave. After an error that says "no space" nothing of the batch is there and the journal goes on; after any other
nobody knows what the disk has, and the caller ends the process. What an operation means is ledger.py's, SQL is tables.py's, bodies
are bodies.py's, and how a file is opened is opening.py's.
"""

import contextlib
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from bus.journal import space, tables
from bus.journal.api import Broken, Busy, Corrupt, Counters, Full, Op, Result, Row, Shunted, Work
from bus.journal.batch import Wanted, is_id, read_item, show_shunted, wanted
from bus.journal.bodies import SPILL_ABOVE, Damaged
from bus.journal.ledger import Ledger
from bus.journal.opening import Opened, beside, open_file
from bus.messages import Item, Note, decode_item
from config.failpoints import fail
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
        self._failed: Broken | None = None

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
        self._failed = None
        return self._opened.epoch

    def close(self) -> None:
        """Checkpoint and let go."""
        this, self._opened = self._opened, None
        if this is None:
            return
        this.lock.clear()  # before the log goes: a crash in between must not look like a lost log
        try:
            this.connection.close()  # the last connection checkpoints and removes the log
        finally:
            this.lock.release()

    # work -------------------------------------------------------------------------------------------------------------

    def apply(self, batch: Sequence[Op], now_ms: int) -> list[Result]:
        """Do all of the batch in one durable transaction; one result an op. Raises Full, Broken; ValueError for a wrong op."""
        if self._failed is not None:
            raise self._failed  # SQLite would go on after a failed fsync; we must not
        want = wanted(batch)
        try:
            return self._commit(batch, want, now_ms)
        except Full:
            if not self._empty_log():
                raise
        return self._commit(batch, want, now_ms)

    def _commit(self, batch: Sequence[Op], want: Wanted, now_ms: int) -> list[Result]:
        this = self._this
        try:
            this.connection.execute("BEGIN IMMEDIATE")
            known = tables.load(this.connection, want)
            ledger = Ledger(known, this.next_row, this.next_body, now_ms)
            results = [ledger.apply(op) for op in batch]
            changes = ledger.changes
            tables.save(this.connection, changes, now_ms)
            dropped = tables.count_uses(this.connection, changes, known)
            new = {body: data for body, data in changes.bodies.items() if changes.uses[body] > 0}
            this.bodies.write(new, changes.uses)
            fail("bus.commit.before")
            this.connection.execute("COMMIT")
        except (sqlite3.Error, OSError, Corrupt) as error:
            verdict = self._judge(error)
            self._roll_back(this, is_certain=isinstance(verdict, Full))
            raise verdict from error
        except BaseException:
            self._roll_back(this, is_certain=this.connection.in_transaction)
            raise
        this.next_row, this.next_body = ledger.next_row, ledger.next_body
        this.bodies.committed(new, dropped)
        fail("bus.commit.after")
        return results

    def _empty_log(self) -> bool:
        """Give the space of the log back, by carrying its pages over to the database; says whether that made room."""
        log = beside(self._path, "-wal")
        if log.stat().st_size == 0:
            return False
        try:
            self._this.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        except sqlite3.Error as error:
            verdict = self._judge(error)
            if isinstance(verdict, Broken):
                raise verdict from error
        return log.stat().st_size == 0

    def _roll_back(self, this: Opened, is_certain: bool) -> None:
        """Undo what was begun. Unless it is certain that it was not committed, its files stay: the next start knows."""
        with contextlib.suppress(sqlite3.Error):  # the first error is what counts
            if this.connection.in_transaction:  # SQLite may have rolled back by itself
                this.connection.execute("ROLLBACK")
        if is_certain:
            this.bodies.rolled_back()

    def _judge(self, error: sqlite3.Error | OSError | Corrupt) -> Full | Broken:
        """Say whether there is no space, which can mend, or the disk failed; then nothing more is written."""
        text = f"{self._path}: {error}"
        if self._is_about_space(error):
            return Full(text)
        self._failed = Broken(text)
        return self._failed

    def _is_about_space(self, error: sqlite3.Error | OSError | Corrupt) -> bool:
        if isinstance(error, OSError):
            return space.is_out_of_space(error)
        code = getattr(error, "sqlite_errorcode", 0)
        if code == sqlite3.SQLITE_IOERR_WRITE:  # a quota, perhaps
            return space.has_no_space(beside(self._path, ".probe"))
        return bool(code & 0xFF == sqlite3.SQLITE_FULL)

    def _read(self, question: Callable[[sqlite3.Connection], T]) -> T:
        """Ask the database; whatever goes wrong there is a failed disk."""
        try:
            return question(self._this.connection)
        except sqlite3.Error as error:
            raise Broken(f"{self._path}: {error}") from error

    def recover(self) -> Iterator[Row]:
        """Give every row, in order of (place, row)."""
        cursor = self._read(
            lambda connection: connection.execute(f"SELECT {tables.ROW} FROM item ORDER BY place, row")
        )
        while part := self._read(lambda _: cursor.fetchmany(1000)):
            yield from map(tables.to_row, part)

    def fetch(self, rows: Sequence[int]) -> list[Work]:
        """Read what is to be leased; raises Corrupt naming the row when it is not what was stored, KeyError for a row that is not there."""
        return self._read(lambda connection: self._fetch(connection, rows))

    def _fetch(self, connection: sqlite3.Connection, rows: Sequence[int]) -> list[Work]:
        query = "SELECT row, env, body, recipients FROM item WHERE row IN"
        found = {row: columns for row, *columns in tables.select(connection, query, rows)}
        notes = _notes(connection, rows)
        return [self._work(row, found[row], notes.get(row, ())) for row in rows]

    def _work(self, row: int, columns: Sequence[Any], notes: tuple[Note, ...]) -> Work:
        env, body, recipients = columns
        bodies = self._this.bodies
        try:
            return Work(
                item=decode_item(env),
                content=bodies.read(body),
                recipients=bodies.read(recipients) if recipients else None,
                notes=notes,
            )
        except (Damaged, msgspec.DecodeError) as error:
            raise Corrupt(row, str(error)) from error

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
        where = "id = ?1 OR root = ?1" if is_id(text) else "message_id = ?1"
        value = bytes.fromhex(text) if is_id(text) else text
        query = f"SELECT {tables.ENTRY} FROM item WHERE {where} ORDER BY row"
        found = self._read(lambda connection: connection.execute(query, (value,)).fetchall())
        entries = [tables.to_entry(columns) for columns in found]
        rows = [entry.row.row for entry in entries]
        notes: dict[int, tuple[Note, ...]] = {}
        with contextlib.suppress(Corrupt):  # the rest is worth showing
            notes = self._read(lambda connection: _notes(connection, rows))
        return [
            (entry.row, read_item(entry), notes.get(entry.row.row, ()), entry.reason) for entry in entries
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


def _notes(connection: sqlite3.Connection, rows: Sequence[int]) -> dict[int, tuple[Note, ...]]:
    notes: dict[int, tuple[Note, ...]] = {}
    for row, note in tables.load_notes(connection, rows):
        notes[row] = (*notes.get(row, ()), note)
    return notes
