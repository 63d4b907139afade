"""Octets in flight."""

from hypothesis import given
from hypothesis import strategies as st

from lmtp.flight import RECIPIENT_OCTETS, Claim, Flight
from tests.support.lmtp_parts import Talk, begun, make_parts, stuff

MAIL = b"MAIL FROM:<anne@example.net>\r\n"
ANT = b"RCPT TO:<ant@example.org>\r\n"
MIB = 2**20


def make_claim(flight: Flight, peer: str, octets: int) -> Claim:
    """Make a claim that gathers so much and gives all of it up."""
    claim = Claim(peer)
    claim.give_up = lambda: flight.hold(claim, 0)
    flight.hold(claim, octets)
    return claim


def test_the_peer_that_holds_most_gives_way() -> None:
    """Not the one whose octets came last."""
    flight = Flight(100)
    greedy = make_claim(flight, "greedy", 80)
    modest = make_claim(flight, "modest", 15)
    flight.hold(modest, 25)
    assert (greedy.octets, modest.octets, flight.total) == (0, 25, 25)


def test_the_largest_message_of_that_peer_is_given_up() -> None:
    """One, since that is enough; a larger one of a peer that holds less stays."""
    flight = Flight(100)
    sizes = [10, 30, 20]
    greedy = [make_claim(flight, "greedy", size) for size in sizes]
    modest = make_claim(flight, "modest", 40)
    flight.hold(greedy[0], 15)
    assert [claim.octets for claim in greedy] == [15, 0, 20]
    assert modest.octets == 40


def test_what_is_on_its_way_to_the_bus_stays() -> None:
    """Others give way, or nobody does."""
    flight = Flight(100)
    published = make_claim(flight, "greedy", 90)
    published.give_up = None
    small = make_claim(flight, "modest", 20)
    assert (published.octets, small.octets) == (90, 0)
    published_too = Claim("modest")
    flight.hold(published_too, 50)
    assert flight.total == 140


def test_there_is_room_for_a_peer_that_others_give_way_to() -> None:
    """A peer that fills the mark shuts only itself out."""
    flight = Flight(100)
    greedy = make_claim(flight, "greedy", 95)
    assert flight.may_add(greedy, 5)
    assert not flight.may_add(greedy, 6)
    assert not flight.may_add(Claim("greedy"), 6)
    assert flight.may_add(Claim("modest"), 90)
    assert not flight.may_add(Claim("modest"), 95)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 60), st.booleans()), max_size=60))
def test_the_mark_is_never_passed_for_long(steps: list[tuple[int, int, bool]]) -> None:
    """Whatever is held and released, by whom: what is counted is what is there, and over the mark is only what cannot give way."""
    flight = Flight(100)
    claims = [Claim("ab"[number % 2]) for number in range(6)]

    def make_give_up(claim: Claim) -> None:
        claim.give_up = lambda: flight.hold(claim, 0)

    for number, octets, is_release in steps:
        claim = claims[number]
        if is_release:
            flight.release(claim)
        else:
            make_give_up(claim)
            flight.hold(claim, octets)
        assert flight.total == sum(each.octets for each in claims)
        assert flight.total <= 100
        assert flight._by_peer == {
            peer: held for peer in "ab" if (held := sum(each.octets for each in claims if each.peer == peer))
        }


def test_a_message_that_gave_way_is_told_each_recipient_after_its_end() -> None:
    """452 4.3.1, nothing is stored, and the session is in step."""
    parts = make_parts(max_size=MIB)
    talk = begun(parts)
    talk.send(MAIL + ANT + ANT + b"DATA\r\n" + b"x" * 1000)
    assert parts.service.flight.total == 1000 + 2 * RECIPIENT_OCTETS
    parts.service.flight.limit = 2500
    talk.send(b"y" * 1000)
    assert parts.service.flight.total == 2 * RECIPIENT_OCTETS
    assert talk.codes(b"\r\n.\r\nNOOP\r\n") == ["452 4.3.1", "452 4.3.1", "250 2.0.0"]
    assert parts.front.published == []
    assert parts.service.flight.total == 0


def test_without_room_a_transaction_is_refused_where_it_stands() -> None:
    """At MAIL by its SIZE, at RCPT, and at DATA before any octet of the message is sent."""
    parts = make_parts(max_size=MIB)
    flight = parts.service.flight
    hog = begun(parts)
    hog.send(MAIL + ANT + b"DATA\r\n" + b"x" * 5000)
    flight.limit = flight.total + 3 * RECIPIENT_OCTETS
    talk = begun(parts)
    assert talk.codes(b"MAIL FROM:<a@b> SIZE=4000\r\n" + MAIL + ANT * 4) == [
        "452 4.3.1",
        "250 2.1.0",
        *["250 2.1.5"] * 3,
        "452 4.3.1",
    ]
    flight.limit -= 1
    assert talk.codes(b"DATA\r\nRSET\r\n" + MAIL) == ["452 4.3.1", "250 2.0.0", "250 2.1.0"]


def test_nothing_is_held_when_a_session_is_over() -> None:
    """However it ends: in order, in the middle of a message, with a goodbye, while the bus is asked."""
    from lmtp import replies

    parts = make_parts()
    flight = parts.service.flight
    begun(parts).send(MAIL + ANT + b"DATA\r\n" + stuff(b"hello\r\n") + b"QUIT\r\n")
    assert flight.total == 0
    for ending in ("abandon", "goodbye"):
        talk = begun(parts)
        talk.send(MAIL + ANT + b"DATA\r\n" + b"x" * 5000)
        assert flight.total == 5000 + RECIPIENT_OCTETS
        if ending == "abandon":
            talk.dialogue.abandon()
        else:
            talk.dialogue.say_goodbye(replies.TOO_SLOW)
        assert flight.total == 0
    talk = Talk(parts, hold=True)
    talk.send(b"LHLO x\r\n" + MAIL + ANT + b"DATA\r\n" + stuff(b"hello\r\n"))
    talk.dialogue.abandon()
    assert flight.total == 7 + RECIPIENT_OCTETS  # the bus may be taking it
    talk.give()
    assert flight.total == 0
    assert len(parts.front.published) == 2


def test_each_front_end_has_its_share() -> None:
    """But always room for two messages of max_size."""
    from msgspec.structs import replace

    parts = make_parts(max_size=MIB, max_in_flight=20 * MIB)
    service = parts.service
    limits = []
    for fronts in (1, 4, 64):
        parts.front.flow = replace(parts.front.flow, fronts=fronts)
        service.look_around(0.0)
        limits.append(service.flight.limit // MIB)
    assert limits == [20, 5, 2]
