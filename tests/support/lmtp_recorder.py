"""An LMTP server that takes everything and writes down each message octet for octet, as it stood on the wire: dots stuffed, nothing made tidy.

with LmtpRecorder(folder) as recorder:
    ...  # an MTA delivers to recorder.port or recorder.unix
    recorder.messages

It offers what lmtp/ offers, so that an MTA chooses the same way to send as it does to us.
"""

import socket
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

_END = b"\r\n.\r\n"
_FEATURES = b"250-recorder\r\n250-8BITMIME\r\n250-SIZE 31457280\r\n250-SMTPUTF8\r\n250-ENHANCEDSTATUSCODES\r\n250 PIPELINING\r\n"
_REPLIES = {
    b"LHLO": _FEATURES,
    b"MAIL": b"250 2.1.0 Ok\r\n",
    b"RCPT": b"250 2.1.5 Ok\r\n",
    b"DATA": b"354 go on\r\n",
}
_STEP_S = 0.2  # between two looks at whether it shall end


class LmtpRecorder:
    """The server; a thread for each connection."""

    def __init__(self, folder: Path) -> None:
        self.messages: list[bytes] = []  # what lay between 354 and CR LF . CR LF, in order of their ends
        self.commands: list[bytes] = []  # lines with their ends
        self.unix = folder / "lmtp.sock"
        self._tcp = socket.create_server(("127.0.0.1", 0), backlog=100)
        self._unix = socket.socket(socket.AF_UNIX)
        self._unix.bind(str(self.unix))
        self.unix.chmod(0o666)
        self._unix.listen(100)
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []

    @property
    def port(self) -> int:
        """The port of 127.0.0.1 where it listens."""
        return int(self._tcp.getsockname()[1])

    def __enter__(self) -> Self:
        for listener in (self._tcp, self._unix):
            self._spawn(partial(self._accept, listener))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join(10)
        self._tcp.close()
        self._unix.close()

    def _spawn(self, target: Callable[[], None]) -> None:
        thread = threading.Thread(target=target, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self, listener: socket.socket) -> None:
        listener.settimeout(_STEP_S)
        while not self._stopping.is_set():
            try:
                connection, _ = listener.accept()
            except TimeoutError:
                continue
            self._spawn(partial(self._serve, connection))

    def _serve(self, connection: socket.socket) -> None:
        connection.settimeout(_STEP_S)
        with connection:
            _Session(self, connection, self._stopping).run()


class _Session:
    """One connection."""

    def __init__(self, recorder: LmtpRecorder, connection: socket.socket, stopping: threading.Event) -> None:
        self._recorder = recorder
        self._connection = connection
        self._stopping = stopping
        self._buffer = b""
        self._recipients = 0

    def run(self) -> None:
        """Serve until the client goes."""
        try:
            self._connection.sendall(b"220 recorder LMTP\r\n")
            while (line := self._take(b"\r\n")) and self._answer(line):
                pass
        except OSError:
            return  # Exim never reads its 221

    def _answer(self, line: bytes) -> bool:
        self._recorder.commands.append(line)
        verb = line[:4].upper()
        self._recipients = {b"MAIL": 0, b"RCPT": self._recipients + 1}.get(verb, self._recipients)
        self._connection.sendall(
            b"221 2.0.0 Bye\r\n" if verb == b"QUIT" else _REPLIES.get(verb, b"250 2.0.0 Ok\r\n")
        )
        if verb == b"DATA":
            self._buffer = b"\r\n" + self._buffer  # the command's own line end may begin the end
            if wire := self._take(_END):
                self._recorder.messages.append(wire[2:-3])
                self._connection.sendall(b"250 2.0.0 Ok\r\n" * self._recipients)
        return verb != b"QUIT"

    def _take(self, end: bytes) -> bytes:
        """Read up to `end`; b"" when the client is gone."""
        while end not in self._buffer:
            if self._stopping.is_set():
                return b""
            try:
                data = self._connection.recv(65536)
            except TimeoutError:
                continue
            if not data:
                return b""
            self._buffer += data
        taken, _, self._buffer = self._buffer.partition(end)
        return taken + end
