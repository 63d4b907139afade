"""The load generator: LMTP sessions in one process, in lockstep, each reply checked.

Plain epoll and sockets, because it shares the cores with what it measures, and the same for every target. It trusts no
reply: any other code than the one that its script expects ends the run. It says one command at a time, as Postfix's smtp-source does, so that a
target without PIPELINING is not put at a disadvantage; or, where a row says so, it does as an MTA does, and pipelines where that is offered (RFC 2920).
Time is taken from the last octet of a message to its reply.
CPU and memory belong to measure.py.
"""

import select
import socket
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from itertools import cycle

from msgspec import Struct

SILENCE_S = 60.0  # no target is that slow; a session that waits longer is a bug
FINISH_S = 60.0  # for what is in hand when a window has closed
RECEIVE = 65536  # octets of one read; a reply has some tens
LHLO = b"LHLO bench.example.net\r\n"
RSET = b"RSET\r\n"
DATA = b"DATA\r\n"
QUIT = b"QUIT\r\n"

Address = tuple[str, int]
# What a session says next, and the codes of the replies that must follow, one a command; b"" waits for the greeting. It is sent these replies.
Script = Generator[tuple[bytes, Sequence[bytes]], bytes, None]
OK, GREETED, GO_ON, BYE = (b"250",), (b"220",), (b"354",), (b"221",)


class LoadFailed(Exception):
    """A target gave another reply than the expected one, or none."""


class Tally:
    """What the sessions of one load have done so far."""

    def __init__(self) -> None:
        self.latencies: list[float] = []  # seconds, in order of completion
        self.begun = 0.0  # when the last of them was begun, monotonic seconds
        self.closing = False  # sessions end after the message in hand

    def done(self, since: float) -> None:
        """Count one message or callout that was begun at `since`, monotonic seconds."""
        self.latencies.append(time.monotonic() - since)
        self.begun = since


class Letter(Struct, frozen=True):
    """One message with its envelope."""

    sender: str  # "" is the null reverse-path
    recipient: str
    content: bytes  # as on the wire, the final dot included


class Mail(Struct, frozen=True):
    """One kind of load: who writes to whom, and messages of what size."""

    size: int  # octets of a message, header and body
    recipients: Sequence[str]  # addresses in turn, one a transaction
    sender: str = "anne@example.net"
    run: str = ""  # part of every Message-ID: no two runs have a message in common


