"""The RCPT policy of the real front-end beside a real list store: what it refuses, and how soon it knows better."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from msgspec.structs import replace

from config.names import ItemId, ListId
from lists.secret import load_site_key
from lists.tokens import make_token
from tests.support.lmtp_process import Post, running_post
from tests.support.waiting import wait_until
from tests.support.wire import Wire, code, make_mail

pytestmark = pytest.mark.slow
CLOSED = "RCPT TO:<closed@example.org>"
MEMBER = "member@example.net"
STRANGER = "stranger@example.net"


@pytest.fixture(scope="module")
def post(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Post]:
    """A site with a closed list, an open one and a domain of two names."""
    with running_post(tmp_path_factory.mktemp("post"), guesses_per_client=0, guesses_per_peer=0) as running:
        site = replace(running.settings.site, domain_aliases={"old.example": "example.org"})
        running.settings = replace(running.settings, site=site)
        running.store.create_list("closed@example.org", ["generic_nonmember_action=reject"])
        running.store.create_list("ant@example.org", ["generic_nonmember_action=accept"])
        running.store.add_members("closed@example.org", [MEMBER])
        running.start_front()
        yield running


@pytest.fixture
def wire(post: Post) -> Iterator[Wire]:
    with Wire.connect(post.tcp) as made:
        yield made


def asked(wire: Wire, sender: str, recipient: str = CLOSED) -> str:
    return wire.codes(f"MAIL FROM:<{sender}>", recipient, "RSET")[1]


@pytest.mark.parametrize(
    "sender",
    [
        MEMBER,
        "SRS0=6nHz=Z7=example.net=member@forward.example",
        "SRS1=2w3F=first.example==6nHz=Z7=example.net=member@second.example",
        "prvs=0123456789=member@example.net",
        "prvs=member=0123456789@example.net",
        "member+closed=example.org@example.net",
    ],
)
def test_a_member_is_one_behind_forwarders_and_tags(wire: Wire, sender: str) -> None:
    assert asked(wire, sender) == "250 2.1.5"
    assert asked(wire, sender.replace("member", "stranger")) == "550 5.7.1"


def test_a_token_is_checked_without_a_look_up(post: Post, wire: Wire) -> None:
    """Right, wrong, another list's; and everything at -bounces."""
    key, closed = load_site_key(post.settings), ListId("closed.example.org")
    token = make_token(key, "confirm", ItemId("0" * 32), closed, STRANGER)
    for name, expected in (
        (f"closed-confirm+{token}@example.org", "250 2.1.5"),
        (f"CLOSED-CONFIRM+{token.upper()}@OLD.example", "250 2.1.5"),
        (f"closed-confirm+{token[:-1]}1@example.org", "550 5.1.1"),
        (f"ant-confirm+{token}@example.org", "550 5.1.1"),
        (f"closed-confirm+{'a' * 40}@example.org", "550 5.1.1"),
        (f"closed-bounces+{'a' * 40}@example.org", "250 2.1.5"),
        ("closed-confirm@example.org", "250 2.1.5"),
    ):
        assert asked(wire, STRANGER, f"RCPT TO:<{name}>") == expected
    assert token not in "".join(str(line) for line in post.lines("lmtp.refused")).lower()


def test_one_list_under_two_domains_is_one_recipient(post: Post, wire: Wire) -> None:
    """One item for both names, and no second one when the mail comes again after a lost reply."""
    before = post.queued()
    names = ("ant@example.org", "ANT@old.example", '"ant"@Old.Example')
    answers = wire.mail(make_mail(), *names, sender=STRANGER)
    assert len(answers) == 3
    assert {code(each) for each in answers} == {"250 2.0.0"}
    assert len(set(answers)) == 1
    assert post.queued() == before + 1


@pytest.mark.parametrize(
    "recipient", ["Postmaster", "postmaster@example.org", "abuse@OLD.example", "postroom@example.org"]
)
def test_the_mailboxes_of_the_site_are_taken_from_everybody(post: Post, wire: Wire, recipient: str) -> None:
    """RFC 5321 4.5.1, RFC 2142 4 and 6; also of the null sender."""
    before = post.queued("owner")
    (answer,) = wire.mail(make_mail(), recipient, sender="")
    assert code(answer) == "250 2.0.0"
    assert post.queued("owner") == before + 1


