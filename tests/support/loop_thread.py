"""An event loop in a thread, so that a test can talk to it over a blocking socket; and our LMTP server of stand-ins on it."""

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, NamedTuple, TypeVar

import structlog
import uvloop

from config.lmtp_settings import LmtpSettings
from lmtp.listener import Listener
from lmtp.peers import Trust
from lmtp.server import Server
from lmtp.snapshot import Snapshot
from lmtp.tls import Certificates
from tests.support.lmtp_parts import Lists, Parts, make_parts

T = TypeVar("T")
DEADLINE_S = 10.0


class LoopThread:
    """A loop of its own, turned by its own thread."""

    def __init__(self, kind: str = "asyncio") -> None:
        self.loop: asyncio.AbstractEventLoop = (
            uvloop.new_event_loop() if kind == "uvloop" else asyncio.new_event_loop()
        )
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)

    def __enter__(self) -> "LoopThread":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.run(_cancel_all())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(DEADLINE_S)
        self.loop.close()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine there and return what it returns."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(DEADLINE_S)

    def call(self, act: Callable[[], T]) -> T:
        """Call a function there."""

        async def work() -> T:
            return act()

        return self.run(work())


async def _cancel_all() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


class StoreOfLists(Lists):
    """Lists with the part of a store that the snapshot's upkeep needs."""

    def __init__(self) -> None:
        super().__init__()
        self.away: Exception | None = None

    def load(self) -> None:
        if self.away is not None:
            raise self.away

    def refresh(self) -> bool:
        self.load()
        return False

    def is_current(self) -> bool:
        self.load()
        return True


class Running(NamedTuple):
    """Our server on a loop in a thread."""

    parts: Parts
    store: StoreOfLists
    server: Server
    listener: Listener
    thread: LoopThread
    address: tuple[str, int]


@contextlib.contextmanager
def running_server(kind: str = "asyncio", *, trusted: str = "127.0.0.0/8", **lmtp: Any) -> Iterator[Running]:
    """Run our server with stand-ins for lists and bus; `kind` is asyncio or uvloop, `lmtp` settings of that table."""
    store = StoreOfLists()
    parts = make_parts(lists=store, **lmtp)
    trust = Trust(LmtpSettings(trusted=[trusted], **lmtp))
    with LoopThread(kind) as thread, socket.create_server(("127.0.0.1", 0)) as listening:

        def start() -> tuple[Server, Listener]:
            snapshot = Snapshot(store, structlog.wrap_logger(parts.log))
            server = Server(parts.service, snapshot, trust, LmtpSettings(**lmtp))
            if lmtp.get("tls_cert"):
                log = structlog.wrap_logger(parts.log, processors=[])
                server.certificates = Certificates(LmtpSettings(**lmtp), log)
            listener = Listener([listening], server, structlog.wrap_logger(parts.log))
            listener.start()
            return server, listener

        server, listener = thread.call(start)
        try:
            yield Running(parts, store, server, listener, thread, listening.getsockname())
        finally:
            thread.call(listener.stop)
            thread.run(server.drain(0.1))
            thread.call(server.snapshot.close)