def make_messages(mail: Mail, count: int | None = None) -> Iterator[bytes]:
    """Make `count` messages (None: without end), each with a Message-ID and a body of its own, ready for the wire.

    Lines have 72 octets, none begins with a dot; the final dot is there.
    """
    head = (
        f"From: Anne <{mail.sender}>\r\nTo: {mail.recipients[0]}\r\nSubject: measured\r\n"
        f"Date: Mon, 23 Nov 2026 10:00:00 +0000\r\nMessage-ID: <%d.{mail.run}@bench.example.net>\r\n\r\nNumber %d.{mail.run}\r\n"
    )
    line = b"A line as people write them, of a length that does not hurt anybody.\r\n"
    filler = line * (max(0, mail.size - len(head) - 10) // len(line)) + b".\r\n"
    number = 0
    while count is None or number < count:
        number += 1
        yield (head % (number, number)).encode() + filler


def deliver(
    mail: Mail,
    messages: Iterator[bytes],
    tally: Tally,
    *,
    per_connection: int | None = None,
    pipelines: bool = False,
) -> Script:
    """Say what a session says that hands in `messages`, `per_connection` of them (None: until the load closes).

    `pipelines`: MAIL, RCPT and DATA in one write to whom offers that.
    """
    sender = f"MAIL FROM:<{mail.sender}>\r\n".encode()
    recipients = cycle([f"RCPT TO:<{address}>\r\n".encode() for address in mail.recipients])
    left = per_connection
    yield b"", GREETED
    offers = yield LHLO, OK
    pipelines &= b"PIPELINING\r\n" in offers
    while left != 0 and not tally.closing:
        message = next(messages, None)
        if message is None:
            break
        yield from _transaction(sender, next(recipients), message, tally, pipelines=pipelines)
        left = None if left is None else left - 1
    yield QUIT, BYE


def hand_in(letters: Iterator[Letter], tally: Tally) -> Script:
    """Say what a session says that hands in letters, each with an envelope of its own."""
    yield b"", GREETED
    yield LHLO, OK
    for letter in letters:
        sender = f"MAIL FROM:<{letter.sender}>\r\n".encode()
        yield from _transaction(sender, f"RCPT TO:<{letter.recipient}>\r\n".encode(), letter.content, tally)
    yield QUIT, BYE


def _transaction(
    sender: bytes, recipient: bytes, message: bytes, tally: Tally, *, pipelines: bool = False
) -> Script:
    if pipelines:
        yield sender + recipient + DATA, (b"250", b"250", b"354")
    else:
        yield sender, OK
        yield recipient, OK
        yield DATA, GO_ON
    since = time.monotonic()
    yield message, OK
    tally.done(since)


def call_out(mail: Mail, tally: Tally) -> Script:
    """Say what an MTA says that asks whether recipients exist: MAIL, RCPT, RSET, over and over."""
    sender = f"MAIL FROM:<{mail.sender}>\r\n".encode()
    recipients = cycle([f"RCPT TO:<{address}>\r\n".encode() for address in mail.recipients])
    yield b"", GREETED
    yield LHLO, OK
    while not tally.closing:
        since = time.monotonic()
        yield sender, OK
        yield next(recipients), OK
        yield RSET, OK
        tally.done(since)
    yield QUIT, BYE


class Session:
    """One connection and where it is in its script."""

    __slots__ = ("expected", "script", "socket", "unread", "unsent")

    def __init__(self, connection: socket.socket, script: Script) -> None:
        self.socket = connection
        self.script = script
        self.expected: Sequence[bytes] = ()
        self.unread = b""  # the beginning of a reply
        self.unsent = memoryview(b"")  # the rest of a message that the socket did not take at once


class Load:
    """Some sessions against one address, all of them kept busy; a session that ended is followed by the next.

    `make_script` gives the next connection's script, None when there is nothing more to do. Use as a context; call `turn` for each window.
    """

    def __init__(
        self, address: Address, sessions: int, tally: Tally, make_script: Callable[[], Script | None]
    ) -> None:
        self.address = address
        self.sessions = sessions
        self.tally = tally
        self.make_script = make_script
        self._epoll = select.epoll()
        self._open: dict[int, Session] = {}

    def __enter__(self) -> "Load":
        for _ in range(self.sessions):
            self._begin()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self.finish()
        finally:
            for session in self._open.values():
                session.socket.close()
            self._epoll.close()

    def turn(self, length_s: float) -> None:
        """Keep the sessions going for so long, or until none is left. Raises LoadFailed."""
        now = time.monotonic()
        end, heard = now + length_s, now
        while self._open and now < end:
            events = self._epoll.poll(min(1.0, end - now))
            for fd, event in events:
                self._on_event(self._open[fd], event)
            now = time.monotonic()
            if events:
                heard = now
            elif now - heard > SILENCE_S:
                raise LoadFailed(f"no reply for {SILENCE_S:g} s")

    def finish(self) -> None:
        """Let each session end after the message in hand. Raises LoadFailed."""
        self.tally.closing = True
        self.turn(FINISH_S)
        if self._open:
            raise LoadFailed(f"{len(self._open)} sessions did not end within {FINISH_S:g} s")

    def _begin(self) -> None:
        script = None if self.tally.closing else self.make_script()
        if script is None:
            return
        connection = socket.create_connection(self.address, timeout=10)
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        session = Session(connection, script)
        self._open[connection.fileno()] = session
        self._epoll.register(connection.fileno(), select.EPOLLIN)
        self._go(session, None)

    def _go(self, session: Session, reply: bytes | None) -> None:
        """Say what comes next; `reply` is None at the beginning."""
        try:
            octets, session.expected = next(session.script) if reply is None else session.script.send(reply)
        except StopIteration:
            self._end(session)
            self._begin()
            return
        if octets:
            self._send(session, memoryview(octets))

    def _end(self, session: Session) -> None:
        self._epoll.unregister(session.socket.fileno())
        del self._open[session.socket.fileno()]
        session.socket.close()

    def _send(self, session: Session, octets: memoryview) -> None:
        """Send what the socket takes; while something is left, the session waits for room instead of a reply."""
        waited = bool(session.unsent)
        try:
            sent = session.socket.send(octets)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            raise LoadFailed(f"connection lost: {error}") from error
        session.unsent = octets[sent:]
        if waited != bool(session.unsent):
            events = select.EPOLLIN | select.EPOLLOUT if session.unsent else select.EPOLLIN
            self._epoll.modify(session.socket.fileno(), events)

    def _on_event(self, session: Session, event: int) -> None:
        if event & select.EPOLLOUT and session.unsent:
            self._send(session, session.unsent)
        if not event & ~select.EPOLLOUT:
            return
        try:
            octets = session.socket.recv(RECEIVE)
        except OSError as error:
            raise LoadFailed(f"connection lost: {error}") from error
        if not octets:
            raise LoadFailed("the target closed a connection")
        reply = session.unread + octets if session.unread else octets
        if not is_whole(reply):
            session.unread = reply
            return
        codes = (reply[:3],) if len(session.expected) == 1 else last_codes(reply)
        session.unread = reply if len(codes) < len(session.expected) else b""
        if codes != session.expected[: len(codes)]:
            expected = b", ".join(session.expected).decode()
            raise LoadFailed(f"expected {expected}, got {reply[:200]!r}")
        if not session.unread:
            self._go(session, reply)


def hand_in_all(address: Address, letters: Sequence[Letter], sessions: int, limit_s: float) -> Tally:
    """Hand in letters over some sessions; returns when the last was answered. Raises LoadFailed, also when that takes too long."""
    tally, left = Tally(), iter(letters)
    scripts = iter([hand_in(left, tally) for _ in range(min(sessions, len(letters)))])
    with Load(address, sessions, tally, lambda: next(scripts, None)) as load:
        load.turn(limit_s)  # ends with the last session
        if len(tally.latencies) < len(letters):
            raise LoadFailed(f"{len(tally.latencies)} of {len(letters)} letters were taken in {limit_s:g} s")
    return tally


def is_whole(reply: bytes) -> bool:
    """Say whether the last line of a reply has come: a space behind its code (RFC 5321 4.2)."""
    if reply[-1:] != b"\n":
        return False
    start = reply.rfind(b"\n", 0, -1) + 1
    return reply[start + 3 : start + 4] != b"-"


def last_codes(replies: bytes) -> tuple[bytes, ...]:
    """Return the code of each whole reply."""
    return tuple(line[:3] for line in replies.split(b"\r\n") if line[3:4] == b" ")
