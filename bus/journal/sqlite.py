"""The journal of a site: one SQLite file, one connection, one transaction a batch.

WAL with synchronous=FULL: a commit that returned is on stable storage (NORMAL lost 192 of 500 acknowledged rows in a power cut). The
connection is exclusive, so there is no second reader that could block a checkpoint. After an error that says "no space" nothing of the
batch is there and the journal goes on; after any other nobody knows what the disk has, and the caller ends the process. What
an operation means is ledger.py's, its SQL is tables.py's, bodies are bodies.py's.
"""

import contextlib
import os
import secrets
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from bus.journal import schema, space, tables
from bus.journal.api import (
    Broken,
    Busy,
    Corrupt,
    Counters,
    Full,
    JournalError,
    Op,
    Result,
    Row,
    Shunted,
    Unusable,
    Work,
)
from bus.journal.bodies import SPILL_ABOVE, Bodies, Damaged
from bus.journal.ledger import Ledger, wanted
from bus.journal.lock import Lock
from bus.messages import Item, Note, decode_item
from config.failpoints import fail
from config.names import ItemId, ListId, Queue
from config.settings import BusSettings

T = TypeVar("T")

PAGE_SIZE = 4096
CACHE_KIB = 16 * 1024  # a batch of 16 MiB is not written twice
WAL_LIMIT = 64 * 2**20  # octets that the log keeps after a burst
CHECK_UP_TO = (
    2 * 2**30
)  # octets of a file that is checked after a reboot; a larger one would keep mail waiting
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
SQLITE_NEEDED = (3, 35, 0)  # 2021: multi-row inserts of 1,000 values, PRAGMAs as here


