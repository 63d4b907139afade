"""Keeps the redo log ahead of the database: a batch is durable in the log at once, the database follows some hundred batches later.

The log has what came since the database was last written to, `Pending` is the sum of it. The database says in the same transaction which record it has
last and which numbers come next, so that a crash at any point is made good by reading the log's rest at the next start: a record is taken in once.
What is too large for the log, or for a row, goes into the database itself, after what is in the log. Without room for a log (a tiny disk, a full
one at the start) every batch does.
"""

import contextlib
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import msgspec

from bus.journal import redo, space
from bus.journal.api import Broken, Full, Unusable
from bus.journal.batch import Changes, Known, Wanted
from bus.journal.bodies import sync_folder
from bus.journal.database import Database
from bus.journal.pending import Numbers, Pending, decode_record, encode_record
from bus.journal.redo import RedoLog
from config.failpoints import fail

T = TypeVar("T")

LOG_SIZE = 32 * 2**20  # octets; 160 batches of two 100 KiB mails, thousands of small ones
LOG_LEAST = 256 * 1024  # on a disk where a 64th is less there is no log
FOLLOW_IDS = 4000  # the database follows after so many mails: it takes some 20 ms, in which new ones wait
FOLLOW_OCTETS = 8 * 2**20  # or when bodies of so many octets are still wanted
FOLLOW_PART = 0.75  # or when so much of the log is used
# The log takes nothing that the database may have no space for: while less is free than so many times its size, every batch goes to the
# database, and what has no space there is refused at once. (Its sum is written twice, and SQLite's pages are not full.)
ROOM = 4
QUIET = 20  # or when there were fewer records between two Trims, so that the log does not stay full behind a burst
AGAIN_S = 1.0  # after the database had no space
NUMBER, NEXT_ROW, SIZE = (
    "logged",
    "next_row",
    "log_size",
)  # keys of meta: last record, next row, octets of the log in use


class Ahead:
    """The log, its sum, and the database behind; made by `open_ahead`."""

    def __init__(self, database: Database, log: RedoLog | None, numbers: Numbers, largest_body: int) -> None:
        self.numbers = numbers
        self.database = database
        self.log = log
        self.pending = Pending()
        self._largest_body = min(largest_body, redo.MAX_RECORD)
        self._folder = database.path.parent
        self._is_due = False
        self._not_before = 0.0  # monotonic
        self._trimmed = 0  # number of the record with the last Trim

    def load(self, want: Wanted) -> Known:
        """Return what a batch must know. Raises Broken."""
        self.database.check()
        return self.pending.load(want, self.database.load)

    def keep(self, changes: Changes, numbers: Numbers, now_ms: int) -> None:
        """Make the changes of one batch durable; `numbers` are the next after it. Raises Full: nothing of it is there; Broken."""
        if not self._append(changes, numbers, now_ms):
            self.follow()
            if not self._append(changes, numbers, now_ms):
                fail("bus.commit.before")
                self.database.save(changes, now_ms, {NEXT_ROW: numbers.row})
                fail("bus.commit.after")
        self.numbers = numbers

    def _append(self, changes: Changes, numbers: Numbers, now_ms: int) -> bool:
        """Write a record; False when the log cannot have it."""
        log = self.log
        if log is None or any(len(data) > self._largest_body for data in changes.bodies.values()):
            return False
        if space.free_octets(self._folder)[0] < ROOM * log.size:
            return False
        parts = encode_record(changes, numbers, now_ms)
        if not log.has_room(sum(map(len, parts))):
            return False
        fail("bus.commit.before")
        try:
            log.append(parts)
        except OSError as error:
            raise self._judge(log, error) from error
        fail("bus.commit.after")
        self.pending.add(changes, now_ms)
        self._is_due |= self._is_much(log) or changes.shrink
        if changes.trim:
            self._is_due |= log.number - self._trimmed < QUIET
            self._trimmed = log.number
        return True

    def _judge(self, log: RedoLog, error: OSError) -> Full | Broken:
        verdict = self.database.judge(error)
        if isinstance(verdict, Full):
            try:
                log.retract()
            except OSError as second:
                return Broken(f"{self.database.path}: {second}")
        return verdict

    def _is_much(self, log: RedoLog) -> bool:
        pending = self.pending
        return (
            len(pending.changes.seen) >= FOLLOW_IDS
            or pending.octets >= FOLLOW_OCTETS
            or log.octets >= FOLLOW_PART * log.size
        )

    def follow(self) -> None:
        """Bring the database up to the log. Raises Full: the log keeps it; Broken."""
        self._is_due = False
        if self.log is None or not self.log.octets:
            return
        pending = self.pending
        marks = {NUMBER: self.log.number, NEXT_ROW: self.numbers.row}
        self.database.save(pending.changes, pending.now_ms, marks)
        self.log.rewind()
        self.pending = Pending()

    @property
    def is_behind(self) -> bool:
        """Whether it is time for the database to follow."""
        return self._is_due and time.monotonic() >= self._not_before

    def follow_if_due(self) -> None:
        """Do the same when enough has come together, and leave it for later when there is no space."""
        if self.is_behind:
            try:
                self.follow()
            except Full:
                self._is_due = True
                self._not_before = time.monotonic() + AGAIN_S

    def ask(self, question: Callable[[sqlite3.Connection], T]) -> T:
        """Ask the database, with all that the log has. Raises Broken; what `question` raises otherwise."""
        try:
            self.follow()
        except Full:
            return self.database.ask_with(self.pending.changes, self.pending.now_ms, question)
        return self.database.ask(question)

    def close(self) -> None:
        """Bring the database up to the log, which is not needed then; what has no space stays in it."""
        if self.log is None:
            return
        pending = self.pending
        marks = {NUMBER: self.log.number, NEXT_ROW: self.numbers.row, SIZE: 0}
        with contextlib.suppress(Full, Broken):
            self.database.save(pending.changes, pending.now_ms, marks)
        self.log.close()


