"""Connections over real sockets, on both event loops, with stand-ins for lists and bus."""

import contextlib
import socket
from collections.abc import Iterator
from functools import partial

import pytest

from bus.client import Away, PublishRefused
from lists.errors import StoreAway
from lmtp.server import LINGER_S
from tests.support.loop_thread import Running, running_server
from tests.support.waiting import wait_until
from tests.support.wire import Wire, code, make_mail, stuff

ONE = ["MAIL FROM:<anne@example.net>", "RCPT TO:<ant@example.org>", "DATA"]
TWO = [*ONE[:2], "RCPT TO:<bee@example.org>", "DATA"]
LOOPS = ("asyncio", "uvloop")


@pytest.fixture(params=LOOPS)
def running(request: pytest.FixtureRequest) -> Iterator[Running]:
    """A server on either loop."""
    with running_server(request.param) as server:
        yield server


def test_a_message_is_taken(running: Running) -> None:
    """All replies of a pipelined group come at once, in order."""
    with Wire.connect(running.address) as wire:
        mail = make_mail()
        assert [code(each) for each in wire.mail(mail, "ant@example.org", "bee@example.org")] == [
            "250 2.0.0"
        ] * 2
        assert [content for _, content in running.parts.front.published] == [mail, mail]
        assert wire.codes("QUIT") == ["221 2.0.0"]
        assert wire.ends()
    wait_until(running.server.is_empty.is_set)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (Away(), "451 4.4.1"),
        (PublishRefused("full", "disk"), "452 4.3.1"),
        (PublishRefused("busy", ""), "451 4.3.2"),
        (PublishRefused("size", ""), "552 5.3.4"),
        (PublishRefused("bad", "a bug"), "451 4.3.0"),
        (RuntimeError("a bug"), "451 4.3.0"),
    ],
    ids=str,
)
def test_what_the_bus_says_becomes_a_reply_for_each_recipient(
    running: Running, error: Exception, expected: str
) -> None:
    """And the session goes on."""
    running.parts.front.error = error
    with Wire.connect(running.address) as wire:
        answers = wire.mail(make_mail(), "ant@example.org", "bee@example.org", "ant@example.org")
        assert [code(each) for each in answers] == [expected] * 3
        running.parts.front.error = None
        assert code(wire.mail(make_mail(), "ant@example.org")[0]) == "250 2.0.0"


def test_a_publish_that_raises_at_once_is_451_too(running: Running) -> None:
    """Whatever the bus's client does."""
    running.parts.front.publish = None  # type: ignore[method-assign,assignment]
    with Wire.connect(running.address) as wire:
        assert [code(each) for each in wire.mail(make_mail(), "ant@example.org")] == ["451 4.3.0"]
    assert running.parts.events("lmtp.failed")


def test_a_reply_counts_as_read_when_the_client_goes_on(running: Running) -> None:
    """Not before: until then the same mail again is the same mail."""
    with Wire.connect(running.address) as wire:
        wire.mail(make_mail(), "ant@example.org")
        assert running.parts.front.replied == []
        wire.codes("NOOP")
        assert running.parts.front.replied == [running.parts.front.published[0][0].id]


def test_a_reply_counts_as_read_when_the_client_leaves_in_order(running: Running) -> None:
    """It closes after it has read everything."""
    with Wire.connect(running.address) as wire:
        wire.codes(*ONE)
        wire.send_raw(stuff(make_mail()) + b"QUIT\r\n")
        assert [code(wire.reply()) for _ in range(2)] == ["250 2.0.0", "221 2.0.0"]
        assert wire.ends()
        assert running.parts.front.replied == []
    wait_until(lambda: running.parts.front.replied)


def test_a_client_that_shuts_its_side_down_hears_all_that_it_is_owed(running: Running) -> None:
    """Right behind a whole session in one write, as Exim does: two messages and QUIT, while the bus takes its time."""
    front = running.parts.front
    held = front.held = []
    with Wire.connect(running.address) as wire:
        said = "".join(f"{line}\r\n" for line in TWO).encode() + stuff(make_mail())
        wire.send_raw(said + said + b"QUIT\r\n")
        wire.sock.shutdown(socket.SHUT_WR)
        for _ in range(2):
            wait_until(lambda: held)
            ids = tuple(item.id for item, _ in front.published[-2:])
            running.thread.call(partial(held.pop().set_result, ids))
            assert [code(each) for each in wire.replies(4)] == ["250 2.1.0", *["250 2.1.5"] * 2, "354"]
            assert wire.replies(2) == [f"250 2.0.0 Accepted {each}" for each in ids]
        assert code(wire.reply()) == "221 2.0.0"
        assert wire.ends()
    wait_until(running.server.is_empty.is_set)


def test_a_client_that_closes_without_quit_has_read_nothing(running: Running) -> None:
    """OpenSMTPD does so when it has read one reply of several, and sends the message again."""
    with Wire.connect(running.address) as wire:
        wire.mail(make_mail(), "ant@example.org")
    wait_until(running.server.is_empty.is_set)
    assert running.parts.front.replied == []


