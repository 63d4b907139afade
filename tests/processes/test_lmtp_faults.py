"""Front-ends when something dies, stops or is not there: no reply is lost, no mail is lost, none is doubled."""

import signal
import socket
import time
from pathlib import Path

import pytest

from tests.support.lmtp_process import Post, running_post
from tests.support.waiting import wait_until
from tests.support.wire import Wire, code, make_mail, stuff

pytestmark = pytest.mark.slow
ONE = ["MAIL FROM:<anne@example.net>", "RCPT TO:<ant@example.org>", "DATA"]
TWO = [*ONE[:2], "RCPT TO:<ant-owner@example.org>", "DATA"]
RESET = b"\1\0\0\0\0\0\0\0"  # SO_LINGER on, 0 s: closing sends a reset


def make_list(post: Post) -> None:
    """Make the list that takes everybody."""
    post.store.create_list("ant@example.org", ["generic_nonmember_action=accept"])


def test_a_bus_killed_during_data_is_waited_for(tmp_path: Path) -> None:
    """The publish is sent again to the bus that comes back: 250, and one copy."""
    with running_post(tmp_path) as post:
        make_list(post)
        post.start_front()
        with Wire.connect(post.tcp) as wire:
            wire.codes(*TWO)
            wire.send_raw(b"Message-ID: <1@example.net>\r\n\r\nhello\r\n")
            post.bus.kill()
            wire.send_raw(b".\r\n")
            assert wire.is_silent(0.5)
            post.bus.start()
            assert [code(wire.reply()) for _ in range(2)] == ["250 2.0.0", "250 2.0.0"]
            assert wire.codes("NOOP") == ["250 2.0.0"]
        assert (post.queued("incoming"), post.queued("owner")) == (1, 1)


def test_without_a_bus_mail_is_451_and_a_front_end_is_not_ready(tmp_path: Path) -> None:
    """Clients wait up to 3 s in the kernel's queue, then they are told; with a bus all goes on."""
    with running_post(tmp_path, bus=False) as post:
        make_list(post)
        post.start_front(wait=False)
        with Wire.connect(post.tcp) as wire:
            assert wire.codes(ONE[0]) == ["451 4.3.0"]
            post.bus.start()
            wait_until(lambda: wire.codes(ONE[0]) == ["250 2.1.0"])
            assert wire.codes(*ONE[1:]) == ["250 2.1.5", "354"]
            wire.send_raw(stuff(make_mail()))
            assert code(wire.reply()) == "250 2.0.0"
        wait_until(lambda: [one for one in post.lines("process.ready") if one["process"] == "lmtp-1"])


def test_two_processes_share_the_sockets(tmp_path: Path) -> None:
    """Both serve; one that is killed takes only its own connections with it."""
    with running_post(tmp_path) as post:
        make_list(post)
        fronts = [post.start_front(), post.start_front()]
        wires: list[Wire] = []

        def both_have_served() -> bool:
            """The kernel wakes whom it likes: on a busy machine one process may take many connections in a row."""
            wires.append(Wire.connect(post.tcp if len(wires) % 2 else post.unix))
            assert code(wires[-1].mail(make_mail(), "ant@example.org")[0]) == "250 2.0.0"
            return {line["process"] for line in post.lines("lmtp.accepted")} == {"lmtp-1", "lmtp-2"}

        wait_until(both_have_served, 30)
        fronts[0].kill()
        for _ in range(10):
            with Wire.connect(post.tcp) as wire:
                assert code(wire.mail(make_mail(), "ant@example.org")[0]) == "250 2.0.0"
        for wire in wires:
            wire.sock.close()
        assert post.queued() == len(wires) + 10


