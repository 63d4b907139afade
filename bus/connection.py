"""One asyncio client's connection to the bus: reading on the event loop, hello after every connection, beats.

The loop watches ZeroMQ's own file descriptor and reads until there is nothing more; zmq.asyncio costs six to nine times as much.
That descriptor is edge-triggered: after every send it must be read again, or a message that arrived meanwhile is not seen
until the next. Nothing here is sent twice and nothing is waited for: front.py, worker.py and overseer.py repeat what matters.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import structlog
import zmq
import zmq.utils.monitor

from bus import messages
from bus.messages import Beat, FromBus, FromClient, Hello, Problem, Welcome
from bus.sockets import connect, receive, send

BEAT_S = 2.0
TICK_S = 0.25
HELLO_AGAIN_S = 1.0  # a hello without a welcome is repeated after this
READ_AT_ONCE = 100  # messages before other callbacks get their turn
LINGER_MS = 500  # for the last words of a process that ends

Take = Callable[[FromBus, Sequence[bytes]], None]


class Away(Exception):
    """The bus did not answer in time; nothing is known of what was asked of it."""


class Connection:
    """A DEALER on the running loop. `take` gets every message but problems, Welcome included, `tick` is called four times a second."""

    def __init__(
        self,
        path: Path,
        hello: Callable[[], Hello],
        take: Take,
        tick: Callable[[float], None],
        beat_s: float = BEAT_S,
    ) -> None:
        self.heard = float("-inf")  # monotonic
        self.is_welcome = False  # the bus of this connection knows us
        self._hello = hello
        self._take = take
        self._tick = tick
        self._beat_s = beat_s
        self._wire = _Wire(path)
        self._said_hello = float("-inf")
        self._is_greeted = False  # a hello has left over the connection that is there
        self._beaten = float("-inf")
        self._timer: asyncio.TimerHandle | None = None
        self._is_reading_soon = False

    def open(self) -> None:
        """Start on the running loop."""
        loop = asyncio.get_running_loop()
        loop.add_reader(self._wire.fd, self._read)
        loop.add_reader(self._wire.monitor_fd, self._watch)
        self._watch()
        self._turn()

    def close(self) -> None:
        """Stop; what was sent last may still leave for half a second."""
        loop = asyncio.get_running_loop()
        if self._timer is not None:
            self._timer.cancel()
        loop.remove_reader(self._wire.fd)
        loop.remove_reader(self._wire.monitor_fd)
        self.is_welcome = False
        self._wire.close()

    def send(self, message: FromClient, bodies: Sequence[bytes] = ()) -> bool:
        """Send one message; False when the bus is away."""
        return self.send_frames((messages.encode(message), *bodies))

    def send_frames(self, frames: Sequence[bytes]) -> bool:
        """Send what is encoded already."""
        is_sent = send(self._wire.socket, frames)
        if not self._is_reading_soon:
            self._is_reading_soon = True
            asyncio.get_running_loop().call_soon(self._read)
        return is_sent

    def _read(self) -> None:
        """Take all that has arrived."""
        self._is_reading_soon = False
        for _ in range(READ_AT_ONCE):
            if self._wire.socket.closed:
                return
            frames = receive(self._wire.socket)
            if frames is None:
                return
            self.heard = time.monotonic()
            try:
                message = messages.decode_from_bus(frames[0])
            except (msgspec.MsgspecError, UnicodeDecodeError) as error:
                structlog.get_logger().warning("bus.problem", code="undecodable", text=str(error))
                continue
            self._route(message, frames[1:])
        self._is_reading_soon = True
        asyncio.get_running_loop().call_soon(self._read)

    def _route(self, message: FromBus, bodies: Sequence[bytes]) -> None:
        if isinstance(message, Problem):
            if message.code == "hello":
                self._say_hello()
            else:
                structlog.get_logger().warning("bus.problem", code=message.code, text=message.text)
            return
        if isinstance(message, Welcome):
            self.is_welcome = True
        self._take(message, bodies)

    def _watch(self) -> None:
        """Say hello as soon as there is a connection; whoever is at the other end may never have heard of us."""
        for event in self._wire.events():
            if event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
                if not self._is_greeted:  # a send may be quicker than the news that it will succeed
                    self._say_hello()
            elif event == zmq.EVENT_DISCONNECTED:
                self.is_welcome = self._is_greeted = False

    def _say_hello(self) -> None:
        self.is_welcome = False
        self._said_hello = time.monotonic()
        self._is_greeted = self.send(self._hello())
        if not self._is_greeted:
            self._said_hello = float("-inf")  # not there yet: with the next tick

    def _turn(self) -> None:
        now = time.monotonic()
        if not self.is_welcome and now - self._said_hello >= HELLO_AGAIN_S:
            self._say_hello()
        if now - self._beaten >= self._beat_s:
            self._beaten = now
            self.send(Beat())
        self._tick(now)
        self._timer = asyncio.get_running_loop().call_later(TICK_S, self._turn)


class _Wire:
    """The sockets: data, and what ZeroMQ tells of its connections."""

    def __init__(self, path: Path) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.socket = connect(self._context, path)
        self._monitor = self.socket.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED)
        self.fd = int(self.socket.getsockopt(zmq.FD))
        self.monitor_fd = int(self._monitor.getsockopt(zmq.FD))

    def events(self) -> list[int]:
        """Return what has happened to the connection since the last call."""
        found = []
        while int(self._monitor.getsockopt(zmq.EVENTS)) & zmq.POLLIN:
            found.append(int(zmq.utils.monitor.recv_monitor_message(self._monitor, zmq.NOBLOCK)["event"]))
        return found

    def close(self) -> None:
        """Let go; waits at most LINGER_MS."""
        self.socket.disable_monitor()
        self._monitor.close(linger=0)
        self.socket.close(linger=LINGER_MS)
        self._context.term()