# opening --------------------------------------------------------------------------------------------------------------


def open_ahead(database: Database, path: Path, numbers: Numbers, largest_body: int) -> Ahead:
    """Take in what an earlier life left in the log at `path`, then begin a new one. `numbers` are the database's.

    Raises Unusable when the log is gone or not this database's, Full, Broken, OSError.
    """
    meta = dict(database.ask(lambda connection: connection.execute("SELECT k, v FROM meta").fetchall()))
    if meta.get(SIZE, 0) and not path.exists():
        raise Unusable(
            f"{path} is gone: accepted mail may be missing. Put it back; if it is lost, make an empty file of this name to go on without it."
        )
    last, numbers = _take_in(database, path, meta, numbers)
    size = _make(database, path, meta)
    log = RedoLog(path, meta["journal"], last) if size else None
    return Ahead(database, log, numbers, largest_body)


def _take_in(
    database: Database, path: Path, meta: dict[str, object], numbers: Numbers
) -> tuple[int, Numbers]:
    """Save what the log has and the database has not; returns the number of the last record, and the next numbers."""
    last = int(str(meta.get(NUMBER, 0)))
    numbers = Numbers(max(numbers.row, int(str(meta.get(NEXT_ROW, 0)))), numbers.body)
    pending, first = Pending(), last
    journal = meta["journal"]
    assert isinstance(journal, bytes)
    if path.exists():
        try:
            for data in redo.read_records(path, journal, last):
                record = decode_record(data)
                pending.add(record.changes, record.now_ms)
                numbers, last = record.numbers, last + 1
        except redo.RecordsMissing as error:
            raise Unusable(
                f"{error}: this is an older copy of the database. Put the newer one back."
            ) from error
        except msgspec.DecodeError as error:
            raise Unusable(f"{path} was written by another version ({error}). Start that version.") from error
    if last > first:
        database.save(pending.changes, pending.now_ms, {NUMBER: last, NEXT_ROW: numbers.row})
    return last, numbers


def _make(database: Database, path: Path, meta: dict[str, object]) -> int:
    """Have a log of the right size, or none when there is no space for it; returns its size in octets."""
    size = log_size(path.parent)
    if size and not (path.exists() and path.stat().st_size == size):
        try:
            redo.make_file(path, size)
        except OSError as error:
            if not space.is_out_of_space(error):
                raise
            size = 0
    if meta.get(SIZE, 0) != size:
        sync_folder(path.parent)
        database.save(Changes(), 0, {SIZE: size})
    if not size:
        path.unlink(missing_ok=True)
    return size


def log_size(folder: Path) -> int:
    """Return how large a log is to be on the disk of a folder, in octets; 0 for none."""
    part = space.free_octets(folder)[1] // 64
    return 0 if part < LOG_LEAST else min(LOG_SIZE, part // redo.BLOCK * redo.BLOCK)
