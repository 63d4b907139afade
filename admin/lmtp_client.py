"""A small LMTP client (RFC 2033): one connection, one transaction, every reply kept.

It is honest in that it sends what it is given (line ends and dots aside, RFC 5321 2.3.8 and 4.5.2), asks for no extension that the
server did not offer, and never makes a reply up: what a server did not answer is an LmtpFailure. Trusts its caller for nothing but
the message; addresses with control characters or angle brackets are refused before anything is sent.
"""

import re
import socket
from collections.abc import Callable, Sequence
from types import TracebackType

from msgspec import Struct

CONNECT_S = 10.0
REPLY_S = 60.0  # per reply; the front-end itself gives up on the bus after 30 s
QUIT_S = 2.0
MAX_REPLY = 64 * 1024  # octets of one reply; RFC 5321 4.5.3.1.5 knows lines of 512

_REPLY = re.compile(rb"(?P<code>[2-5][0-9]{2})(?P<more>[ -]|$)(?P<text>.*)")
_ENHANCED = re.compile(r"(?P<status>[245]\.[0-9]{1,3}\.[0-9]{1,3}) (?P<text>.*)", re.DOTALL)
_BARE_LF = re.compile(rb"(?<!\r)\n")
_DOT = re.compile(rb"^\.", re.MULTILINE)
_UNSAFE = re.compile(r"[\x00-\x1f\x7f<>\ud800-\udfff]")


class LmtpFailure(Exception):
    """The dialogue ended before every reply was read; the text names the place."""


class UnsafeAddress(ValueError):
    """An address that would be another command, or none."""


class Reply(Struct, frozen=True):
    """One reply of the server, its lines joined."""

    code: int
    enhanced: str  # RFC 3463; "" when the server gave none
    text: str

    @property
    def is_positive(self) -> bool:
        """Tell whether it is 2xx."""
        return 200 <= self.code < 300

    def __str__(self) -> str:
        return " ".join(part for part in (str(self.code), self.enhanced, self.text) if part)


class Result(Struct, frozen=True):
    """What became of one recipient: the reply that decided it, and to which command."""

    recipient: str
    stage: str  # MAIL, RCPT or DATA
    reply: Reply


