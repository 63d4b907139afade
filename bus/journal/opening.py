"""How a SQLite journal is opened: owned, set up, migrated, checked; or why it cannot be, in words that name path and remedy.

Trusts nothing it finds: pragmas are read back, a later schema and another program's file are refused, a file that lived through a power
cut is checked, a log that is gone is missed. What is done with an open journal is sqlite.py's.
"""

import contextlib
import errno
import os
import secrets
import sqlite3
import weakref
from pathlib import Path

from msgspec import Struct

from bus.journal import schema, space, tables
from bus.journal.ahead import Ahead, open_ahead
from bus.journal.api import Broken, Busy, Full, JournalError, Unusable
from bus.journal.bodies import Bodies, sync_folder
from bus.journal.database import Database
from bus.journal.lock import Lock
from bus.journal.pending import Numbers

PAGE_SIZE = 4096  # measured at batch 8: a fifth faster than 8192 for 4 KiB, equal at 16 KiB, a fifth slower at 100 KiB
CACHE_KIB = 16 * 1024  # pages of a large batch stay in memory until its commit
# SQLite's default. Measured: with 16,000 pages the slowest hundredth of commits took 212 ms instead of 32.
CHECKPOINT_PAGES = 1000
LEAST_PAGES = 32  # on a tiny disk
WAL_LIMIT = 64 * 2**20  # octets that the log keeps after a burst
LOCK_TIMEOUT_S = 1.0  # for somebody's sqlite3 shell; another bus is told by the lock file at once
CHECK_UP_TO = 2 * 2**30  # octets; a larger file is not checked after a reboot: mail would wait for minutes
SQLITE_NEEDED = (3, 35, 0)  # of March 2021; older ones were never tried
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")  # another after each boot; absent: never checked

PRAGMAS = (
    "locking_mode = EXCLUSIVE",  # before the first access, so that the log's index stays in memory
    f"page_size = {PAGE_SIZE}",  # this and the next count in a new file only
    "auto_vacuum = INCREMENTAL",
    "journal_mode = WAL",
    "synchronous = FULL",
    "foreign_keys = OFF",
    "cell_size_check = ON",
    f"cache_size = -{CACHE_KIB}",
    f"journal_size_limit = {WAL_LIMIT}",
)
READ_BACK = (("journal_mode", "wal"), ("synchronous", 2), ("locking_mode", "exclusive"))


class Opened(Struct, weakref=True):
    """What belongs to a journal while it is open."""

    epoch: str
    lock: Lock
    database: Database
    ahead: Ahead


def beside(path: Path, suffix: str) -> Path:
    """Return the path of a file that belongs to the journal at `path`."""
    return path.with_name(path.name + suffix)


def open_file(path: Path, ballast: space.Ballast, spill_above: int) -> Opened:
    """Open the journal at `path`, made if it is not there; raises Busy, Broken or Unusable and lets go of everything."""
    with contextlib.ExitStack() as undo:
        try:
            lock = _own(path, undo)
            undo.callback(_close_in_order, path, lock)
            try:
                connection, epoch = _connect(path, ballast)
            except sqlite3.OperationalError as error:
                if tables.primary_code(error) != sqlite3.SQLITE_FULL:
                    raise
                ballast.give_up()  # what is queued must be able to leave
                connection, epoch = _connect(path, ballast)
            undo.callback(connection.close)
            sync_folder(path.parent)
            bodies = Bodies(connection, beside(path, ".bodies"), spill_above)
            bodies.sweep()
            database = Database(path, connection, bodies)
            ahead = _open_ahead(database, spill_above, ballast)
            ballast.restore()
            lock.mark()
        except (sqlite3.Error, OSError) as error:
            raise _explain(path, error) from error
        undo.pop_all()
    opened = Opened(epoch, lock, database, ahead)
    # Dropped without close, by an exception that ends the process: SQLite still takes its log away in order.
    weakref.finalize(opened, lock.abandon)
    return opened


def _own(path: Path, undo: contextlib.ExitStack) -> Lock:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    space.refuse_network(path.parent)
    lock = Lock(path)
    undo.callback(lock.release)
    log = beside(path, "-wal")
    if lock.was_unclean and path.exists() and not log.exists():
        raise Unusable(
            f"{path} was not closed in order and its log {log.name} is gone: accepted mail may be missing. Put it back; "
            f"if it is lost, or another program has opened the journal since, remove {lock.path} to go on without it."
        )
    return lock


def _close_in_order(path: Path, lock: Lock) -> None:
    """After an opening that failed: where SQLite has taken the log of a crash in, it is not missing."""
    if not beside(path, "-wal").exists():
        lock.clear()


