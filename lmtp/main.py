"""The process `lmtp-N`: listens on the sockets that master hands down, answers from the snapshot, publishes on the bus.

`python -m lmtp.main --settings FILE --name lmtp-1 --listen-fd 7 --listen-fd 8`. The sockets are bound and listening already, and other front-ends may
have them too. It takes connections as soon as lists are loaded and the bus is heard; without a bus after 3 s, and answers MAIL 451 until there is one.
SIGTERM, SIGINT or the end of the life pipe: no more connections, idle clients are told 421 4.3.2, transactions in hand have GRACE_S; then exit 0.
Exit 78: the configuration cannot be used; 70: anything else that nothing caught, master starts another.
"""

import asyncio
import gc
import os
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Final

import structlog
from msgspec import Struct

from bus.client import Front
from config.certificates import BadCertificate
from config.child import BEAT_S, Child, argument_parser, start_child
from config.clock import Clock
from config.logs import log_uncaught, set_up
from config.names import EX_CONFIG
from lists.directory import Directory
from lists.errors import BadSecret, BadSuffix, StoreTooNew
from lmtp.listener import Listener
from lmtp.peers import BadTrust, Trust
from lmtp.server import Server
from lmtp.service import Service
from lmtp.snapshot import Snapshot
from lmtp.tls import Certificates

EX_SOFTWARE: Final = 70  # sysexits.h
GRACE_S: Final = 15.0  # for transactions in hand at a stop; master kills after 20 s
PATIENCE_S: Final = (
    3.0  # clients wait that long in the kernel's queue for bus and lists; then they are told 451
)
LOOK_S: Final = 0.02  # how often it is asked whether the bus was heard, while starting
SWEEP_S: Final = 5.0  # at most, between two looks for silent clients
BAD_CONFIG: Final = (BadSecret, BadSuffix, StoreTooNew, BadTrust, BadCertificate)

PRELOAD: Final = ["uvloop"]  # for whoever forks these processes (master/forker.py)

Log = structlog.typing.FilteringBoundLogger


def main(argv: Sequence[str] | None = None) -> int:
    """Run one front-end; returns the exit status."""
    parser = argument_parser("The LMTP front-end of Postroom (RFC 2033).")
    parser.add_argument(
        "--listen-fd", type=int, action="append", default=[], help="a listening socket; may be given again"
    )
    child = start_child(parser, argv)
    log = set_up(child.settings, child.name)
    try:
        with asyncio.Runner(loop_factory=_loop_factory(child.settings.lmtp.uvloop)) as runner:
            runner.run(serve(child, log))
    except Exception as error:
        causes = list(_leaves(error))
        if not all(isinstance(cause, BAD_CONFIG) for cause in causes):
            log_uncaught(log, error)
            return EX_SOFTWARE
        for cause in causes:
            log.error("process.failed", error=str(cause))
            print(f"{child.name}: {cause}", file=sys.stderr)
        return EX_CONFIG
    return 0


def _loop_factory(wanted: bool) -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Choose uvloop where it can be imported: it halves the time for small messages."""
    if not wanted:
        return None
    try:
        from uvloop import new_event_loop  # not imported where it is not wanted
    except ImportError:
        return None
    return new_event_loop


def _leaves(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for each in error.exceptions for leaf in _leaves(each)]
    return [error]


async def serve(child: Child, log: Log) -> None:
    """Do the work of one front-end until it is asked to stop."""
    settings = child.settings
    clock = Clock(Path(settings.site.clock_file) if settings.site.clock_file else None)
    stopping = _stop_event(child)
    with ExitStack() as cleanup:
        directory = Directory(settings)
        cleanup.callback(directory.close)
        snapshot = Snapshot(directory, log)
        cleanup.callback(snapshot.close)
        async with Front(settings, child.name, child.instance, clock) as front:
            service = Service(settings, directory, front, clock, log)
            trust = Trust(settings.lmtp)
            server = Server(service, snapshot, trust, settings.lmtp)
            if settings.lmtp.tls_cert:
                server.certificates = Certificates(settings.lmtp, log)
            sockets = [cleanup.enter_context(socket.socket(fileno=fd)) for fd in child.extra.listen_fd]
            listener = Listener(sockets, server, log)
            await _run(FrontEnd(child, log, snapshot, server, listener), stopping)


def _stop_event(child: Child) -> asyncio.Event:
    """Make the event that SIGTERM, SIGINT and the end of master set."""
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    if child.life_fd >= 0:

        def master_is_gone() -> None:
            loop.remove_reader(child.life_fd)
            stopping.set()

        loop.add_reader(child.life_fd, master_is_gone)
    return stopping


class FrontEnd(Struct):
    """The parts of this process, put together."""

    child: Child
    log: Log
    snapshot: Snapshot
    server: Server
    listener: Listener


async def _run(front_end: FrontEnd, stopping: asyncio.Event) -> None:
    log = front_end.log
    log.info("process.started", pid=os.getpid(), listen_fds=front_end.child.extra.listen_fd)
    async with asyncio.TaskGroup() as tasks:
        running = [
            tasks.create_task(_beat(front_end.child), name="beat"),
            tasks.create_task(front_end.snapshot.keep(), name="snapshot"),
            tasks.create_task(_open(front_end), name="open"),
            tasks.create_task(_sweep(front_end.server), name="sweep"),
        ]
        await stopping.wait()
        log.info("process.stopping")
        running[2].cancel()
        front_end.listener.stop()
        await front_end.server.drain(GRACE_S)
        for task in running:
            task.cancel()
    log.info("process.stopped")


async def _beat(child: Child) -> None:
    while True:
        child.beat()
        await asyncio.sleep(BEAT_S)


async def _open(front_end: FrontEnd) -> None:
    """Take connections as soon as there is something to tell them; say READY when we do our work."""
    service = front_end.server.service
    with suppress(TimeoutError):
        async with asyncio.timeout(PATIENCE_S):
            await _work_possible(front_end)
    _settle_memory()
    front_end.listener.start()
    front_end.log.info("lmtp.listening", is_loaded=service.is_loaded, is_connected=service.front.connected)
    await _work_possible(front_end)
    front_end.child.ready()
    front_end.log.info("process.ready")


async def _work_possible(front_end: FrontEnd) -> None:
    service = front_end.server.service
    await front_end.snapshot.is_loaded.wait()
    service.is_loaded = True
    while True:
        if service.front.connected:  # the bus's client has nothing to wait on
            return
        await asyncio.sleep(LOOK_S)


async def _sweep(server: Server) -> None:
    pause_s = min(SWEEP_S, server.idle_timeout_s / 4, server.data_timeout_s / 4)
    while True:
        await asyncio.sleep(pause_s)
        server.sweep()


def _settle_memory() -> None:
    """Keep the garbage collector from going over what was made at start, and from running every few messages.

    Sessions make no cycles. Measured with 4 KiB messages: 0.13 ms of CPU each with Python's thresholds, 0.12 with these.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 50, 50)


if __name__ == "__main__":
    sys.exit(main())
