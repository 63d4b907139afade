"""An LMTP client on a raw socket: it says exactly the octets that a test gives it, and reads whole replies or what there is.

    with Wire.connect(address) as wire:
        assert wire.codes("MAIL FROM:<a@b>", "RCPT TO:<ant@example.org>", "DATA") == ["250 2.1.0", "250 2.1.5", "354"]

`address` is (host, port), or the path of a unix socket.
"""

import contextlib
import socket
import ssl
import time
from pathlib import Path
from types import TracebackType
from typing import Self

Address = tuple[str, int] | Path
TIMEOUT_S = 15.0


class Wire:
    """One connection; every read ends within TIMEOUT_S."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._buffer = b""

    @classmethod
    def connect(cls, address: Address, *, lhlo: bool = True) -> Self:
        """Connect, read the greeting, and with `lhlo` say LHLO and read its answer."""
        if isinstance(address, Path):
            sock = socket.socket(socket.AF_UNIX)
            sock.settimeout(TIMEOUT_S)
            sock.connect(str(address))
        else:
            sock = socket.create_connection(address, TIMEOUT_S)
        wire = cls(sock)
        if lhlo:
            assert wire.reply().startswith("220 ")
            wire.send("LHLO client.example.net")
            assert wire.reply().startswith("250-")
        return wire

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.sock.close()

    def start_tls(self, context: ssl.SSLContext, *, lhlo: bool = True) -> Self:
        """Say STARTTLS, shake hands, and with `lhlo` say LHLO anew. Raises ssl.SSLError."""
        assert self.codes("STARTTLS") == ["220 2.0.0"]
        return self.shake_hands(context, lhlo=lhlo)

    def shake_hands(self, context: ssl.SSLContext, *, lhlo: bool = True) -> Self:
        """Go on in TLS; the 220 has been read."""
        assert not self._buffer
        self.sock = context.wrap_socket(self.sock, server_hostname="lists.example.org")
        if lhlo:
            self.send("LHLO client.example.net")
            assert self.reply().startswith("250-")
        return self

    def send(self, *lines: str) -> None:
        """Send lines in one segment."""
        self.send_raw("".join(f"{line}\r\n" for line in lines).encode())

    def send_raw(self, octets: bytes) -> None:
        """Send octets as they are."""
        self.sock.sendall(octets)

    def reply(self) -> str:
        """Read one reply, its lines joined by LF; "" when the connection has ended."""
        lines: list[str] = []
        while True:
            while b"\r\n" not in self._buffer:
                try:
                    data = self.sock.recv(65536)
                except ConnectionResetError:
                    data = b""
                if not data:
                    assert not lines, f"ended within a reply: {lines} {self._buffer!r}"
                    return ""
                self._buffer += data
            line, _, self._buffer = self._buffer.partition(b"\r\n")
            assert len(line) <= 510, line  # RFC 5321 4.5.3.1.5
            lines.append(line.decode("ascii"))
            if line[3:4] != b"-":
                return "\n".join(lines)

    def replies(self, number: int) -> list[str]:
        """Read so many replies."""
        return [self.reply() for _ in range(number)]

    def codes(self, *lines: str) -> list[str]:
        """Send lines in one segment and read a reply for each: code and enhanced code."""
        self.send(*lines)
        return [code(self.reply()) for _ in lines]

    def mail(self, content: bytes, *recipients: str, sender: str = "anne@example.net") -> list[str]:
        """Hand in one message, pipelined up to DATA; return the final replies, one for each recipient (all must be taken)."""
        commands = [f"MAIL FROM:<{sender}>", *(f"RCPT TO:<{one}>" for one in recipients), "DATA"]
        answers = self.codes(*commands)
        assert answers == ["250 2.1.0", *["250 2.1.5"] * len(recipients), "354"], answers
        self.send_raw(stuff(content))
        return self.replies(len(recipients))

    def ends(self) -> bool:
        """Whether the server closes now, saying nothing more."""
        return self.reply() == ""

    def is_silent(self, seconds: float = 0.2) -> bool:
        """Whether nothing comes for that long."""
        self.sock.settimeout(seconds)
        try:
            with contextlib.suppress(TimeoutError):
                self._buffer += self.sock.recv(65536)
                return False
            return not self._buffer
        finally:
            self.sock.settimeout(TIMEOUT_S)


def code(reply: str) -> str:
    """Return a reply's code with its enhanced code, as in "250 2.1.0"; "354" has none."""
    words = reply.split(" ")
    return f"{words[0]} {words[1]}" if len(words) > 1 and words[1][:2] in ("2.", "4.", "5.") else reply[:3]


def stuff(content: bytes) -> bytes:
    """Write a message as it goes over the wire, with the final dot. `content` is empty or ends with CR LF."""
    stuffed = content.replace(b"\r\n.", b"\r\n..")
    return (b"." if stuffed.startswith(b".") else b"") + stuffed + b".\r\n"


def make_mail(number: int = 0, body: bytes = b"hello\r\n", sender: str = "anne@example.net") -> bytes:
    """Make a message with a Message-ID of its own."""
    stamp = time.monotonic_ns()
    head = f"From: {sender}\r\nTo: ant@example.org\r\nSubject: test {number}\r\nMessage-ID: <{number}.{stamp}@test.example>\r\n"
    return head.encode() + b"\r\n" + body
