"""What an MTA hands over by LMTP when an SMTP client sends it bare CR, bare LF, odd ends of data and NUL.

Each case is one session with the MTA, on a raw socket; what comes out is written down by a recording LMTP server. `table` makes the table of
docs/mta-newlines.md, which test_newlines.py compares with a fresh run: `python -m tests.mta.newlines` prints it (as root).
"""

import contextlib
import re
import socket
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import BinaryIO, Final

from msgspec import Struct

from tests.support.lmtp_recorder import LmtpRecorder
from tests.support.mail import MTAS
from tests.support.mta import Mta, Route
from tests.support.sink import Sink
from tests.support.site import free_port
from tests.support.waiting import wait_until

CRLF: Final = b"\r\n"
SESSION_S: Final = 20.0
ARRIVE_S: Final = 60.0

# How each MTA is asked to deliver: name of the column -> (MTA, domain of the list).
WAYS: Final = {
    "Postfix": ("postfix", "example.org"),
    "Exim smtp": ("exim", "example.org"),
    "Exim lmtp": ("exim", "unix.example.org"),
    "Sendmail": ("sendmail", "example.org"),
    "OpenSMTPD relay": ("opensmtpd", "example.org"),
    "OpenSMTPD mail.lmtp": ("opensmtpd", "unix.example.org"),
}

# What each line of the message ends with, header and body, but the last.
WHOLE: Final = (b"\n", b"\r\r\n")
# What stands between "left" and "right". With a dot in it, a whole second transaction stands before "right".
IN_BODY: Final = (
    b"\r\n", b"\n", b"\r", b"\n\n", b"\r\r", b"\n\r", b"\r\r\n", b"\r\n\n", b"\n\r\n", b"\x00", b"\r\x00\n",
)  # fmt: skip
ENDS: Final = (
    b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r.\r", b"\r.\r\n", b"\r\n.\r", b"\n.\r", b"\r.\n", b"\r\n.\r\r\n", b"\r\n\x00.\r\n", b"\r\n.\x00\r\n",
)  # fmt: skip
IN_HEADER: Final = (b"\n", b"\r", b"\n ", b"\r ", b"\x00")


class Case(Struct, frozen=True):
    """One message; `where` is whole, body, end or header."""

    where: str
    octets: bytes

    @property
    def name(self) -> str:
        """Its name, in the table and in the message's Subject."""
        return f"{self.where} {show(self.octets)}"

    def wire(self, domain: str) -> bytes:
        """Return what follows the 354, with the final dot."""
        head = b"From: guest@example.com\r\nSubject: %b\r\n" % self.name.encode()
        between = b"left" + self.octets
        match self.where:
            case "whole":
                whole = head + b"\r\nleft\r\nright"
                return whole.replace(CRLF, self.octets) + b"\r\n.\r\n"
            case "header":
                return head + b"X-Case: " + between + b"X-Injected: right\r\n\r\nbody\r\n.\r\n"
            case "end":
                second = f"MAIL FROM:<smuggler@example.com>\r\nRCPT TO:<ant@{domain}>\r\nDATA\r\nSubject: {self.name}\r\n\r\n"
                return head + CRLF + between + second.encode() + b"right\r\n.\r\n"
            case _:
                return head + CRLF + between + b"right\r\n.\r\n"


CASES: Final = (
    *(Case("whole", octets) for octets in WHOLE),
    *(Case("body", octets) for octets in IN_BODY),
    *(Case("end", octets) for octets in ENDS),
    *(Case("header", octets) for octets in IN_HEADER),
)


class Seen(Struct, frozen=True):
    """What became of one case."""

    reply: str  # to the final dot; "" when the connection was closed without one
    messages: tuple[bytes, ...]  # what the LMTP server got

    @property
    def is_split(self) -> bool:
        """Whether the MTA took the octets for the end, and what stood behind for commands."""
        return len(self.messages) > 1


def show(octets: bytes) -> str:
    """Write octets for people: CR, LF and NUL by name."""
    names = {0: "NUL", 9: "TAB", 10: "LF", 13: "CR"}
    words = [names.get(octet, chr(octet)) for octet in octets.replace(b"\r\n", b"\x01")]
    return " ".join("CRLF" if word == "\x01" else "space" if word == " " else word for word in words)


