"""Taking connections from sockets that master has bound and that several front-ends share.

Each process takes one connection a turn of its loop, so the one that has time gets it; loop.create_server would take a hundred at once,
and one process would have them all. Stopping leaves what waits in the kernel's queue to the others, or to the next start.
"""

import asyncio
import errno
import socket
from collections.abc import Sequence
from functools import partial
from typing import Final, Protocol

import structlog

from lmtp.peers import Peer, Strangers, identify
from lmtp.replies import Reply

ASIDE_S: Final = 0.02  # a process that has no room leaves the next connections to others for so long
AWAY_PER_TURN: Final = 100  # connections that it then turns away at once
REST_S: Final = 1.0  # without a free descriptor accept is tried again after that
_EXHAUSTED: Final = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}


class House(Protocol):
    """Where connections are brought to: Server."""

    @property
    def is_full(self) -> bool:
        """Whether there is no room for anybody."""

    def refuse(self, peer: Peer) -> Reply | None:
        """Say why this peer is not let in, what it is told in place of the greeting."""

    def make_connection(self, peer: Peer) -> asyncio.BaseProtocol:
        """Make the protocol of a new connection, which counts from now on."""

    def discard(self, connection: asyncio.BaseProtocol) -> None:
        """Forget a connection that came to nothing."""


class Listener:
    """The shared sockets of this process; `start` and `stop` may be called in turn."""

    def __init__(
        self,
        sockets: Sequence[socket.socket],
        house: House,
        log: structlog.typing.FilteringBoundLogger,
    ) -> None:
        self._sockets = sockets
        self._house = house
        self._log = log
        self._strangers = Strangers(log)
        self._adopting: set[asyncio.Task[None]] = set()  # held, since the loop holds tasks weakly
        self._resting: set[socket.socket] = set()  # not watched, for want of descriptors
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
        if self._is_on and listening not in self._resting:
            asyncio.get_running_loop().add_reader(listening.fileno(), self._accept, listening)

    def _accept(self, listening: socket.socket) -> None:
        if not self._house.is_full:
            self._take(listening)
            return
        loop = asyncio.get_running_loop()
        loop.remove_reader(listening.fileno())
        loop.call_later(ASIDE_S, self._take_left, listening)

    def _take_left(self, listening: socket.socket) -> None:
        """Take what no other process wanted: most of it is turned away, which is better than to let it wait for nothing."""
        for _ in range(AWAY_PER_TURN):
            if not self._is_on or not self._take(listening):
                break
        self._watch(listening)

    def _take(self, listening: socket.socket) -> bool:
        """Take one connection; false when there was none."""
        try:
            accepted, name = listening.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return False  # another process was faster, or the client left
        except OSError as error:
            if error.errno not in _EXHAUSTED:
                raise
            self._log.error("lmtp.failed", error=f"{type(error).__name__}: {error}")
            self._rest(listening)
            return False
        try:
            self._welcome(accepted, identify(accepted, name))
        except OSError:  # gone already
            accepted.close()
        return True

    def _welcome(self, accepted: socket.socket, peer: Peer) -> None:
        refusal = self._house.refuse(peer)
        if refusal is not None:
            return self._turn_away(accepted, peer, refusal)
        if not peer.is_local:  # uvloop does that itself, asyncio does not
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = self._house.make_connection(peer)
        task = asyncio.get_running_loop().create_task(self._adopt(accepted, connection))
        self._adopting.add(task)
        return task.add_done_callback(partial(self._adopted, connection))

    async def _adopt(self, accepted: socket.socket, connection: asyncio.BaseProtocol) -> None:
        await asyncio.get_running_loop().connect_accepted_socket(lambda: connection, accepted)

    def _adopted(self, connection: asyncio.BaseProtocol, task: asyncio.Task[None]) -> None:
        self._adopting.discard(task)
        if task.cancelled():
            self._house.discard(connection)
        elif (error := task.exception()) is not None:
            self._house.discard(connection)
            self._log.error("lmtp.failed", error=f"{type(error).__name__}: {error}", exc_info=error)

    def _turn_away(self, accepted: socket.socket, peer: Peer, reply: Reply) -> None:
        self._strangers.note(peer, reply, asyncio.get_running_loop().time())
        with accepted:
            accepted.setblocking(False)
            accepted.send(reply.wire)
            accepted.shutdown(socket.SHUT_WR)

    def _rest(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        loop.remove_reader(listening.fileno())
        loop.call_later(REST_S, self._wake, listening)
        self._resting.add(listening)

    def _wake(self, listening: socket.socket) -> None:
        self._resting.discard(listening)
        self._watch(listening)
