"""The MTA that finished mail goes to: takes everything, counts, keeps nothing but what an answer needs. Must be far faster than what is measured.

Of mail to addresses at ANSWERING, From: and Subject: go to a file, a line each, so that whoever plays those people can answer. Counts go to a file that is mapped into memory, so that reading them costs the sink nothing. One process, epoll, pipelining.
"""

import argparse
import contextlib
import mmap
import select
import socket
import struct
import time
from collections.abc import Sequence
from email.parser import HeaderParser
from email.policy import compat32
from email.utils import parseaddr
from pathlib import Path

import msgspec
from msgspec import Struct

ANSWERING = "answers.example.net"  # mail to this domain is asked to be answered
_ANSWERING = f"@{ANSWERING}>".encode()
COUNTS = struct.Struct("<QQd")
GREETING = b"220 sink.example.net ESMTP\r\n"
EHLO = b"250-sink.example.net\r\n250-PIPELINING\r\n250-SIZE 0\r\n250-8BITMIME\r\n250-ENHANCEDSTATUSCODES\r\n250 SMTPUTF8\r\n"
REPLIES = {
    b"EHLO": EHLO,
    b"MAIL": b"250 2.1.0 Ok\r\n",
    b"RCPT": b"250 2.1.5 Ok\r\n",
    b"DATA": b"354 Go on\r\n",
    b"QUIT": b"221 2.0.0 Bye\r\n",
}
OTHER = b"250 2.0.0 Ok\r\n"


class Counts(Struct, frozen=True):
    """What the sink has taken since it was started."""

    messages: int
    recipients: int
    last: (
        float  # monotonic seconds of the last final dot; the clock is the same in all processes of a machine
    )


class Counter:
    """The mapped file; the sink writes it, anybody reads it."""

    def __init__(self, path: Path) -> None:
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), COUNTS.size)

    def read(self) -> Counts:
        """Return the newest counts."""
        return Counts(*COUNTS.unpack_from(self._map))

    def write(self, counts: Counts) -> None:
        """Publish new counts."""
        COUNTS.pack_into(self._map, 0, counts.messages, counts.recipients, counts.last)


def make_counter(path: Path) -> Counter:
    """Make the file, all zero."""
    path.write_bytes(bytes(COUNTS.size))
    return Counter(path)


class Question(Struct, frozen=True):
    """What somebody who answers must know of a mail."""

    to: str
    sender: str  # the address in From:
    subject: str


class Questions:
    """The file of questions; the sink adds, anybody reads."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read = 0

    def add(self, to: str, head: bytes) -> None:
        """Add a mail."""
        parsed = HeaderParser(policy=compat32).parsestr(head.decode("utf-8", "replace"))
        question = Question(to, parseaddr(parsed["from"])[1], " ".join(str(parsed["subject"]).split()))
        with self._path.open("ab") as file:
            file.write(msgspec.json.encode(question) + b"\n")

    def new(self) -> list[Question]:
        """Return what came since the last call."""
        with self._path.open("rb") as file:
            file.seek(self._read)
            whole = file.read().rpartition(b"\n")[0]
        self._read += len(whole) + 1 if whole else 0
        return [msgspec.json.decode(line, type=Question) for line in whole.splitlines()]


def make_questions(path: Path) -> Questions:
    """Make the file, empty."""
    path.write_bytes(b"")
    return Questions(path)


class Connection:
    """One SMTP session: what has come and not been understood yet, and how far the transaction is."""

    __slots__ = ("asked", "questions", "recipients", "socket", "taken", "unread")

    def __init__(self, accepted: socket.socket, questions: Questions | None = None) -> None:
        self.socket = accepted
        self.questions = questions
        self.asked: list[str] = []  # recipients who answer
        self.unread = b""
        self.recipients = 0
        self.taken: int | None = None  # octets of a message looked at; None outside DATA

    def answer(self, octets: bytes, counter: Counter) -> bytes:
        """Take octets, return all replies that they earn."""
        self.unread += octets
        replies = []
        while (reply := self._next_reply(counter)) is not None:
            replies.append(reply)
        return b"".join(replies)

    def _next_reply(self, counter: Counter) -> bytes | None:
        if self.taken is not None:
            return self._end_message(counter)
        line, end, rest = self.unread.partition(b"\r\n")
        if not end:
            return None
        self.unread = rest
        verb = line[:4].upper()
        if verb == b"RCPT":
            self.recipients += 1
            if _ANSWERING in line:
                self.asked.append(line.partition(b"<")[2].partition(b">")[0].decode())
        elif verb == b"DATA":
            self.taken = 0
            self.unread = b"\r\n" + rest  # a message may be the final dot alone
        elif verb in (b"MAIL", b"RSET"):
            self.recipients = 0
            self.asked.clear()
        return REPLIES.get(verb, OTHER)

    def _end_message(self, counter: Counter) -> bytes | None:
        end = self.unread.find(b"\r\n.\r\n", self.taken)
        if end < 0:
            self.taken = max(0, len(self.unread) - 4)
            return None
        if self.asked and self.questions is not None:
            head = self.unread[2:].partition(b"\r\n\r\n")[0]
            for address in self.asked:
                self.questions.add(address, head)
        self.unread = self.unread[end + 5 :]
        self.taken = None
        counts = counter.read()
        counter.write(Counts(counts.messages + 1, counts.recipients + self.recipients, time.monotonic()))
        self.recipients = 0
        return b"250 2.0.0 Ok: taken\r\n"


def serve(port: int, counter: Counter, questions: Questions) -> None:
    """Take mail until the process is ended."""
    listener = socket.create_server(("127.0.0.1", port), backlog=512)
    epoll = select.epoll()
    epoll.register(listener.fileno(), select.EPOLLIN)
    connections: dict[int, Connection] = {}
    while True:
        for fd, _ in epoll.poll():
            if fd == listener.fileno():
                accepted = listener.accept()[0]
                accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                accepted.sendall(GREETING)
                connections[accepted.fileno()] = Connection(accepted, questions)
                epoll.register(accepted.fileno(), select.EPOLLIN)
            elif not _handle(connections[fd], counter):
                epoll.unregister(fd)
                connections.pop(fd).socket.close()


def _handle(connection: Connection, counter: Counter) -> bool:
    """Read once and answer; False when the client is gone. Replies are small, so that sending them never waits for long."""
    with contextlib.suppress(OSError):
        octets = connection.socket.recv(262144)
        if octets:
            replies = connection.answer(octets, counter)
            if replies:
                connection.socket.sendall(replies)
            return True
    return False


def main(argv: Sequence[str] | None = None) -> int:
    """Serve on the port, count and note in the files that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--counts", type=Path, required=True)
    parser.add_argument("--questions", type=Path, required=True)
    arguments = parser.parse_args(argv)
    serve(arguments.port, Counter(arguments.counts), Questions(arguments.questions))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