def test_a_client_that_is_gone_after_the_dot_has_read_nothing(running: Running) -> None:
    """The message stays; its retry is known as the same mail and is told the first copy's id."""
    front, mail = running.parts.front, make_mail()
    front.held = []
    with Wire.connect(running.address) as wire:
        wire.codes(*ONE)
        wire.send_raw(stuff(mail))
        (future,) = wait_until(lambda: front.held)
    first = front.published[0][0].id
    wait_until(lambda: any(each._has_eof for each in running.server._connections))
    running.thread.call(lambda: future.set_result((first,)))
    wait_until(running.server.is_empty.is_set)
    assert front.replied == []
    front.held = None
    with Wire.connect(running.address) as wire:
        assert wire.mail(mail, "ant@example.org") == [f"250 2.0.0 Accepted {first}"]
    assert [line["is_duplicate"] for line in running.parts.events("lmtp.accepted")] == [False, True]


def test_a_client_that_resets_the_connection_is_noted_as_dropped(running: Running) -> None:
    """During DATA: nothing is stored."""
    with Wire.connect(running.address) as wire:
        wire.codes(*ONE)
        wire.send_raw(b"half a mess")
        wire.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    wait_until(lambda: running.parts.events("lmtp.dropped"))
    assert running.parts.front.published == []


def test_a_silent_client_is_told_421_and_dropped() -> None:
    """RFC 5321 3.8; 4.4.2."""
    with running_server(idle_timeout_s=0.01) as running, Wire.connect(running.address) as wire:
        assert wire.is_silent(0.05)
        running.thread.call(running.server.sweep)
        assert code(wire.reply()) == "421 4.4.2"
        assert wire.ends()


def test_a_stranger_is_told_554_at_once() -> None:
    """Whoever is not in [lmtp] trusted."""
    with running_server(trusted="192.0.2.0/24") as running, Wire.connect(running.address, lhlo=False) as wire:
        assert wire.reply().startswith("554 ")
        assert wire.ends()


def test_a_store_that_does_not_answer_is_451(running: Running) -> None:
    """Refusals only; what the snapshot takes is taken."""
    running.store.away = StoreAway("locked", "wait")
    with Wire.connect(running.address) as wire:
        assert wire.codes(ONE[0], "RCPT TO:<nobody@example.org>", ONE[1]) == [
            "250 2.1.0",
            "451 4.3.0",
            "250 2.1.5",
        ]


@pytest.mark.slow
@pytest.mark.parametrize("loop", LOOPS)
def test_a_client_that_floods_and_never_reads_is_read_no_further(loop: str) -> None:
    """Memory is bounded by pausing, no reply is lost, and others are answered."""
    with (
        running_server(loop, max_commands=10_000_000) as running,
        Wire.connect(running.address) as wire,
        Wire.connect(running.address) as other,
    ):
        wire.sock.settimeout(0.5)
        sent = 0
        flood = b"NOOP\r\n" * 10_000
        try:
            while sent < 1000:
                wire.sock.sendall(flood)
                sent += 1
        except TimeoutError:
            pass  # the server reads no more, as it should
        assert sent < 1000  # 60 MB: what both kernels and one read may hold is less
        assert other.codes("NOOP") == ["250 2.0.0"]
        waiting = running.thread.call(
            lambda: max(each.dialogue.waiting for each in running.server._connections)
        )
        assert waiting < 2_000_000


def test_the_shared_socket_is_read_one_connection_a_turn(running: Running) -> None:
    """A burst of clients is served; none is left in the queue."""
    wires = [Wire.connect(running.address) for _ in range(60)]
    for wire in wires:
        assert wire.codes("NOOP") == ["250 2.0.0"]
        wire.sock.close()
    wait_until(running.server.is_empty.is_set)


def test_small_replies_leave_at_once(running: Running) -> None:
    """TCP_NODELAY is set."""
    with Wire.connect(running.address):
        (connection,) = running.server._connections
        sock = connection._wire.get_extra_info("socket")
        assert running.thread.call(lambda: sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))


def test_draining_ends_the_idle_and_waits_for_the_rest(running: Running) -> None:
    """A transaction in hand is finished, then told 421; no reply is lost."""
    import asyncio

    with Wire.connect(running.address) as idle, Wire.connect(running.address) as busy:
        busy.codes(*TWO)
        done = asyncio.run_coroutine_threadsafe(running.server.drain(10), running.thread.loop)
        assert code(idle.reply()) == "421 4.3.2"
        assert idle.ends()
        idle.sock.close()
        busy.send_raw(stuff(make_mail()))
        assert [code(busy.reply()) for _ in range(3)] == ["250 2.0.0", "250 2.0.0", "421 4.3.2"]
        assert busy.ends()
        busy.sock.close()
        done.result(5)


def test_a_large_message_is_taken_whole(running: Running) -> None:
    """Octet for octet the same."""
    body = b"".join(b"%076d\r\n" % number for number in range(60_000))
    with Wire.connect(running.address) as wire:
        assert code(wire.mail(make_mail(body=body), "ant@example.org")[0]) == "250 2.0.0"
    assert running.parts.front.published[0][1].endswith(body)