def observe(name: str, ways: Mapping[str, str], folder: Path) -> dict[str, dict[str, Seen]]:
    """Run one MTA through all cases; `ways`: column -> domain. Returns column -> case -> what was seen."""
    with (
        tempfile.TemporaryDirectory(prefix="pr-", dir="/tmp") as short,
        Sink() as sink,
        LmtpRecorder(Path(short)) as recorder,
    ):
        Path(short).chmod(0o755)
        routes: dict[str, Route] = {"example.org": recorder.port, "unix.example.org": recorder.unix}
        with MTAS[name](folder, routes, sink.address, free_port()) as mta:
            return {way: _observe_way(mta, recorder, domain) for way, domain in ways.items()}


def _observe_way(mta: Mta, recorder: LmtpRecorder, domain: str) -> dict[str, Seen]:
    recorder.messages.clear()
    replies = {case.name: hand_over(mta.port, domain, case) for case in CASES}
    wait_until(lambda: not mta.queued(), ARRIVE_S, what="the MTA has delivered everything")
    messages: dict[str, list[bytes]] = {}
    for message in recorder.messages:
        subject = re.search(rb"(?m)^Subject: ([^\r\n]*)\r*$", message)
        assert subject, message
        messages.setdefault(subject[1].decode(), []).append(message)
    return {name: Seen(reply, tuple(messages.get(name, ()))) for name, reply in replies.items()}


def hand_over(port: int, domain: str, case: Case) -> str:
    """Send one case by SMTP and return the reply to its final dot, "" when there was none."""
    with socket.create_connection(("127.0.0.1", port), SESSION_S) as connection:
        reader = connection.makefile("rb")
        _reply(reader)
        for command in (
            "EHLO client.example.com",
            "MAIL FROM:<guest@example.com>",
            f"RCPT TO:<ant@{domain}>",
            "DATA",
        ):
            connection.sendall(f"{command}\r\n".encode())
            answer = _reply(reader)
            assert answer[:1] in ("2", "3"), answer
        connection.sendall(case.wire(domain))
        reply = _reply(reader)
        with contextlib.suppress(ConnectionError):  # it has closed because of what it read
            connection.sendall(b"QUIT\r\n")
            while _reply(reader):
                pass
        return reply


def _reply(reader: BinaryIO) -> str:
    """Read one reply and return its last line, "" at the end of the connection."""
    while line := reader.readline():
        if line[3:4] != b"-":
            return line.decode().rstrip()
    return ""


def observe_all(folder: Path) -> dict[str, dict[str, Seen]]:
    """Run every MTA through all cases."""
    seen: dict[str, dict[str, Seen]] = {}
    with ThreadPoolExecutor(len(MTAS)) as threads:
        for one in threads.map(partial(_observe_one, folder), MTAS):
            seen |= one
    return seen


def _observe_one(folder: Path, name: str) -> dict[str, dict[str, Seen]]:
    return observe(name, {way: domain for way, (mta, domain) in WAYS.items() if mta == name}, folder / name)


def table(seen: Mapping[str, Mapping[str, Seen]]) -> str:
    """Write the table; ways that never differ share a column."""
    columns: dict[tuple[str, ...], list[str]] = {}
    for way, cases in seen.items():
        columns.setdefault(tuple(cell(case, cases[case.name]) for case in CASES), []).append(way)
    heads = ["client sends", *(", ".join(ways) for ways in columns.values())]
    rows = [[case.name, *cells] for case, *cells in zip(CASES, *columns, strict=True)]
    return "\n".join(f"| {' | '.join(row)} |" for row in (heads, ["---"] * len(heads), *rows)) + "\n"


def cell(case: Case, seen: Seen) -> str:
    """Say what the LMTP server got in place of a case's octets, or that the client was refused."""
    if not seen.messages:
        return " ".join(seen.reply.split()[:2])
    if seen.is_split:
        return "its end"
    (message,) = seen.messages
    found = re.search(rb"left(.*?)(MAIL FROM|X-Injected|right)", message, re.DOTALL)
    if found:
        return show(found[1]) or "nothing"
    return f"{show(message[message.index(b'left') + 4 :].partition(CRLF)[0])} line cut".strip()


def main() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as folder:
        print(table(observe_all(Path(folder))), end="")


if __name__ == "__main__":
    main()
