"""What the kernel tells about replies under way."""

import socket
from collections.abc import Iterator

import pytest

from lmtp.wire import has_arrived, has_unread
from tests.support.waiting import wait_until

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def tcp() -> Iterator[Pair]:
    """A server's socket and its client's, over the loopback interface."""
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()) as client,
    ):
        server, _ = listener.accept()
        with server:
            yield server, client


@pytest.fixture
def unix() -> Iterator[Pair]:
    """The same over a unix socket."""
    server, client = socket.socketpair()
    with server, client:
        yield server, client


def test_what_the_clients_kernel_has_taken_has_arrived(tcp: Pair) -> None:
    """While it lives, or closes having read."""
    server, client = tcp
    server.sendall(b"250 2.0.0 Ok\r\n")
    wait_until(lambda: has_arrived(server))
    assert client.recv(100)
    client.close()
    assert server.recv(1) == b""
    assert has_arrived(server)


def test_what_is_written_to_a_client_that_has_closed_has_not_arrived(tcp: Pair) -> None:
    """Its end looks like that of one that has read all: only the reset behind our reply tells."""
    server, client = tcp
    client.close()
    wait_until(lambda: server.recv(1, socket.MSG_PEEK) == b"")
    server.sendall(b"250 2.0.0 Ok\r\n")
    wait_until(lambda: not has_arrived(server))


def test_over_a_unix_socket_it_has_arrived_when_it_was_read(unix: Pair) -> None:
    """There the kernel counts what lies unread at the other end."""
    server, client = unix
    server.sendall(b"250 2.0.0 Ok\r\n")
    assert not has_arrived(server)
    client.recv(100)
    assert has_arrived(server)


@pytest.mark.parametrize("name", ["tcp", "unix"])
def test_octets_that_wait_in_the_kernel_are_seen(name: str, request: pytest.FixtureRequest) -> None:
    """And they stay there."""
    server, client = request.getfixturevalue(name)
    assert not has_unread(server)
    client.sendall(b"QUIT\r\n")
    wait_until(lambda: has_unread(server))
    assert server.recv(100) == b"QUIT\r\n"
    assert not has_unread(server)
