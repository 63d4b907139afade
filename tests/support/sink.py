"""An SMTP server that takes mail fast, answers as told, and writes down every transaction before it replies.

In a test: `with Sink(rules=[...]) as sink: ... sink.address, sink.transactions`. As a process (crash tests, bench):
`python -m tests.support.sink --port 0 --record FILE [--rules JSON]` prints "host:port" and appends one JSON line a
transaction before the reply to the final dot, so a killed client and a killed sink can both be counted afterwards.
A bare CR or LF in what arrives is written down as a fault of the client's. `hash_only` and `quiet` are for bench.
"""

import argparse
import asyncio
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from types import TracebackType

import msgspec
from msgspec import Struct

_BARE = re.compile(rb"(?<!\r)\n|\r(?!\n)")
EXTENSIONS = ("PIPELINING", "8BITMIME", "SMTPUTF8", "SIZE 50000000", "ENHANCEDSTATUSCODES")


class Rule(Struct, frozen=True, kw_only=True):
    """What to do instead of saying 250; the first rule that matches decides. `times` passages, -1 for ever."""

    at: str  # connect, ehlo, mail, rcpt, data, dot, rset
    like: str = ""  # a regular expression to be found in the command's argument (at dot: in the reverse-path and recipients)
    reply: str = ""  # "450 4.2.1 later"; "": the usual one
    close: str = ""  # "before" or "after" the reply
    delay_s: float = 0.0
    times: int = -1


class Transaction(Struct, frozen=True, kw_only=True):
    """One message that was answered (or not) after its final dot. `accepted` are the recipients that have it if `reply` is 2xx."""

    reverse_path: str
    parameters: str
    accepted: tuple[str, ...]
    refused: tuple[str, ...] = ()
    content: bytes = b""
    size: int = 0
    sha256: str = ""
    reply: str = "250"  # "" when the connection was closed without one
    bare: bool = False  # a bare CR or LF arrived
    connection: int = 0
    at_s: float = 0.0  # monotonic

    @property
    def is_delivered(self) -> bool:
        """Say whether the sink has taken the message, whether or not it said so."""
        return self.reply.startswith("2") or not self.reply


class Sink:
    """The server, in a thread of its own."""

    def __init__(
        self,
        rules: Sequence[Rule] = (),
        *,
        extensions: Sequence[str] = EXTENSIONS,
        record: Path | None = None,
        hash_only: bool = False,
        port: int = 0,
    ) -> None:
        self.rules = list(rules)
        self.extensions = tuple(extensions)
        self.hash_only = hash_only
        self.transactions: list[Transaction] = []
        self.commands: list[str] = []  # in order of arrival, all connections
        self.writes: list[int] = []  # commands that arrived together
        self.connections = 0
        self.delivered = 0  # recipients
        self.quiet = False  # bench: count and forget
        self._port = port
        self._record = os.open(record, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600) if record else -1
        self._passages: dict[int, int] = {}
        self._open: set[_Session] = set()
        self._loop = asyncio.new_event_loop()
        self._server: asyncio.Server | None = None
        self._thread = threading.Thread(target=self._run, name="sink", daemon=True)
        self._up = threading.Event()

    @property
    def address(self) -> str:
        """Return host:port, as `[outgoing] smtp` wants it."""
        return f"127.0.0.1:{self._port}"

    def __enter__(self) -> "Sink":
        self._thread.start()
        if not self._up.wait(10):
            raise TimeoutError("sink did not start")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def recipients(self) -> list[str]:
        """Return every recipient of every message taken, with repetitions."""
        return [recipient for done in self.transactions if done.is_delivered for recipient in done.accepted]

    def close_connections(self) -> None:
        """Close every connection, as an MTA does with idle ones."""
        done = threading.Event()

        def close() -> None:
            for session in list(self._open):
                session.transport.close()
            self._loop.call_soon(done.set)

        self._loop.call_soon_threadsafe(close)
        done.wait(5)

    def rule_for(self, at: str, argument: str) -> Rule | None:
        """Return the rule that decides, counting its passage."""
        for number, rule in enumerate(self.rules):
            if rule.at == at and re.search(rule.like, argument):
                if rule.times >= 0 and self._passages.get(number, 0) >= rule.times:
                    continue
                self._passages[number] = self._passages.get(number, 0) + 1
                return rule
        return None

    def note(self, transaction: Transaction) -> None:
        """Write a transaction down; on disk, if asked for, before its reply leaves."""
        if transaction.is_delivered:
            self.delivered += len(transaction.accepted)
        if self._record >= 0:
            os.write(self._record, msgspec.json.encode(transaction) + b"\n")
        if not self.quiet:
            self.transactions.append(transaction)

    def serve_forever(self) -> None:
        """Serve in this thread until SIGTERM, as a process does."""
        self._loop.add_signal_handler(signal.SIGTERM, self._loop.stop)
        self._run(announce=True)

    def _run(self, announce: bool = False) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._listen())
        if announce:
            print(self.address, flush=True)
        self._up.set()
        self._loop.run_forever()
        for session in list(self._open):
            session.transport.abort()
        assert self._server is not None
        self._server.close()
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()
        if self._record >= 0:
            os.close(self._record)

    async def _listen(self) -> None:
        self._server = await self._loop.create_server(
            lambda: _Session(self), "127.0.0.1", self._port, backlog=200
        )
        self._port = self._server.sockets[0].getsockname()[1]


