"""Clients that behave badly, each a process of its own so that they take no time from the test: run as `python -m tests.support.flooding KIND HOST PORT`.

They go on until they are killed; when the server ends a session they begin another.
"""

import contextlib
import select
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
ODD = b"MAIL FROM:<@" + b"a." * 100 + b'a:"x y"@example.net>\r\nRSET\r\n'
KINDS = {
    "odd": ODD * 200,  # each address takes email's parser most of a millisecond
    "noop": b"NOOP\r\n" * 2000,
    "unread": b"NOOP\r\n" * 2000,  # whose replies nobody reads
    "endless": b"x" * 60_000,  # a line that never ends
    "refused": b"MAIL FROM:<a@b.example>\r\n" + b"RCPT TO:<nobody@example.org>\r\n" * 500 + b"RSET\r\n",
}


def flood(kind: str, address: tuple[str, int]) -> None:
    """Send without end, and read whatever comes (unless `kind` is unread): blocking in one of both would let the server rest."""
    data = KINDS[kind]
    while True:
        with contextlib.suppress(OSError), socket.create_connection(address, 10) as sock:
            sock.sendall(b"LHLO flood.example.net\r\n")
            sock.setblocking(False)
            _flood(sock, data, reads=kind != "unread")


def _flood(sock: socket.socket, data: bytes, *, reads: bool) -> None:
    rest = data
    while True:
        readable, writable, _ = select.select([sock] if reads else [], [sock], [], 10)
        if readable and not sock.recv(1 << 20):
            return  # the server has ended the session
        if writable:
            rest = rest[sock.send(rest) :] or data


@contextlib.contextmanager
def flooding(address: tuple[str, int], *kinds: str) -> Iterator[None]:
    """Have these clients at work."""
    host, port = address
    command = [sys.executable, "-m", "tests.support.flooding"]
    clients = [
        subprocess.Popen([*command, kind, host, str(port)], cwd=CHECKOUT, stderr=subprocess.DEVNULL)
        for kind in kinds
    ]
    try:
        yield
        ended = [client.args for client in clients if client.poll() is not None]
        assert not ended, f"a flood has ended by itself: {ended}"
    finally:
        for client in clients:
            client.kill()
            client.wait()


if __name__ == "__main__":
    flood(sys.argv[1], (sys.argv[2], int(sys.argv[3])))