def test_a_stop_waits_for_the_transaction_in_hand(tmp_path: Path) -> None:
    """Idle clients are told 421 4.3.2; who is at DATA gets every reply; who waits in the queue is the next start's."""
    with running_post(tmp_path) as post:
        make_list(post)
        front = post.start_front()
        with Wire.connect(post.tcp) as idle, Wire.connect(post.unix) as busy:
            busy.codes(*TWO)
            front.terminate()
            assert code(idle.reply()) == "421 4.3.2"
            assert idle.ends()
            idle.sock.close()
            late = Wire(socket.create_connection(post.tcp, 5))
            assert late.is_silent()
            busy.send_raw(stuff(make_mail()))
            assert [code(busy.reply()) for _ in range(3)] == ["250 2.0.0", "250 2.0.0", "421 4.3.2"]
            assert busy.ends()
            busy.sock.close()
        assert front.wait() == 0
        post.start_front()
        late.sock.settimeout(10)
        assert late.reply().startswith("220 ")
        late.sock.close()


def test_it_ends_with_its_master(tmp_path: Path) -> None:
    """The life pipe says so; exit 0."""
    with running_post(tmp_path) as post:
        front = post.start_front()
        front.lose_master()
        assert front.wait() == 0


def test_bad_configuration_is_exit_78(tmp_path: Path) -> None:
    """Master does not start it again and again."""
    with running_post(tmp_path, trusted=["localhost"]) as post:
        assert post.start_front(wait=False).wait() == 78
        assert "trusted" in post.errors()


@pytest.mark.parametrize("is_reset", [True, False], ids=["reset", "closed"])
def test_a_client_gone_after_the_dot_and_its_retry_are_one_copy(tmp_path: Path, is_reset: bool) -> None:
    """The message stays; its retry is told the first copy's id."""
    with running_post(tmp_path, bus=False) as post:
        post.bus.start("bus.commit.before=sleep:0.4")
        make_list(post)
        post.start_front()
        mail = make_mail()
        with Wire.connect(post.tcp) as wire:
            wire.codes(*TWO)
            wire.send_raw(stuff(mail))
            if is_reset:
                wire.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        first = [line["item_id"] for line in wait_until(lambda: post.lines("lmtp.accepted"))]
        with Wire.connect(post.tcp) as wire:
            answers = wire.mail(mail, "ant@example.org", "ant-owner@example.org")
        assert [answer.rpartition(" ")[2] for answer in answers] == first
        assert (post.queued("incoming"), post.queued("owner")) == (1, 1)


@pytest.mark.parametrize(
    "place", ["lmtp.reply.before", "lmtp.reply.after", "front.publish.before", "front.publish.after"]
)
def test_a_front_end_killed_around_its_reply_loses_and_doubles_nothing(tmp_path: Path, place: str) -> None:
    """The client was told nothing or 250; what it sends again is there once."""
    with running_post(tmp_path) as post:
        make_list(post)
        post.start_front(f"{place}=kill")
        mail = make_mail()
        with Wire.connect(post.tcp) as wire:
            wire.codes(*ONE)
            wire.send_raw(stuff(mail))
            is_answered = wire.reply().startswith("250")
        assert post.fronts[0].wait() == -signal.SIGKILL
        post.start_front()
        if not is_answered:
            with Wire.connect(post.tcp) as wire:
                assert code(wire.mail(mail, "ant@example.org")[0]) == "250 2.0.0"
        assert is_answered == (place == "lmtp.reply.after")
        assert post.queued() == 1


def test_a_silent_client_is_told_421(tmp_path: Path) -> None:
    """Also one that stops in the middle of a message, of which nothing is kept."""
    with running_post(tmp_path, idle_timeout_s=0.5) as post:
        make_list(post)
        post.start_front()
        with Wire.connect(post.tcp) as idle, Wire.connect(post.unix) as halfway:
            halfway.codes(*ONE)
            halfway.send_raw(b"half a mess")
            began = time.monotonic()
            for wire in (idle, halfway):
                assert code(wire.reply()) == "421 4.4.2"
                assert wire.ends()
            assert time.monotonic() - began < 3
        assert post.queued() == 0