class Target(Struct, frozen=True):
    """Where a server listens: a unix socket's path, or host and port."""

    host: str = ""
    port: int = 0
    path: str = ""

    def __str__(self) -> str:
        if self.path:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def read_target(text: str) -> Target:
    """Read "unix:path", "host:port" or "[v6]:port" as `[lmtp] listen` has it; an address for all interfaces becomes the local one."""
    if text.startswith("unix:"):
        return Target(path=text[5:])
    host, _, port = text.rpartition(":")
    host = host.strip("[]")
    if not host or not port.isdigit() or int(port) > 65535:
        raise ValueError(f"{text!r} is neither host:port nor unix:path")
    return Target(host={"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host), port=int(port))


def with_crlf(message: bytes) -> bytes:
    """Return a message with CRLF after each line, the last included (RFC 5321 2.3.8).

    A CR on its own is left as it is: it is for the server to refuse.
    """
    lines = _BARE_LF.sub(b"\r\n", message)
    return lines if lines.endswith(b"\r\n") else lines + b"\r\n"


def with_dots(lines: bytes) -> bytes:
    """Return lines as they follow DATA: dots doubled, and the final dot (RFC 5321 4.5.2)."""
    return _DOT.sub(b"..", lines) + b".\r\n"


def send(
    target: Target,
    reverse_path: str,
    recipients: Sequence[str],
    message: bytes,
    *,
    helo: str = "localhost",
    on_line: Callable[[str], None] = lambda line: None,
) -> list[Result]:
    """Hand one message over and return one result per recipient, in order.

    `on_line` gets every line of the dialogue, "C: " or "S: " before it, the message itself as one line. Raises LmtpFailure, OSError
    (nobody listens there), UnsafeAddress.
    """
    for address in (reverse_path, *recipients):
        if _UNSAFE.search(address):
            raise UnsafeAddress(f"{address!r} is no address")
    with Dialogue(target, on_line) as dialogue:
        return _converse(dialogue, reverse_path, recipients, with_crlf(message), helo)


def _converse(
    dialogue: "Dialogue", reverse_path: str, recipients: Sequence[str], lines: bytes, helo: str
) -> list[Result]:
    dialogue.expect("the greeting", dialogue.read("the greeting"))
    hello = dialogue.command(f"LHLO {helo}")
    dialogue.expect("LHLO", hello)
    offered = {line.split(" ")[0].upper() for line in hello.text.split("\n")[1:]}
    mail = dialogue.command(
        f"MAIL FROM:<{reverse_path}>" + _parameters(offered, (reverse_path, *recipients), lines)
    )
    if not mail.is_positive:
        dialogue.quit()
        return [Result(recipient, "MAIL", mail) for recipient in recipients]
    results = [Result(to, "RCPT", dialogue.command(f"RCPT TO:<{to}>")) for to in recipients]
    taken = [number for number, result in enumerate(results) if result.reply.is_positive]
    if taken:  # RFC 2033 4.2: with no recipient DATA would be 503, and every recipient has its answer already
        for number, reply in zip(taken, _send_data(dialogue, lines, len(taken)), strict=True):
            results[number] = Result(results[number].recipient, "DATA", reply)
    dialogue.quit()
    return results


def _parameters(offered: set[str], addresses: Sequence[str], lines: bytes) -> str:
    """Return the parameters of MAIL that this message needs and the server knows (RFC 1870, 6152, 6531)."""
    text = ""
    if "SIZE" in offered:
        text += f" SIZE={len(lines)}"
    if "8BITMIME" in offered and not lines.isascii():
        text += " BODY=8BITMIME"
    if "SMTPUTF8" in offered and not all(address.isascii() for address in addresses):
        text += " SMTPUTF8"
    return text


def _send_data(dialogue: "Dialogue", lines: bytes, recipients: int) -> list[Reply]:
    """Send the message; returns one reply per recipient that RCPT took (RFC 2033 4.2)."""
    go_on = dialogue.command("DATA")
    if go_on.code != 354:
        return [go_on] * recipients
    dialogue.write(with_dots(lines), f"({len(lines)} octets, and the final dot)")
    return [
        dialogue.read(f"the reply after the final dot for recipient {number} of {recipients}")
        for number in range(1, recipients + 1)
    ]


class Dialogue:
    """One connection: commands out, replies in, each with a deadline."""

    def __init__(self, target: Target, on_line: Callable[[str], None]) -> None:
        self._on_line = on_line
        if target.path:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self._socket.settimeout(CONNECT_S)
            try:
                self._socket.connect(target.path)
            except BaseException:
                self._socket.close()
                raise
        else:
            self._socket = socket.create_connection((target.host, target.port), timeout=CONNECT_S)
        self._socket.settimeout(REPLY_S)
        self._reader = self._socket.makefile("rb")

    def __enter__(self) -> "Dialogue":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._reader.close()
        self._socket.close()

    def command(self, line: str) -> Reply:
        """Send one command and return its reply."""
        self.write(line.encode() + b"\r\n", line)
        return self.read(line.split(" ")[0])

    def expect(self, place: str, reply: Reply) -> None:
        """Raise LmtpFailure unless the reply is positive: without it there is no session."""
        if not reply.is_positive:
            raise LmtpFailure(f"{place} was answered {reply}")

    def write(self, data: bytes, shown: str) -> None:
        """Send octets; `shown` stands for them in the dialogue."""
        self._on_line(f"C: {shown}")
        try:
            self._socket.sendall(data)
        except TimeoutError:
            raise LmtpFailure(f"the server read nothing for {REPLY_S:.0f} s") from None
        except OSError as error:
            raise LmtpFailure(f"the server ended the connection ({error.strerror})") from error

    def read(self, place: str) -> Reply:
        """Read one reply, of one or more lines (RFC 5321 4.2.1)."""
        code, size = 0, 0
        texts: list[str] = []
        while True:
            line = self._read_line(place)
            size += len(line)
            match = _REPLY.fullmatch(line)
            if not match or (texts and int(match["code"]) != code) or size > MAX_REPLY:
                raise LmtpFailure(f"{place} was answered with what is no reply: {line[:100]!r}")
            code = int(match["code"])
            texts.append(match["text"].decode("utf-8", "backslashreplace"))
            if match["more"] != b"-":
                return _make_reply(code, texts)

    def _read_line(self, place: str) -> bytes:
        try:
            line = self._reader.readline(MAX_REPLY)
        except TimeoutError:
            raise LmtpFailure(f"no answer within {self._socket.gettimeout():.0f} s: {place}") from None
        except OSError as error:
            raise LmtpFailure(f"the connection broke ({error.strerror}): {place}") from error
        if not line.endswith(b"\n"):
            raise LmtpFailure(f"the server closed the connection: {place}")
        line = line.rstrip(b"\r\n")
        self._on_line(f"S: {line.decode('utf-8', 'backslashreplace')}")
        return line

    def quit(self) -> None:
        """Say goodbye; what matters has been answered, so a server that is gone by now did nothing wrong."""
        self._socket.settimeout(QUIT_S)
        try:
            self.command("QUIT")
        except LmtpFailure:
            return


def _make_reply(code: int, texts: Sequence[str]) -> Reply:
    first = _ENHANCED.fullmatch(texts[0])
    if first is None:
        return Reply(code, "", "\n".join(texts))
    status = first["status"]
    return Reply(code, status, "\n".join(text.removeprefix(f"{status} ") for text in texts))
