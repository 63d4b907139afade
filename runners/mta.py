"""The connections to the MTA that one outgoing process has: at most `connections`, each in a thread while it works.

Kept open between transactions, closed when idle for IDLE_S, so that the MTA's processes are not kept waiting. After a failed
connect nothing is tried for AWAY_S: a queue full of mail must not hammer an MTA that is coming up. What is said on a connection
is smtp.py's.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import TypeVar

import structlog

from config.settings import Settings
from runners.smtp import Away, Connection

IDLE_S = 20.0  # Postfix keeps its own connections for 2 s, and waits for a client's next command for 300 s
AWAY_S = 2.0

T = TypeVar("T")

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()


class Mta:
    """The site's MTA as outgoing sees it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        number = settings.outgoing.connections
        self._slots = asyncio.Semaphore(number)
        self._threads = ThreadPoolExecutor(number, "smtp")
        self._idle: list[
            tuple[float, Connection]
        ] = []  # when it became so, and which; the last is taken first
        self._reaper: asyncio.TimerHandle | None = None
        self._away: tuple[float, Away] | None = None  # until when, and why

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """Lend an open connection; raises Away. One whose work failed or was cancelled is not used again."""
        async with self._slots:
            connection = self._idle.pop()[1] if self._idle else Connection(self._settings)
            if not connection.is_open():
                await self._open(connection)
            yield connection
            self._idle.append((time.monotonic(), connection))
            self._reap_later()

    async def run(self, work: Callable[[], T]) -> T:
        """Do what blocks in a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    async def close(self) -> None:
        """Leave the MTA; every connection is idle by now."""
        if self._reaper is not None:
            self._reaper.cancel()
        while self._idle:
            self._idle.pop()[1].quit()
        self._threads.shutdown(wait=False)

    async def _open(self, connection: Connection) -> None:
        """Connect, unless that has just failed; raises Away."""
        if self._away is not None and time.monotonic() < self._away[0]:
            raise Away(str(self._away[1])) from self._away[1]
        try:
            await self.run(connection.open)
        except Away as error:
            self._away = (time.monotonic() + AWAY_S, error)
            log.warning("outgoing.away", error=str(error))
            raise
        self._away = None

    def _reap_later(self) -> None:
        if self._reaper is None:
            self._reaper = asyncio.get_running_loop().call_later(IDLE_S, self._reap)

    def _reap(self) -> None:
        """Leave the MTA on connections that nobody has needed for IDLE_S."""
        self._reaper = None
        oldest = time.monotonic() - IDLE_S
        while self._idle and self._idle[0][0] <= oldest:
            self._idle.pop(0)[1].quit()
        if self._idle:
            self._reap_later()
