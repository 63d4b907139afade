"""The cheapest question there is: has anything moved? One prepared statement on a connection of its own, without SQLAlchemy's layers."""

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

    def read(self) -> tuple[int, int]:
        """Return `version` and `deliveries`; raises StoreAway."""
        with self._lock:
            try:
                return self._ask()
            except BaseException:
                self._drop()
                raise

    def _ask(self) -> tuple[int, int]:
        errors: type[Exception] = self._engine.dialect.loaded_dbapi.Error
        try:
            with away():
                if self._connection is None:
                    self._connection = self._engine.raw_connection()
                    self._connection.detach()  # ours from now on, not the pool's
            with closing(self._connection.cursor()) as cursor:
                cursor.execute(READ_VERSION)
                ((version, deliveries),) = cursor.fetchall()  # whole: an open cursor would stop every commit
            self._connection.rollback()  # a server began a transaction; SQLite did not, and this is nothing
        except errors as error:  # the driver's own: SQLAlchemy wraps nothing here
            raise explain(error) from error
        return int(version), int(deliveries)

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            self._drop()

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(StoreAway), away():
                connection.close()
