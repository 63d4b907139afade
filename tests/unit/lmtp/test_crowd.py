"""How many may be connected, and who."""

from msgspec.structs import replace

from bus.messages import Flow
from lmtp import replies
from lmtp.crowd import Crowd
from lmtp.service import STOPPED_LONG_S
from tests.support.lmtp_parts import make_parts
from tests.support.loop_thread import running_server
from tests.support.waiting import wait_until
from tests.support.wire import Wire, code


def test_one_peer_too_many_is_refused_and_others_come_in() -> None:
    """Whoever leaves makes room; leaving twice makes no more."""
    crowd = Crowd(10, 2, lambda: 1)
    crowd.joined("a", "uid:33")
    crowd.joined("b", "uid:33")
    assert crowd.refuse("uid:33") is replies.TOO_MANY_OF_PEER
    assert crowd.refuse("192.0.2.1") is None
    crowd.left("a")
    crowd.left("a")
    assert crowd.refuse("uid:33") is None
    crowd.joined("c", "uid:33")
    assert crowd.refuse("uid:33") is replies.TOO_MANY_OF_PEER


def test_each_front_end_has_its_share_of_the_connections() -> None:
    """Rounded up, so that nobody is left with none."""
    fronts = [3]
    crowd = Crowd(10, 5, lambda: fronts[0])
    for number in range(4):
        assert not crowd.is_full
        crowd.joined(number, f"192.0.2.{number // 2}")
        assert (crowd.refuse("192.0.2.0") is None) == (number == 0)
    assert crowd.is_full
    assert crowd.refuse("192.0.2.9") is replies.TOO_MANY_CONNECTIONS
    fronts[0] = 1
    assert crowd.refuse("192.0.2.9") is None


def test_a_connection_too_many_is_told_421_in_place_of_the_greeting() -> None:
    """Those who are there go on, and whoever comes when one has left is let in."""
    with running_server("asyncio", max_connections_per_peer=3) as running:
        wires = [Wire.connect(running.address) for _ in range(3)]
        with Wire.connect(running.address, lhlo=False) as late:
            assert code(late.reply()) == "421 4.7.0"
            assert late.ends()
        assert wires[0].codes("NOOP", "QUIT") == ["250 2.0.0", "221 2.0.0"]
        wires[0].sock.close()
        wait_until(lambda: len(running.server._connections) == 2)
        with Wire.connect(running.address) as again:
            assert again.codes("NOOP") == ["250 2.0.0"]
        for wire in wires[1:]:
            wire.sock.close()


def test_a_full_house_turns_everybody_away_who_waits() -> None:
    """After a moment in which another front-end could have taken them; not one is left without an answer."""
    with running_server("uvloop", max_connections=10) as running:
        wires = [Wire.connect(running.address) for _ in range(10)]
        late = [Wire.connect(running.address, lhlo=False) for _ in range(30)]
        for wire in late:
            assert code(wire.reply()) == "421 4.3.2"
            assert wire.ends()
            wire.sock.close()
        for wire in wires:
            assert wire.codes("QUIT") == ["221 2.0.0"]
            wire.sock.close()
        wait_until(running.server.is_empty.is_set)
        with Wire.connect(running.address) as again:
            assert again.codes("NOOP") == ["250 2.0.0"]


def test_who_connects_while_no_mail_is_taken_for_long_is_told_421() -> None:
    """A short stop is told at MAIL only: MTAs let a site that says 421 rest for minutes."""
    parts = make_parts()
    service = parts.service
    began_s = service.monotonic()
    parts.front.flow = Flow(state="stop", reason="disk")
    service.look_around(began_s)
    service.look_around(began_s + STOPPED_LONG_S - 1)
    assert service.refuse_connection() is None
    service.look_around(began_s + STOPPED_LONG_S + 1)
    assert service.refuse_connection() is replies.NOT_NOW
    parts.front.flow = replace(parts.front.flow, state="ok", reason="")
    service.look_around(began_s + STOPPED_LONG_S + 2)
    assert service.refuse_connection() is None
