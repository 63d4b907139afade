"""Taking connections from sockets that master has bound and that several front-ends share.

Each process takes one connection a turn of its loop, so the one that has time gets it; loop.create_server would take a hundred at once,
and one process would have them all. Stopping leaves what waits in the kernel's queue to the others, or to the next start.
"""

import asyncio
import errno
import socket
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

import structlog

from lmtp import replies
from lmtp.peers import Peer, Strangers, Trust, identify

REST_S: Final = 1.0  # without a free descriptor accept is tried again after that
_EXHAUSTED: Final = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}


class Listener:
    """The shared sockets of this process; `start` and `stop` may be called in turn."""

    def __init__(
        self,
        sockets: Sequence[socket.socket],
        make_connection: Callable[[Peer], asyncio.BaseProtocol],
        trust: Trust,
        log: structlog.typing.FilteringBoundLogger,
    ) -> None:
        self._sockets = sockets
        self._make_connection = make_connection
        self._trust = trust
        self._log = log
        self._strangers = Strangers(log)
        self._adopting: set[asyncio.Task[None]] = set()  # held, since the loop holds tasks weakly
        self._is_on = False

    def start(self) -> None:
        """Take connections from now on."""
        self._is_on = True
        for each in self._sockets:
            each.setblocking(False)
            self._watch(each)

    def stop(self) -> None:
        """Take none any more; who waits in the queue is not turned away."""
        self._is_on = False
        for each in self._sockets:
            asyncio.get_running_loop().remove_reader(each.fileno())

    def _watch(self, listening: socket.socket) -> None:
        if self._is_on:
            asyncio.get_running_loop().add_reader(listening.fileno(), self._accept, listening)

    def _accept(self, listening: socket.socket) -> None:
        try:
            accepted, name = listening.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return  # another process was faster, or the client left
        except OSError as error:
            if error.errno not in _EXHAUSTED:
                raise
            self._rest(listening, error)
            return
        accepted.setblocking(False)
        peer = identify(accepted, name)
        if not self._trust.admits(peer):
            return self._turn_away(accepted, peer)
        if not peer.is_local:
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        task = asyncio.get_running_loop().create_task(self._adopt(accepted, peer))
        self._adopting.add(task)
        task.add_done_callback(self._adopted)

    async def _adopt(self, accepted: socket.socket, peer: Peer) -> None:
        make = partial(self._make_connection, peer)
        await asyncio.get_running_loop().connect_accepted_socket(make, accepted)

    def _adopted(self, task: asyncio.Task[None]) -> None:
        self._adopting.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._log.error("lmtp.failed", error=f"{type(error).__name__}: {error}", exc_info=error)

    def _turn_away(self, accepted: socket.socket, peer: Peer) -> None:
        self._strangers.note(peer, asyncio.get_running_loop().time())
        with accepted:
            try:
                accepted.send(replies.NOT_TRUSTED.wire)
                accepted.shutdown(socket.SHUT_WR)
            except OSError:
                return  # it is gone already

    def _rest(self, listening: socket.socket, error: OSError) -> None:
        self._log.error("lmtp.failed", error=f"{type(error).__name__}: {error}")
        loop = asyncio.get_running_loop()
        loop.remove_reader(listening.fileno())
        loop.call_later(REST_S, self._watch, listening)