class SqliteJournal:
    """A journal in the file `path`; `spill_above` is for tests."""

    def __init__(self, path: Path, settings: BusSettings, spill_above: int = SPILL_ABOVE) -> None:
        self._path = Path(os.path.realpath(path))  # two names of one file share a lock
        self._settings = settings
        self._spill_above = spill_above
        self._ballast = space.Ballast(self._beside(".ballast"), settings.ballast, settings.min_free)
        self._open: _Open | None = None

    def _beside(self, suffix: str) -> Path:
        return self._path.with_name(self._path.name + suffix)

    @property
    def _now(self) -> "_Open":
        if self._open is None:
            raise RuntimeError("the journal is not open")
        return self._open

    def open(self) -> str:
        """Own the journal, bring its schema up to date, count its epoch up and return it; raises Busy, Broken or Unusable."""
        if self._open is not None:
            raise Busy(f"{self._path} is open already")
        with contextlib.ExitStack() as undo:
            try:
                lock = self._own(undo)
                connection = self._connect(undo)
                epoch, next_row, next_body = self._start(connection)
                bodies = Bodies(connection, self._beside(".bodies"), self._spill_above)
                bodies.sweep()
                lock.mark()
                self._ballast.restore()
            except (sqlite3.Error, OSError) as error:
                raise self._explain(error) from error
            undo.pop_all()
        self._open = _Open(lock, connection, bodies, next_row, next_body)
        return epoch

    def _own(self, undo: contextlib.ExitStack) -> Lock:
        folder = self._path.parent
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        space.refuse_network(folder)
        lock = Lock(self._path)
        undo.callback(lock.release)
        if lock.was_unclean and self._path.exists() and not self._beside("-wal").exists():
            raise Unusable(
                f"{self._path} was not closed in order and its log {self._beside('-wal').name} is gone: accepted mail is missing. "
                f"Put it back, or remove {lock.path} to go on without."
            )
        return lock

    def _connect(self, undo: contextlib.ExitStack) -> sqlite3.Connection:
        if sqlite3.sqlite_version_info < SQLITE_NEEDED:
            raise Unusable(f"SQLite {sqlite3.sqlite_version} is too old, 3.35 is needed. Use a newer Python.")
        fd = os.open(
            self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
        )  # SQLite alone would make it 0644
        os.close(fd)
        connection = sqlite3.connect(
            self._path, timeout=1.0, isolation_level=None, check_same_thread=False, cached_statements=512
        )
        undo.callback(connection.close)
        for pragma in (
            "locking_mode = EXCLUSIVE",  # before the first access: the log's index stays in memory
            f"page_size = {PAGE_SIZE}",  # these two only count in a new file
            "auto_vacuum = INCREMENTAL",
            "journal_mode = WAL",
            "synchronous = FULL",
            "foreign_keys = OFF",
            "cell_size_check = ON",
            f"cache_size = -{CACHE_KIB}",
            f"journal_size_limit = {WAL_LIMIT}",
        ):
            connection.execute(f"PRAGMA {pragma}").fetchall()
        self._read_back(connection)
        return connection

    def _read_back(self, connection: sqlite3.Connection) -> None:
        """Refuse to run without what durability stands on: builds and file systems may not do as they are told."""
        for pragma, value in (("journal_mode", "wal"), ("synchronous", 2), ("locking_mode", "exclusive")):
            (found,) = connection.execute(f"PRAGMA {pragma}").fetchone()
            if found != value:
                raise Unusable(
                    f"{self._path}: SQLite says {pragma} = {found} and not {value}. Use a local disk."
                )

    def _start(self, connection: sqlite3.Connection) -> tuple[str, int, int]:
        """Migrate, check after a reboot, and count the epoch, in one transaction; returns epoch and next numbers."""
        connection.execute("BEGIN IMMEDIATE")
        schema.migrate(connection, str(self._path))
        boot = BOOT_ID.read_text("ascii").strip() if BOOT_ID.exists() else ""
        meta = dict(connection.execute("SELECT k, v FROM meta").fetchall())
        if meta.get("boot", boot) != boot and self._path.stat().st_size <= CHECK_UP_TO:
            self._check(connection)  # kill -9 cannot harm the file, a power cut may
        number = meta.get("epoch", 0) + 1
        connection.executemany(
            "INSERT OR REPLACE INTO meta VALUES (?, ?)", [("epoch", number), ("boot", boot)]
        )
        (last_row,) = connection.execute(
            "SELECT max((SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'item'), "
            "(SELECT coalesce(max(row), 0) FROM item))"
        ).fetchone()
        (last_body,) = connection.execute("SELECT coalesce(max(id), 0) FROM body").fetchone()
        connection.execute("COMMIT")
        _sync(self._path.parent)
        return f"{number}.{secrets.token_hex(4)}", last_row + 1, last_body + 1

    def _check(self, connection: sqlite3.Connection) -> None:
        (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise Unusable(
                f"{self._path} is damaged ({verdict}). Restore it from a backup, or move it away to start empty."
            )

    def _explain(self, error: sqlite3.Error | OSError) -> JournalError:
        """Turn what went wrong in `open` into what a person can act on."""
        if isinstance(error, OSError):
            name = error.filename or self._path
            return Unusable(
                f"{name}: {error.strerror}. Give the user that runs this the folder, or set [bus] journal to another."
            )
        match tables.primary_code(error):
            case sqlite3.SQLITE_BUSY:
                return Busy(f"{self._path} is in use by another program ({error}). Stop it first.")
            case sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_READONLY | sqlite3.SQLITE_PERM:
                return Unusable(
                    f"{self._path}: {error}. Give the user that runs this its folder, or set [bus] journal."
                )
            case sqlite3.SQLITE_NOTADB | sqlite3.SQLITE_CORRUPT:
                return Unusable(
                    f"{self._path} is damaged ({error}). Restore it, or move it away to start empty."
                )
            case _:
                return Broken(f"{self._path}: {error}")

    # work -------------------------------------------------------------------------------------------------------------

    def apply(self, batch: Sequence[Op], now_ms: int) -> list[Result]:
        """Do all of the batch in one durable transaction; one result an op. Raises Full, Broken; ValueError for a wrong op."""
        this = self._now
        want = wanted(batch)
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
        except BaseException as error:
            self._roll_back(this)
            raise self._judge(error) from error
        this.next_row, this.next_body = ledger.next_row, ledger.next_body
        this.bodies.committed(new, dropped)
        fail("bus.commit.after")
        return results

    def _roll_back(self, this: "_Open") -> None:
        with contextlib.suppress(
            sqlite3.Error
        ):  # SQLite may have done so by itself; the first error is what counts
            if this.connection.in_transaction:
                this.connection.execute("ROLLBACK")
        this.bodies.rolled_back()

    def _judge(self, error: BaseException) -> BaseException:
        """Say what an error means for the caller: Full, Broken, or what it is."""
        if isinstance(error, sqlite3.Error):
            if tables.primary_code(error) == sqlite3.SQLITE_FULL:
                return Full(f"{self._path}: {error}")
            if getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_IOERR_WRITE and space.has_no_space(
                self._path.parent
            ):
                return Full(f"{self._path}: quota used up")
            return Broken(f"{self._path}: {error}")
        if isinstance(error, OSError):
            return Full(str(error)) if space.is_out_of_space(error) else Broken(str(error))
        return error

    def _read(self, question: Callable[[sqlite3.Connection], T]) -> T:
        """Ask the database; whatever goes wrong there is a failed disk."""
        try:
            return question(self._now.connection)
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
        notes: dict[int, list[Note]] = {}
        for row, note in tables.load_notes(connection, rows):
            notes.setdefault(row, []).append(note)
        return [self._work(row, found[row], tuple(notes.get(row, ()))) for row in rows]

    def _work(self, row: int, columns: Sequence[Any], notes: tuple[Note, ...]) -> Work:
        env, body, recipients = columns
        bodies = self._now.bodies
        try:
            return Work(
                item=decode_item(env),
                content=bodies.read(body),
                recipients=bodies.read(recipients) if recipients else None,
                notes=notes,
            )
        except (Damaged, ValueError) as error:  # ValueError: msgspec's, the envelope itself
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
            "SELECT row, env, reason, detail, shunted_ms, attempts, crashes FROM item WHERE state = 2 AND row > ? "
            "AND (? IS NULL OR queue = ?) AND (? IS NULL OR list_id = ?) ORDER BY row LIMIT ?"
        )
        values = (after_row, queue, queue, list_id, list_id, limit)
        return [
            Shunted(
                row=row,
                item=decode_item(env),
                reason=reason,
                detail=detail,
                at_ms=at_ms,
                attempts=attempts,
                crashes=crashes,
            )
            for row, env, reason, detail, at_ms, attempts, crashes in self._read(
                lambda connection: connection.execute(query, values).fetchall()
            )
        ]

    def find(self, text: str) -> list[tuple[Row, Item, tuple[Note, ...], str]]:
        """Return what is stored of an item id, root id or Message-ID: row, item, notes, last reason."""
        return self._read(lambda connection: self._find(connection, text))

    def _find(
        self, connection: sqlite3.Connection, text: str
    ) -> list[tuple[Row, Item, tuple[Note, ...], str]]:
        where, values = (
            "message_id = ?",
            (text,),
        )  # no index: a person asks this now and then, mail comes all the time
        with contextlib.suppress(ValueError):
            where, values = "item.id = ?1 OR root = ?1", (bytes.fromhex(text),)  # type: ignore[assignment]
        query = f"SELECT {tables.ROW}, env, reason FROM item WHERE {where} ORDER BY row"
        found: list[Any] = connection.execute(query, values).fetchall()
        notes: dict[int, list[Note]] = {}
        for row, note in tables.load_notes(connection, [columns[0] for columns in found]):
            notes.setdefault(row, []).append(note)
        return [
            (tables.to_row(columns), decode_item(columns[15]), tuple(notes.get(columns[0], ())), columns[16])
            for columns in found
        ]

    def existing(self, ids: Sequence[ItemId]) -> frozenset[ItemId]:
        """Return those of the ids that have a row in any state."""
        octets = [bytes.fromhex(item_id) for item_id in ids]
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

    def close(self) -> None:
        """Checkpoint and let go."""
        this, self._open = self._open, None
        if this is None:
            return
        this.lock.clear()  # before the log goes: a crash in between must not look like a lost log
        try:
            this.connection.close()  # the last connection checkpoints and removes the log
        finally:
            this.lock.release()


class _Open:
    """What an open journal has."""

    def __init__(
        self, lock: Lock, connection: sqlite3.Connection, bodies: Bodies, next_row: int, next_body: int
    ) -> None:
        self.lock = lock
        self.connection = connection
        self.bodies = bodies
        self.next_row = next_row
        self.next_body = next_body


def _sync(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
