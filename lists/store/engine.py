"""The database under the list store, and all that differs between dialects: pragmas, write locks, what counts as away.

SQLite's file has many processes, so every connection is set up the same way and each pragma is read back: rollback journal that is
truncated, full sync, no cache spill (it would take the exclusive lock in the middle of a transaction). A writer takes the write lock at
BEGIN, so that no transaction fails half-way by a lock upgrade. PostgreSQL gets the same order of writers from a row lock. Nothing
outside this file knows which one it is.
"""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, exc, text
from sqlalchemy.engine import URL, make_url

from config.failpoints import fail
from lists.errors import StoreAway
from lists.store.filelock import locked

BUSY_TIMEOUT_S = 30.0  # for runners and commands; the front-end waits 2 s (DESIGN)
TURN_POLL_S = 0.002  # a write takes 1 to 20 ms
CONNECTIONS = 8  # of one process; its threads take turns beyond that

# name, what is set, what must be read back. synchronous 2 is FULL, cache_spill 0 is off.
_PRAGMAS = (
    ("journal_mode", "TRUNCATE", "truncate"),
    ("synchronous", "FULL", 2),
    ("cache_spill", "OFF", 0),
    ("foreign_keys", "ON", 1),
)


def make_engine(url_text: str, busy_timeout_s: float = BUSY_TIMEOUT_S) -> Engine:
    """Make the engine for `[lists] store`; connects only when it is used."""
    url = _read_url(url_text)
    if url.get_backend_name() != "sqlite":
        return create_engine(url, pool_size=CONNECTIONS, max_overflow=0, pool_pre_ping=True)
    engine = create_engine(
        url,
        pool_size=CONNECTIONS,
        max_overflow=0,
        pool_timeout=busy_timeout_s,
        # isolation_level None: this driver must not begin transactions of its own; _begin does.
        execution_options={"postroom_busy_timeout_s": busy_timeout_s},
        connect_args={"timeout": busy_timeout_s, "isolation_level": None, "check_same_thread": False},
    )
    event.listen(engine, "connect", _set_pragmas)
    event.listen(engine, "begin", _begin)
    return engine


def store_file(url_text: str) -> Path | None:
    """Return SQLite's file, None for a server."""
    url = _read_url(url_text)
    if url.get_backend_name() != "sqlite":
        return None
    if not url.database or url.database == ":memory:":
        raise StoreAway("[lists] store names no file", "write sqlite:///path")
    return Path(url.database)


def _read_url(text: str) -> URL:
    try:
        url = make_url(text)
        url.get_dialect()
    except (exc.ArgumentError, exc.NoSuchModuleError) as error:
        raise StoreAway(
            "[lists] store is no URL of a database that we know", "write sqlite:///path"
        ) from error
    return url


def make_file(path: Path) -> None:
    """Make SQLite's file and its folder, readable for us alone: it has everybody's addresses. SQLite gives its journal the same mode."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with suppress(FileExistsError):
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise StoreAway(f"{path}: {error.strerror}", "check that the folder is there and ours") from error


def _set_pragmas(connection: sqlite3.Connection, _: Any) -> None:
    cursor = connection.cursor()
    for name, value, expected in _PRAGMAS:
        cursor.execute(f"PRAGMA {name}={value}").fetchall()
        got = cursor.execute(f"PRAGMA {name}").fetchone()[0]
        if got != expected:
            raise StoreAway(
                f"{name} is {got!r} after it was set to {value}", "is the file opened by another program?"
            )
    cursor.close()


def _begin(connection: Connection) -> None:
    writes = connection.get_execution_options().get("postroom_writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """Open a transaction that only reads; fetch whole and leave it before anything is printed, sent or awaited."""
    with away(), engine.connect() as connection:
        yield connection


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """Open a transaction that no other writer can overlap; committed at the end, rolled back by any exception."""
    with away():
        with engine.connect().execution_options(postroom_writes=True) as connection:
            with _next_in_line(engine):
                transaction = connection.begin()
            with transaction:
                if engine.dialect.name != "sqlite":
                    connection.execute(text("SELECT version FROM version FOR UPDATE"))
                yield connection
                fail("store.commit.before")
        fail("store.commit.after")


def _next_in_line(engine: Engine) -> AbstractContextManager[None]:
    """Wait for the write lock as the only one who does; a server has a queue of its own.

    SQLite's writers poll, less and less often: one that writes without pause kept another from ever writing (measured: two seconds
    for each of its batches). Whoever wants to write holds FILE.turn while waiting, so nobody can overtake.
    """
    if engine.url.get_backend_name() != "sqlite":
        return nullcontext()
    timeout_s = float(engine.get_execution_options()["postroom_busy_timeout_s"])
    return locked(Path(f"{engine.url.database}.turn"), timeout_s, TURN_POLL_S, "the database is locked")


@contextmanager
def away() -> Iterator[None]:
    """Turn what the world does to a database into StoreAway; a bug of ours (bad SQL, broken constraint) stays what it is."""
    try:
        yield
    except exc.TimeoutError as error:
        raise StoreAway("all its connections are in use", "it will be tried again") from error
    except exc.DBAPIError as error:
        if type(error) in (exc.OperationalError, exc.DatabaseError, exc.InterfaceError, exc.InternalError):
            raise explain(error.orig) from error
        raise
    except OSError as error:
        raise StoreAway(error.strerror or str(error), "see the system's log") from error


_REMEDIES = (
    ("locked", "another process writes; it will be tried again"),
    ("full", "make space on its disk"),
    ("readonly", "make file and folder writable for this user"),
    ("unable to open", "check that file and folder are there and ours"),
    ("not a database", "[lists] store names another kind of file"),
    ("malformed", "restore it from the last backup"),
)


def explain(error: BaseException | None) -> StoreAway:
    """Say what a driver's error means and what to do about it."""
    what = str(error).strip().partition("\n")[0]
    for word, remedy in _REMEDIES:
        if word in what:
            return StoreAway(what, remedy)
    return StoreAway(what, "see the database's log")
