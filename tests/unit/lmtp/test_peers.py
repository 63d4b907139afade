"""Who is at the other end, what it may do, and how little of strangers is logged."""

import os
import socket
from pathlib import Path
from typing import Any

import pytest
import structlog
from structlog.testing import CapturingLogger

from config.lmtp_settings import LmtpSettings
from lmtp import replies
from lmtp.peers import MAX_LINES, QUIET_S, UNIX, BadTrust, Peer, Strangers, Trust, identify

ANNE = Peer(UNIX, 1000, (1000, 27))
MX = Peer("192.0.2.1")


def make_trust(*trusted: str, xforward: tuple[str, ...] = ("trusted",)) -> Trust:
    return Trust(LmtpSettings(trusted=list(trusted), xforward=list(xforward)))


@pytest.mark.parametrize(
    ("trusted", "peer", "expected"),
    [
        ((), MX, False),
        (("192.0.2.0/24",), MX, True),
        (("uid:1000",), MX, False),
        ((), ANNE, True),  # the socket's mode has said who may
        (("192.0.2.0/24",), ANNE, True),
        (("uid:1000",), ANNE, True),
        (("gid:27",), ANNE, True),
        (("uid:1001", "gid:28"), ANNE, False),
    ],
)
def test_who_may_connect(trusted: tuple[str, ...], peer: Peer, expected: bool) -> None:
    assert make_trust(*trusted).admits(peer) is expected


@pytest.mark.parametrize(
    ("xforward", "peer", "expected"),
    [
        (("trusted",), MX, True),
        (("trusted",), ANNE, True),
        ((), MX, False),
        ((), ANNE, False),
        (("192.0.2.1",), MX, True),
        (("192.0.2.1",), ANNE, False),
        (("uid:1000",), ANNE, True),
        (("uid:1000",), MX, False),
        (("198.51.100.0/24", "trusted"), MX, True),
    ],
)
def test_who_may_forward(xforward: tuple[str, ...], peer: Peer, expected: bool) -> None:
    assert make_trust("192.0.2.0/24", xforward=xforward).may_forward(peer) is expected


def test_what_names_nobody_is_bad_configuration() -> None:
    with pytest.raises(BadTrust, match=r"\[lmtp\] trusted: 'localhost'"):
        make_trust("localhost")
    with pytest.raises(BadTrust, match=r"\[lmtp\] xforward: uid:x"):
        make_trust(xforward=("uid:x",))


def test_the_kernel_says_who_is_at_the_other_end_of_a_unix_socket(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening, socket.socket(socket.AF_UNIX) as client:
        listening.bind(str(tmp_path / "s"))
        listening.listen()
        client.connect(str(tmp_path / "s"))
        accepted, name = listening.accept()
        with accepted:
            peer = identify(accepted, name)
    assert (peer.address, peer.uid, peer.gids[0]) == (UNIX, os.getuid(), os.getgid())
    assert set(os.getgroups()) <= set(peer.gids)
    assert (peer.is_local, peer.name) == (True, f"uid:{os.getuid()}")


def test_a_tcp_peer_is_its_address() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listening,
        socket.create_connection(listening.getsockname()),
    ):
        accepted, name = listening.accept()
        with accepted:
            assert identify(accepted, name) == Peer("127.0.0.1")


class Log:
    """What was written about strangers."""

    def __init__(self) -> None:
        self.sink = CapturingLogger()
        self.strangers = Strangers(structlog.wrap_logger(self.sink, processors=[]))

    def note(self, address: str, now_s: float) -> list[dict[str, Any]]:
        """Note one stranger; return the lines that this gave."""
        before = len(self.sink.calls)
        self.strangers.note(Peer(address), replies.NOT_TRUSTED, now_s)
        return [dict(call.kwargs) for call in self.sink.calls[before:]]


def test_a_stranger_is_logged_once_a_minute_with_how_many_were_not() -> None:
    log = Log()
    (line,) = log.note("192.0.2.1", 5.0)
    assert (line["event"], line["peer"], line["unsaid"]) == ("lmtp.refused", "192.0.2.1", 0)
    assert line["reply"].startswith("554 5.7.1 ")
    assert [log.note("192.0.2.1", 5.0 + second) for second in range(1, 60)] == [[]] * 59
    (line,) = log.note("192.0.2.2", 64.0)
    assert line["unsaid"] == 59
    (line,) = log.note("192.0.2.1", 5.0 + QUIET_S)
    assert line["unsaid"] == 0


def test_many_strangers_fill_neither_the_log_nor_the_memory() -> None:
    log = Log()
    lines = [log.note(f"2001:db8::{number:x}", number / 1000) for number in range(5000)]
    assert sum(map(len, lines)) == MAX_LINES
    (line,) = log.note("192.0.2.2", QUIET_S + 5)
    assert line["unsaid"] == 5000 - MAX_LINES