def _connect(path: Path, ballast: space.Ballast) -> tuple[sqlite3.Connection, str]:
    """Open the file and make it ours: returns the connection and the epoch."""
    if sqlite3.sqlite_version_info < SQLITE_NEEDED:
        raise Unusable(f"SQLite {sqlite3.sqlite_version} is too old, 3.35 is needed. Use a newer Python.")
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))  # SQLite alone would make it 0644
    connection = sqlite3.connect(
        path, timeout=LOCK_TIMEOUT_S, isolation_level=None, check_same_thread=False, cached_statements=512
    )
    try:
        for pragma in (*PRAGMAS, f"wal_autocheckpoint = {_checkpoint_pages(ballast.target())}"):
            connection.execute(f"PRAGMA {pragma}").fetchall()
        for pragma, value in READ_BACK:  # builds and file systems may not do as they are told
            (found,) = connection.execute(f"PRAGMA {pragma}").fetchone()
            if found != value:
                raise Unusable(
                    f"{path}: SQLite says {pragma} = {found}, not {value}. Put it on a local disk."
                )
        return connection, _start(path, connection)
    except BaseException:
        connection.close()
        raise


def _checkpoint_pages(ballast: int) -> int:
    """Say how long the log may grow: half of the ballast must hold it, or a full disk could never be emptied."""
    if ballast == 0:
        return CHECKPOINT_PAGES
    return max(LEAST_PAGES, min(CHECKPOINT_PAGES, ballast // 2 // PAGE_SIZE))


def _start(path: Path, connection: sqlite3.Connection) -> str:
    """Migrate, check after a reboot, and count the epoch, in one transaction; returns the epoch."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        schema.migrate(connection, path)
        meta = dict(connection.execute("SELECT k, v FROM meta").fetchall())
        boot = BOOT_ID.read_text("ascii").strip() if BOOT_ID.exists() else ""
        if meta.get("boot", boot) != boot and path.stat().st_size <= CHECK_UP_TO:
            _check(path, connection)  # a power cut may have harmed the file; kill -9 cannot
        number = meta.get("epoch", 0) + 1
        new = [("epoch", number), ("boot", boot)]
        connection.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", new)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return f"{number}.{secrets.token_hex(4)}"


def _check(path: Path, connection: sqlite3.Connection) -> None:
    (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if verdict != "ok":
        raise Unusable(f"{path} is damaged ({verdict}). Restore it, or move it away to start empty.")


def _open_ahead(database: Database, spill_above: int, ballast: space.Ballast) -> Ahead:
    """Take in what an earlier life left in the redo log; on a full disk the ballast makes room for it."""
    path = beside(database.path, ".redo")
    numbers = database.ask(_next_numbers)
    try:
        return open_ahead(database, path, numbers, spill_above)
    except Full:
        ballast.give_up()
    try:
        return open_ahead(database, path, numbers, spill_above)
    except Full as error:
        raise Broken(f"{error}. Free some space.") from error


def _next_numbers(connection: sqlite3.Connection) -> Numbers:
    """Return the next row, which never comes again, and the next body, which may when its file is swept."""
    query = "SELECT coalesce(max(seq), 0) + 1 FROM sqlite_sequence WHERE name = 'item'"
    (next_row,) = connection.execute(query).fetchone()
    (next_body,) = connection.execute("SELECT coalesce(max(id), 0) + 1 FROM body").fetchone()
    return Numbers(next_row, next_body)


def _explain(path: Path, error: sqlite3.Error | OSError) -> JournalError:
    """Turn what went wrong into what a person can act on: Unusable does not mend by itself, Broken may."""
    if isinstance(error, OSError):
        text = f"{error.filename or path}: {error.strerror}"
        if space.is_out_of_space(error):
            return Broken(f"{text}. Free some space.")
        if error.errno == errno.EIO:
            return Broken(f"{text}. Look at this disk.")
        return Unusable(
            f"{text}. Give its folder to the user that runs this, or set [bus] journal to another."
        )
    match tables.primary_code(error):
        case sqlite3.SQLITE_BUSY:
            return Busy(f"{path} is in use by another program ({error}). Stop it first.")
        case sqlite3.SQLITE_FULL:
            return Broken(f"{path}: {error}. Free some space.")
        case sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_READONLY | sqlite3.SQLITE_PERM:
            return Unusable(
                f"{path}: {error}. Give its folder to the user that runs this, or set [bus] journal to another."
            )
        case sqlite3.SQLITE_NOTADB | sqlite3.SQLITE_CORRUPT:
            return Unusable(f"{path} is damaged ({error}). Restore it, or move it away to start empty.")
        case _:
            return Broken(f"{path}: {error}")
