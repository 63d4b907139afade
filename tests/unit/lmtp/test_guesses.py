"""Asking who is a member is limited, and the limit itself tells nothing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmtp.client import Client
from lmtp.guesses import MAX_BUCKETS, WINDOW_S, Guesses, guesser_of
from lmtp.peers import Peer
from tests.support.lmtp_parts import LHLO, Talk, make_parts

MEMBER = b"MAIL FROM:<member@example.net>\r\n"
STRANGER = b"MAIL FROM:<stranger@example.net>\r\n"
CLOSED = b"RCPT TO:<closed@example.org>\r\n"
ANT = b"RCPT TO:<ant@example.org>\r\n"
RSET = b"RSET\r\n"
ENOUGH = 100


def make_client(addr: str = "", peer: str = "192.0.2.1") -> Client:
    client = Client(None, "s-1", Peer(peer))  # type: ignore[arg-type]  # no test here waits for the loop
    client.forwarded_addr = addr
    return client


def asked(talk: Talk, sender: bytes, recipient: bytes) -> str:
    return talk.codes(sender + recipient + RSET)[1]


def test_beyond_the_limit_members_and_strangers_read_the_same() -> None:
    talk = Talk(make_parts(guesses_per_peer=3))
    talk.send(LHLO)
    assert [asked(talk, STRANGER, CLOSED) for _ in range(3)] == ["550 5.7.1"] * 3
    member, stranger = (talk.send(sender + CLOSED + RSET) for sender in (MEMBER, STRANGER))
    assert member == stranger
    assert b"\r\n451 4.7.1 " in member


def test_what_tells_nothing_goes_on() -> None:
    """Open lists, unknown ones, callouts."""
    talk = Talk(make_parts(guesses_per_peer=1))
    talk.send(LHLO)
    asked(talk, STRANGER, CLOSED)
    assert asked(talk, STRANGER, ANT) == "250 2.1.5"
    assert asked(talk, STRANGER, b"RCPT TO:<nobody@example.org>\r\n") == "550 5.1.1"
    assert asked(talk, b"MAIL FROM:<>\r\n", CLOSED) == "250 2.1.5"
    assert asked(talk, MEMBER, CLOSED) == "451 4.7.1"


def test_a_member_empties_no_bucket() -> None:
    talk = Talk(make_parts(guesses_per_peer=1))
    talk.send(LHLO)
    assert [asked(talk, MEMBER, CLOSED) for _ in range(10)] == ["250 2.1.5"] * 10


def test_connecting_again_does_not_help_and_the_log_says_why() -> None:
    parts = make_parts(guesses_per_peer=1)
    for expected in ("550 5.7.1", "451 4.7.1"):
        talk = Talk(parts)
        talk.send(LHLO)
        assert asked(talk, STRANGER, CLOSED) == expected
    assert [line["rule"] for line in parts.events("lmtp.refused")] == ["not-a-member", "guess-limit"]


def test_zero_is_no_limit() -> None:
    guesses = Guesses(0, 0, lambda: 1)
    for addr in ("", "203.0.113.9"):
        for _ in range(100):
            guesses.note(make_client(addr), 0.0)
        assert guesses.may_ask(make_client(addr), 0.0)


def test_front_ends_share_the_limit() -> None:
    """Each has its part, whoever comes or goes meanwhile; a part is never nothing."""
    fronts = 4
    guesses = Guesses(8, 2, lambda: fronts)
    stranger = make_client("203.0.113.9")
    assert told(guesses, stranger) == 2
    assert told(guesses, make_client()) == 1
    fronts = 1
    assert told(guesses, stranger) == 0
    assert told(guesses, make_client("203.0.113.10")) == 8
    assert told(Guesses(0, 0, lambda: 4), stranger) == ENOUGH


def told(guesses: Guesses, client: Client) -> int:
    """Ask at one moment until it is too often; return how often it was answered."""
    for count in range(ENOUGH):
        if not guesses.may_ask(client, 0.0):
            return count
        guesses.note(client, 0.0)
    return ENOUGH


def test_one_client_of_an_mta_takes_nothing_from_another_or_from_the_mta() -> None:
    guesses = Guesses(1, 1, lambda: 1)
    guesses.note(make_client("203.0.113.9"), 0.0)
    assert not guesses.may_ask(make_client("203.0.113.9"), 0.0)
    assert guesses.may_ask(make_client("203.0.113.10"), 0.0)
    assert guesses.may_ask(make_client(), 0.0)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8::1", "2001:db8::ffff:1", True),  # one /64
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("203.0.113.9", "203.0.113.10", False),
        ("127.0.0.1", "", True),  # written on the MTA's own host
        ("::1", "", True),
    ],
)
def test_clients_are_told_apart(one: str, other: str, same: bool) -> None:
    assert (guesser_of(make_client(one)) == guesser_of(make_client(other))) is same


@given(limit=st.integers(1, 200), pauses=st.lists(st.floats(0, 600), max_size=300))
def test_never_more_than_twice_the_limit_in_an_hour_and_always_some(limit: int, pauses: list[float]) -> None:
    """A full bucket and what has filled up meanwhile."""
    guesses, client, now_s = Guesses(limit, limit, lambda: 1), make_client(), 1000.0
    told: list[float] = []
    for pause in pauses:
        now_s += pause
        if guesses.may_ask(client, now_s):
            guesses.note(client, now_s)
            told.append(now_s)
    for first in told:
        assert sum(first <= at <= first + WINDOW_S for at in told) <= 2 * limit
    assert guesses.may_ask(client, now_s + WINDOW_S)


def test_a_flood_of_clients_takes_no_more_memory() -> None:
    guesses = Guesses(1, 1, lambda: 1)
    for number in range(MAX_BUCKETS + 10):
        guesses.note(make_client(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"), 0.0)
    assert len(guesses._full_at_s) == MAX_BUCKETS
    assert guesses.may_ask(make_client("10.0.0.0"), 0.0)