class _Session(asyncio.Protocol):
    """One connection."""

    transport: asyncio.Transport

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._buffer = bytearray()
        self._in_data = False
        self._waits = False
        self._number = 0
        self._reset()

    def _reset(self) -> None:
        self._mail: str | None = None
        self._parameters = ""
        self._accepted: list[str] = []
        self._refused: list[str] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._sink.connections += 1
        self._number = self._sink.connections
        self._sink._open.add(self)
        self._answer("connect", "", "220 sink ESMTP")

    def connection_lost(self, exc: Exception | None) -> None:
        self._sink._open.discard(self)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        before = len(self._sink.commands)
        self._work()
        if len(self._sink.commands) > before:
            self._sink.writes.append(len(self._sink.commands) - before)

    def _work(self) -> None:
        while not self._waits and not self.transport.is_closing():
            if self._in_data:
                start = b"" if not self._buffer.startswith(b".\r\n") else b".\r\n"
                end = 0 if start else self._buffer.find(b"\r\n.\r\n")
                if end < 0:
                    return
                content = b"" if start else bytes(self._buffer[: end + 2])
                del self._buffer[: len(start) or end + 5]
                self._in_data = False
                self._end_of_data(content)
            else:
                end = self._buffer.find(b"\r\n")
                if end < 0:
                    return
                line = bytes(self._buffer[:end]).decode("utf-8", "surrogateescape")
                del self._buffer[: end + 2]
                self._sink.commands.append(line)
                self._command(line)

    def _command(self, line: str) -> None:
        verb = line[:4].upper()
        if verb == "EHLO":
            lines = ["sink", *self._sink.extensions]
            text = [f"250-{line}" for line in lines[:-1]] + [f"250 {lines[-1]}"]
            self._answer("ehlo", lines[0], "\r\n".join(text))
        elif verb == "MAIL":
            self._reset()
            address, _, self._parameters = line[10:].partition(" ")
            if self._answer("mail", line, "250 2.1.0 Ok").startswith("2"):
                self._mail = address.strip("<>")
        elif verb == "RCPT":
            address = line[8:].partition(" ")[0].strip("<>")
            usual = "250 2.1.5 Ok" if self._mail is not None else "503 5.5.1 MAIL first"
            taken = self._answer("rcpt", line, usual).startswith("2")
            (self._accepted if taken else self._refused).append(address)
        elif verb == "DATA":
            usual = "354 go on" if self._accepted else "554 5.5.1 no valid recipients"
            self._in_data = self._answer("data", self._mail or "", usual).startswith("354")
        elif verb == "RSET":
            self._reset()
            self._answer("rset", "", "250 2.0.0 Ok")
        elif verb == "QUIT":
            self.transport.write(b"221 2.0.0 Bye\r\n")
            self.transport.close()
        else:
            self._answer(
                verb.lower(), line, "250 2.0.0 Ok" if verb in ("HELO", "NOOP") else "500 5.5.2 What?"
            )

    def _end_of_data(self, content: bytes) -> None:
        bare = _BARE.search(content) is not None
        content = content.replace(b"\r\n..", b"\r\n.")
        content = content[1:] if content.startswith(b"..") else content
        mail, accepted, refused = self._mail or "", tuple(self._accepted), tuple(self._refused)
        parameters = self._parameters
        self._reset()

        def write_down(reply: str) -> None:
            self._sink.note(
                Transaction(
                    reverse_path=mail,
                    parameters=parameters,
                    accepted=accepted,
                    refused=refused,
                    content=b"" if self._sink.hash_only else content,
                    size=len(content),
                    sha256=sha256(content).hexdigest(),
                    reply=reply,
                    bare=bare,
                    connection=self._number,
                    at_s=time.monotonic(),
                )
            )

        usual = "250 2.0.0 Ok: queued" if accepted else "554 5.5.1 no valid recipients"
        self._answer("dot", f"{mail} {' '.join(accepted)}", usual, write_down)

    def _answer(self, at: str, argument: str, usual: str, before: object = None) -> str:
        """Give the usual answer or that of a rule, and return it; `before` is told it first ("" when none leaves)."""
        rule = self._sink.rule_for(at, argument) if self._sink.rules else None
        reply = rule.reply if rule is not None and rule.reply else usual
        close = rule.close if rule is not None else ""
        if callable(before):
            before("" if close == "before" else reply)

        def act() -> None:
            if close != "before":
                self.transport.write(reply.encode("utf-8") + b"\r\n")
            if close:
                self.transport.close()

        if rule is not None and rule.delay_s:
            self._waits = True

            def later() -> None:
                self._waits = False
                act()
                self._work()

            asyncio.get_running_loop().call_later(rule.delay_s, later)
        else:
            act()
        return reply


def main(argv: Sequence[str] | None = None) -> int:
    """Run a sink as a process."""
    parser = argparse.ArgumentParser(description="SMTP sink")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--record", type=Path)
    parser.add_argument("--rules", default="[]", help="JSON list of rules")
    parser.add_argument("--hash-only", action="store_true")
    parser.add_argument("--quiet", action="store_true")
    arguments = parser.parse_args(argv)
    sink = Sink(
        msgspec.json.decode(arguments.rules, type=list[Rule]),
        record=arguments.record,
        hash_only=arguments.hash_only,
        port=arguments.port,
    )
    sink.quiet = arguments.quiet
    sink.serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main())