def test_a_ban_holds_within_a_second_and_ends_at_once(post: Post, wire: Wire) -> None:
    """A ban makes a 5xx of a 250, so it waits for the next look at the store; lifting it makes a 250 of a 5xx, which asks first."""
    assert asked(wire, "evil@spam.example", "RCPT TO:<ant@example.org>") == "250 2.1.5"
    post.store.add_ban(r"^.*@(.*\.)?spam\.example$", "ant@example.org")
    began = time.monotonic()
    wait_until(lambda: asked(wire, "evil@spam.example", "RCPT TO:<ant@example.org>") == "550 5.7.1")
    assert time.monotonic() - began < 1.0
    assert (
        asked(wire, "SRS0=h=t=spam.example=evil@forward.example", "RCPT TO:<ant@example.org>") == "550 5.7.1"
    )
    post.store.remove_ban(r"^.*@(.*\.)?spam\.example$", "ant@example.org")
    assert asked(wire, "evil@spam.example", "RCPT TO:<ant@example.org>") == "250 2.1.5"


def test_an_address_linked_a_moment_ago_is_not_refused(post: Post, wire: Wire) -> None:
    assert asked(wire, "member@work.example") == "550 5.7.1"
    post.store.link_addresses(MEMBER, "member@work.example")
    assert asked(wire, "member@work.example") == "250 2.1.5"
    post.store.unlink_addresses(MEMBER, "member@work.example")
    wait_until(lambda: asked(wire, "member@work.example") == "550 5.7.1", 1.5)


def test_a_rule_taken_away_a_moment_ago_refuses_nobody(post: Post, wire: Wire) -> None:
    """After the dot the store is asked before a 5xx, as at RCPT; nobody to ask is 451 for whom it would have refused, and for no other."""
    notice = b"Auto-Submitted: auto-replied\r\n" + make_mail()
    post.store.create_list("calm@example.org", ["generic_nonmember_action=accept"])

    def told() -> list[str]:
        return [code(reply) for reply in wire.mail(notice, "calm@example.org", "ant@example.org")]

    for _ in range(3):
        post.store.set_options("calm@example.org", ["auto_submitted_action=reject"])
        wait_until(lambda: told() == ["550 5.7.1", "250 2.0.0"])
        post.store.set_options("calm@example.org", ["auto_submitted_action=accept"])
        assert told() == ["250 2.0.0", "250 2.0.0"]
    post.store.set_options("calm@example.org", ["auto_submitted_action=reject"])
    wait_until(lambda: told() == ["550 5.7.1", "250 2.0.0"])
    with closing(sqlite3.connect(Path(post.settings.site.var) / "lists.db")) as other:
        other.execute("BEGIN EXCLUSIVE")
        assert told() == ["451 4.3.0", "250 2.0.0"]
        other.rollback()
    wait_until(lambda: told() == ["550 5.7.1", "250 2.0.0"])


def test_a_client_that_an_mta_names_has_a_limit_of_its_own(tmp_path: Path) -> None:
    """What one client asks for is not another's fault, and the MTA itself goes on."""
    with running_post(tmp_path, guesses_per_client=5) as running:
        running.store.create_list("closed@example.org", ["generic_nonmember_action=reject"])
        running.start_front()
        with Wire.connect(running.unix) as wire:

            def guess(addr: str) -> str:
                return wire.codes(f"XFORWARD ADDR={addr}", f"MAIL FROM:<{STRANGER}>", CLOSED, "RSET")[2]

            assert [guess("203.0.113.9") for _ in range(7)] == ["550 5.7.1"] * 5 + ["451 4.7.1"] * 2
            assert guess("203.0.113.10") == "550 5.7.1"
            assert [guess(f"IPV6:2001:db8::{number}") for number in range(7)][4:6] == [
                "550 5.7.1",
                "451 4.7.1",
            ]
            assert asked(wire, STRANGER) == "550 5.7.1"


def test_guessing_ends_in_451_for_everybody(tmp_path: Path) -> None:
    """The same octets for a member and a stranger, in a new connection too; open lists go on."""
    with running_post(tmp_path, guesses_per_peer=20) as running:
        running.store.create_list("closed@example.org", ["generic_nonmember_action=reject"])
        running.store.create_list("ant@example.org", ["generic_nonmember_action=accept"])
        running.store.add_members("closed@example.org", [MEMBER])
        running.start_front()
        with Wire.connect(running.tcp) as wire:
            guessed = [asked(wire, f"guess{number}@example.net") for number in range(30)]
            assert guessed[:20] == ["550 5.7.1"] * 20
            assert guessed[20:] == ["451 4.7.1"] * 10
        with Wire.connect(running.tcp) as wire:
            told = []
            for sender in (MEMBER, STRANGER):
                wire.send(f"MAIL FROM:<{sender}>", CLOSED, "RSET")
                told.append(wire.replies(3)[1])
            assert told[0] == told[1]
            assert told[0].startswith("451 4.7.1")
            assert asked(wire, STRANGER, "RCPT TO:<ant@example.org>") == "250 2.1.5"
            assert asked(wire, "") == "250 2.1.5"
