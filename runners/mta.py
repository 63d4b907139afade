"""The connections to the MTA that one outgoing process has: at most `connections`, each in a thread while it works.

Kept open between transactions, closed when idle for IDLE_S, so that the MTA's processes are not kept waiting. Whoever waits for a
connection while one cannot be opened shares that answer: an MTA that swallows connects costs one time-out, not one an item.
What is said on a connection is smtp.py's.
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
        self._away: tuple[float, str] = (float("-inf"), "")  # when a connect failed last, and why

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """Lend an open connection; raises Away. One whose work failed or was cancelled is not used again."""
        asked = time.monotonic()
        async with self._slots:
            connection = self._idle.pop()[1] if self._idle else Connection(self._settings)
            if not connection.is_open():
                await self._open(connection, asked)
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

    async def _open(self, connection: Connection, asked: float) -> None:
        """Connect, unless that has failed since this one was asked for; raises Away."""
        failed, reason = self._away
        if failed > asked:
            raise Away(reason)
        try:
            await self.run(connection.open)
        except Away as error:
            self._away = (time.monotonic(), str(error))
            log.warning("outgoing.away", error=str(error))
            raise

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
