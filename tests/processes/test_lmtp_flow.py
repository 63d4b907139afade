"""What the bus tells front-ends about what may come in, and how clients notice."""

import time
from pathlib import Path

import pytest
from msgspec.structs import replace

from tests.support.bus_process import BusProcess
from tests.support.lmtp_process import Post, running_post
from tests.support.waiting import wait_until
from tests.support.wire import Wire, code, make_mail, stuff

pytestmark = pytest.mark.slow
ANNE = "MAIL FROM:<anne@example.net>"
ANT = "RCPT TO:<ant@example.org>"


def start_bus(post: Post, failpoints: str = "", **bus: object) -> None:
    """Start the bus with other settings of its table."""
    settings = replace(post.settings, bus=replace(post.settings.bus, **bus))
    post.bus = BusProcess(settings)
    post.bus.start(failpoints)


def make_list(post: Post) -> None:
    """Make the list that takes everybody."""
    post.store.create_list("ant@example.org", ["generic_nonmember_action=accept"])


def test_without_memory_mail_is_451_and_comes_in_again_with_it(tmp_path: Path) -> None:
    """No machine has a pebibyte left."""
    with running_post(tmp_path, bus=False) as post:
        make_list(post)
        start_bus(post, min_memory=2**50)
        post.start_front()
        with Wire.connect(post.tcp) as wire:
            wait_until(lambda: wire.codes(ANNE, "RSET")[0] == "451 4.3.2")
            flow = post.bus.ask("status")["flow"]
            assert (flow["state"], flow["reason"]) == ("stop", "memory")
            post.bus.stop()
            start_bus(post)
            wait_until(lambda: wire.codes(ANNE, "RSET")[0] == "250 2.1.0")


def test_a_disk_that_falls_behind_delays_mail_and_only_mail(tmp_path: Path) -> None:
    """A commit that takes 4 s of the 5 that stop everything: MAIL is answered later and later, NOOP at once, and all is stored."""
    with running_post(tmp_path, bus=False) as post:
        make_list(post)
        start_bus(post, "bus.commit.before=sleep:4")
        post.start_front()
        with Wire.connect(post.tcp) as slow, Wire.connect(post.tcp) as other:
            slow.codes(ANNE, ANT, "DATA")
            slow.send_raw(stuff(make_mail()))

            def answered_in_s(*commands: str) -> float:
                began = time.monotonic()
                other.codes(*commands)
                return time.monotonic() - began

            took_s = wait_until(lambda: (took := answered_in_s(ANNE, "RSET")) > 0.2 and took, every_s=0.05)
            assert took_s < 1.5
            assert answered_in_s("NOOP") < 0.2
            assert code(slow.reply()) == "250 2.0.0"


def test_front_ends_share_the_limit_of_connections(tmp_path: Path) -> None:
    """Ten in all, whichever process takes them; who is one too many hears so from either."""
    with running_post(tmp_path, max_connections=10) as post:
        post.start_front()
        post.start_front()
        wait_until(lambda: post.bus.ask("status")["flow"]["fronts"] == 2)
        wires = [Wire.connect(post.tcp, lhlo=False) for _ in range(30)]
        greetings = [wire.reply()[:9] for wire in wires]
        for wire in wires:
            wire.sock.close()
        assert greetings.count("421 4.3.2") == 20


def test_front_ends_share_the_limit_of_guesses(tmp_path: Path) -> None:
    """Nine in all, however many connections a guesser makes and wherever they end up."""
    with running_post(tmp_path, guesses_per_peer=9) as post:
        post.store.create_list("closed@example.org", ["generic_nonmember_action=reject"])
        for _ in range(3):
            post.start_front()
        wait_until(lambda: post.bus.ask("status")["flow"]["fronts"] == 3)
        wires = [Wire.connect(post.tcp) for _ in range(12)]
        told = [
            wire.codes(ANNE, "RCPT TO:<closed@example.org>", "RSET")[1] for _ in range(10) for wire in wires
        ]
        for wire in wires:
            wire.sock.close()
        assert set(told[-len(wires) :]) == {"451 4.7.1"}
        assert told.count("550 5.7.1") in (3, 6, 9)
