"""The cheapest question there is: has anything moved? One prepared statement on a connection of its own, without SQLAlchemy's layers.

There are two ways to ask. `read` waits for a writer and belongs to a thread. `glance` waits for nobody, so an event loop may ask it: of SQLite
without patience, and of a server, which is always a wait, not at all.
"""

import threading
from contextlib import closing, suppress
from typing import Any

from sqlalchemy import Engine

from lists.errors import StoreAway
from lists.store.engine import away, explain
from lists.store.versions import READ_VERSION


class VersionProbe:
    """Reads the site's version numbers; about 10 microseconds on SQLite. After any error it connects anew."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = (
            threading.Lock()
        )  # a cancelled wait leaves its thread running; the next call must not meet it
        self._connection: Any = None
        self._hasty: Any = None  # the one that does not wait for a lock; only SQLite has it

    def read(self) -> tuple[int, int]:
        """Return `version` and `deliveries`; raises StoreAway."""
        with self._lock:
            try:
                return self._ask()
            except BaseException:
                self._drop()
                raise

    def glance(self) -> tuple[int, int] | None:
        """Return what `read` would say, if that can be said at once; None: ask `read`. Not for two threads at a time."""
        if self._hasty is None:
            return None
        try:
            ((version, deliveries),) = self._hasty.execute(READ_VERSION).fetchall()
        except self._errors:  # somebody writes, or there is more amiss, which `read` will say
            return None
        return int(version), int(deliveries)

    @property
    def _errors(self) -> type[Exception]:
        """What the driver raises."""
        errors: type[Exception] = self._engine.dialect.loaded_dbapi.Error
        return errors

    def _ask(self) -> tuple[int, int]:
        try:
            with away():
                if self._connection is None:
                    self._connect()
            with closing(self._connection.cursor()) as cursor:
                cursor.execute(READ_VERSION)
                ((version, deliveries),) = cursor.fetchall()  # whole: an open cursor would stop every commit
            self._connection.rollback()  # a server began a transaction; SQLite did not, and this is nothing
        except self._errors as error:  # the driver's own: SQLAlchemy wraps nothing here
            raise explain(error) from error
        return int(version), int(deliveries)

    def _connect(self) -> None:
        """Open what is not open; here and not in `glance`, because setting up a connection may wait."""
        if self._hasty is None and self._engine.dialect.name == "sqlite":
            hasty = self._engine.raw_connection()
            hasty.detach()  # ours from now on, not the pool's
            hasty.cursor().execute("PRAGMA busy_timeout=0").fetchall()
            self._hasty = hasty.dbapi_connection
        self._connection = self._engine.raw_connection()
        self._connection.detach()

    def close(self) -> None:
        """Close the connections; nobody asks any more."""
        with self._lock:
            self._drop()
            hasty, self._hasty = self._hasty, None
            if hasty is not None:
                hasty.close()

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(StoreAway), away():
                connection.close()