def never_reading(running: Running) -> Wire:
    """Make a client that sends until the server reads no more, and reads nothing."""
    wire = Wire.connect(running.address)
    wire.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    wire.sock.settimeout(0.2)
    with contextlib.suppress(TimeoutError):
        while True:
            wire.sock.sendall(b"NOOP\r\n" * 10_000)
    return wire


@pytest.mark.slow
@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("is_half_closed", [True, False], ids=["half-closed", "open"])
def test_a_client_that_never_reads_goes_after_the_idle_timeout(loop: str, is_half_closed: bool) -> None:
    """Also one that has shut its sending side down: the transport would wait for ever for its replies to be read."""
    with running_server(loop, idle_timeout_s=0.2, max_commands=10**9) as running:
        wire = never_reading(running)
        if is_half_closed:
            wire.sock.shutdown(socket.SHUT_WR)
        (connection,) = running.server._connections
        wait_until(lambda: running.thread.call(lambda: connection.is_owed_replies))
        wait_until(
            lambda: (
                running.thread.call(running.server.sweep)
                or running.thread.call(running.server.is_empty.is_set)
            )
        )
        wire.sock.close()


def test_a_client_that_stays_after_its_quit_is_dropped_after_some_seconds(running: Running) -> None:
    """It has its 221 and our end; Exim closes without reading either."""
    with Wire.connect(running.address) as wire:
        assert wire.codes("QUIT") == ["221 2.0.0"]
        assert wire.ends()
        (connection,) = running.server._connections
        running.thread.call(running.server.sweep)
        assert not running.server.is_empty.is_set()

        def let_time_pass() -> None:
            assert connection.closing_s
            connection.closing_s -= LINGER_S + 0.1
            running.server.sweep()

        running.thread.call(let_time_pass)
        wait_until(running.server.is_empty.is_set)


@pytest.mark.slow
@pytest.mark.parametrize("loop", LOOPS)
def test_a_slow_reader_that_is_owed_replies_has_more_time_than_one_that_only_stays(loop: str) -> None:
    """Until the idle timeout, not LINGER_S: what it asked for before its end comes whole."""
    with running_server(loop, max_commands=10**9) as running:
        wire = never_reading(running)
        wire.sock.shutdown(socket.SHUT_WR)
        (connection,) = running.server._connections

        def let_time_pass() -> None:
            connection.closing_s -= LINGER_S + 0.1 if connection.closing_s else 0.0
            running.server.sweep()

        running.thread.call(let_time_pass)
        assert not running.server.is_empty.is_set()
        assert wire.sock.recv(14) == b"250 2.0.0 Ok\r\n"
        running.thread.call(connection.abort)
        wire.sock.close()
        wait_until(running.server.is_empty.is_set)


def test_what_was_sent_before_the_reply_could_be_read_proves_nothing(running: Running) -> None:
    """A client may pipeline NOOP behind the dot and be gone before the 250: only what it sends afterwards shows that it has read."""
    front = running.parts.front
    front.held = []
    with Wire.connect(running.address) as wire:
        wire.codes(*ONE)
        wire.send_raw(stuff(make_mail()) + b"NOOP\r\n")
        (future,) = wait_until(lambda: front.held)
        first = front.published[0][0].id
        running.thread.call(lambda: future.set_result((first,)))
        assert [code(wire.reply()) for _ in range(2)] == ["250 2.0.0", "250 2.0.0"]
        assert wire.codes("NOOP") == ["250 2.0.0"]
        assert front.replied == []
        front.held = None
        assert code(wire.mail(make_mail(), "ant@example.org")[0]) == "250 2.0.0"
        assert wire.codes("NOOP") == ["250 2.0.0"]
        assert front.replied == [first, front.published[1][0].id]


def test_a_command_an_octet_at_a_time_does_not_put_the_timeout_off() -> None:
    """A part of a message does, and a whole command."""
    with running_server(idle_timeout_s=60) as running, Wire.connect(running.address) as wire:
        wire.codes("NOOP")
        (connection,) = running.server._connections
        heard_s = connection.heard_s
        wire.send_raw(b"NO")
        wait_until(lambda: connection.dialogue.waiting == 2)
        assert connection.heard_s == heard_s
        wire.send_raw(b"OP\r\n")
        wire.reply()
        assert connection.heard_s > heard_s
        wire.codes(*ONE)
        heard_s = connection.heard_s
        wire.send_raw(b"x")
        wait_until(lambda: connection.heard_s > heard_s)


def test_a_message_that_takes_too_long_ends_the_session() -> None:
    """421 4.4.2; a client between commands is not meant."""
    with (
        running_server(data_timeout_s=0.05) as running,
        Wire.connect(running.address) as slow,
        Wire.connect(running.address) as other,
    ):
        slow.codes(*ONE)
        assert slow.is_silent(0.1)
        running.thread.call(running.server.sweep)
        assert code(slow.reply()) == "421 4.4.2"
        assert slow.ends()
        assert other.codes("NOOP") == ["250 2.0.0"]
