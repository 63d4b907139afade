"""A client that hands mail in by LMTP for as long as it is told, as an MTA does, and writes down what it was answered.

A mail that was not answered 250 (4xx, connection lost, reply lost) is sent again, octet for octet the same, until it is, as an MTA would; its history has
every try. So at the end of a run each mail was answered 250 at least once, or is among `unanswered`. A 5xx is a fault: nothing here deserves one.
Each sender is a thread with one connection; it speaks in lockstep and trusts no reply.
"""

import itertools
import socket
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

REPLY_S = 45.0  # the front-end answers within 30 s whatever happens to the bus
AGAIN_S = 0.2  # before the next try
SENDER = "anne@example.net"
TAKEN, REFUSED, UNKNOWN = "taken", "refused", "unknown"


class Attempt(Struct, frozen=True):
    """One try to hand in one mail: when, and what came of it. UNKNOWN: the final dot was sent and no reply came."""

    message_id: str
    recipient: str  # the list
    outcome: str  # TAKEN, REFUSED, UNKNOWN
    reply: str
    began_s: float  # monotonic
    ended_s: float


class History:
    """Every try of every sender, in order of their ends."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._attempts: list[Attempt] = []

    def add(self, attempt: Attempt) -> None:
        """Write one down; any thread."""
        with self._lock:
            self._attempts.append(attempt)

    def attempts(self) -> list[Attempt]:
        """Return what is written down so far."""
        with self._lock:
            return list(self._attempts)

    def taken(self) -> dict[str, str]:
        """Return Message-ID and list of each mail that got its 250."""
        return {one.message_id: one.recipient for one in self.attempts() if one.outcome == TAKEN}

    def unanswered(self) -> dict[str, str]:
        """Return Message-ID and list of each mail that was tried and never got a 250: it may have arrived or not."""
        taken = self.taken()
        return {one.message_id: one.recipient for one in self.attempts() if one.message_id not in taken}

    def save(self, path: Path) -> None:
        """Write the history as JSON lines, for whoever looks at a failed test."""
        path.write_bytes(b"\n".join(map(msgspec.json.encode, self.attempts())) + b"\n")


class Connection:
    """One LMTP session over TCP or a unix socket."""

    def __init__(self, address: str) -> None:
        """Connect to "host:port" or "unix:PATH" and say LHLO. Raises OSError, Unexpected."""
        if address.startswith("unix:"):
            self._socket = socket.socket(socket.AF_UNIX)
            self._socket.settimeout(REPLY_S)
            self._socket.connect(address.removeprefix("unix:"))
        else:
            host, _, port = address.rpartition(":")
            self._socket = socket.create_connection((host, int(port)), REPLY_S)
        self._file = self._socket.makefile("rb")
        try:
            self.expect("220")
            self.command("LHLO client.example.net", "250")
        except BaseException:
            self.close()
            raise

    def command(self, line: str, code: str) -> str:
        """Send a command and return its reply. Raises OSError, Unexpected when its code is another one."""
        self._socket.sendall(line.encode() + b"\r\n")
        return self.expect(code)

    def send_message(self, message: bytes) -> str:
        """Send a message and the final dot, return the reply of the one recipient. Raises OSError."""
        self._socket.sendall(message + b".\r\n")
        return self._read()

    def expect(self, code: str) -> str:
        """Read a reply and return it."""
        reply = self._read()
        if not reply.startswith(code):
            raise Unexpected(reply)
        return reply

    def close(self) -> None:
        """Close without a word, as a client does that is ended."""
        self._file.close()
        self._socket.close()

    def _read(self) -> str:
        lines = []
        while True:
            line = self._file.readline()
            if not line.endswith(b"\n"):
                raise ConnectionResetError("the server closed the connection")
            lines.append(line.decode().rstrip("\r\n"))
            if line[3:4] != b"-":
                return "\n".join(lines)


class Unexpected(Exception):
    """Another reply than the one that a command deserves."""

    @property
    def reply(self) -> str:
        """Return it."""
        return str(self.args[0])


class Senders:
    """Some threads that send to lists in turn; leaving the context ends them, once each mail in hand is answered or `finish_s` is over."""

    def __init__(
        self,
        address: str,
        lists: Sequence[str],
        *,
        name: str = "load",
        threads: int = 4,
        pause_s: float = 0.02,
        finish_s: float = 60.0,
    ) -> None:
        self.history = History()
        self._finish_s = finish_s
        self._stopping = threading.Event()
        self._give_up_at = float("inf")
        self._threads = [
            threading.Thread(
                target=self._run, args=(address, f"{name}.{number}", lists, pause_s), name=f"{name}.{number}"
            )
            for number in range(threads)
        ]

    def __enter__(self) -> "Senders":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._give_up_at = time.monotonic() + self._finish_s
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def _run(self, address: str, name: str, lists: Sequence[str], pause_s: float) -> None:
        client = _Client(address)
        for count, recipient in enumerate(itertools.cycle(lists)):
            if self._stopping.wait(pause_s):
                break
            message_id = f"<{name}.{count}@client.example.net>"
            message = make_message(message_id, recipient)
            while not is_final(attempt := client.attempt(message_id, recipient, message)):
                self.history.add(attempt)
                if time.monotonic() > self._give_up_at:
                    break
                time.sleep(AGAIN_S)  # an MTA waits, too
            else:
                self.history.add(attempt)
        client.close()


class _Client:
    """What one thread has: a connection that is made anew after a failure."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._connection: Connection | None = None

    def attempt(self, message_id: str, recipient: str, message: bytes) -> Attempt:
        """Try once to hand in one mail; never raises for what a server does."""
        began, sent = time.monotonic(), False
        try:
            if self._connection is None:
                self._connection = Connection(self._address)
            connection = self._connection
            connection.command(f"MAIL FROM:<{SENDER}>", "250")
            connection.command(f"RCPT TO:<{recipient}>", "250")
            connection.command("DATA", "354")
            sent = True
            reply = connection.send_message(message)
            outcome = TAKEN if reply.startswith("250") else REFUSED
        except Unexpected as error:
            reply, outcome = error.reply, REFUSED
        except OSError as error:
            reply, outcome = str(error), UNKNOWN if sent else REFUSED
        if outcome != TAKEN:
            self.close()  # also after a reply out of order; a new connection knows nothing of it
        return Attempt(message_id, recipient, outcome, reply, began, time.monotonic())

    def close(self) -> None:
        """Let go of the connection; the next attempt makes another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def is_final(attempt: Attempt) -> bool:
    """Say whether an MTA would not try again."""
    return attempt.outcome == TAKEN or attempt.reply.startswith("5")


def make_message(message_id: str, recipient: str, size: int = 1000) -> bytes:
    """Make a small message, ready for DATA but for the final dot."""
    head = f"From: Anne <{SENDER}>\r\nTo: {recipient}\r\nSubject: {message_id}\r\nMessage-ID: {message_id}\r\n\r\n"
    line = "What people write to each other, seventy octets at a time or about so.\r\n"
    return (head + line * max(1, (size - len(head)) // len(line))).encode()
