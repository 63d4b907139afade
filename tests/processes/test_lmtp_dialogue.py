"""Dialogues with the real front-end, beside a real bus and a real list store, over TCP and a unix socket, on both event loops."""

import asyncio
import smtplib
import sqlite3
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import msgspec
import pytest

from bus.client import Worker
from bus.messages import Item
from config.names import REQUEST, Instance
from tests.support.lmtp_process import Post, running_post
from tests.support.waiting import wait_until
from tests.support.wire import Address, Wire, code, make_mail, stuff

pytestmark = pytest.mark.slow
ANNE = "MAIL FROM:<anne@example.net>"
ANT = "RCPT TO:<ant@example.org>"
CLOSED = "RCPT TO:<closed@example.org>"


@pytest.fixture(scope="module", params=["uvloop", "asyncio"])
def post(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Post]:
    """A site with an open and a closed list, and one front-end."""
    folder = tmp_path_factory.mktemp("post")
    with running_post(folder, uvloop=request.param == "uvloop", max_size=1_000_000) as running:
        running.store.create_list("ant@example.org", ["generic_nonmember_action=accept"])
        running.store.create_list("closed@example.org", ["generic_nonmember_action=reject"])
        running.store.create_list(
            "small@example.org", ["generic_nonmember_action=accept", "max_message_size=300"]
        )
        running.store.add_members("closed@example.org", ["member@example.net"], "member")
        running.start_front()
        yield running


@pytest.fixture(params=["tcp", "unix"])
def address(request: pytest.FixtureRequest, post: Post) -> Address:
    """Both sockets of the front-end."""
    found: Address = getattr(post, request.param)
    return found


def test_a_post_goes_to_incoming_as_it_came(post: Post, address: Address) -> None:
    """The 250 names the item; the bus has envelope and octets."""
    mail = make_mail(body=b"..\r\n.\r\n\x00\xff" + b"x" * 100_000 + b"\r\n")
    with Wire.connect(address) as wire:
        (answer,) = wire.mail(mail, "ant@example.org")
        item_id = answer.removeprefix("250 2.0.0 Accepted ")
        wire.codes("QUIT")
    (found,) = post.bus.ask("find", id=item_id)
    assert (found["queue"], found["list_id"]) == ("incoming", "ant.example.org")
    line = next(line for line in post.lines("lmtp.accepted") if line["item_id"] == item_id)
    assert (line["reply"], line["recipient"], line["size"]) == (answer, "ant@example.org", len(mail))


def test_refusals_in_the_dialogue(post: Post, address: Address) -> None:
    """The five tests, callouts and probes: RCPT without DATA has no effect."""
    before = post.queued()
    with Wire.connect(address) as wire:
        assert wire.codes(
            ANNE, CLOSED, "RCPT TO:<nolist@example.org>", "RCPT TO:<ant@example.com>", "DATA", "RSET"
        ) == [
            "250 2.1.0",
            "550 5.7.1",
            "550 5.1.1",
            "550 5.7.1",
            "503 5.5.1",
            "250 2.0.0",
        ]
        for sender in ("", "double-bounce@mx.example.net", "member@example.net"):
            assert wire.codes(f"MAIL FROM:<{sender}>", CLOSED, "RSET") == [
                "250 2.1.0",
                "250 2.1.5",
                "250 2.0.0",
            ]
        purposes = ("-bounces+x=y.z", "-owner", "-join", "-leave", "-request")
        recipients = [f"RCPT TO:<closed{purpose}@example.org>" for purpose in purposes]
        assert wire.codes(ANNE, *recipients, "RSET")[1:-1] == ["250 2.1.5"] * len(purposes)
    assert post.queued() == before


def test_the_null_sender_is_refused_at_the_end_of_a_post(address: Address) -> None:
    """550 5.7.1, and 250 for the address that bounces go to."""
    with Wire.connect(address) as wire:
        answers = wire.mail(make_mail(), "ant@example.org", "ant-bounces@example.org", sender="")
        assert [code(each) for each in answers] == ["550 5.7.1", "250 2.0.0"]


def test_each_recipient_has_its_own_verdict(address: Address) -> None:
    """Size per list."""
    with Wire.connect(address) as wire:
        answers = wire.mail(make_mail(body=b"x" * 400 + b"\r\n"), "small@example.org", "ant@example.org")
        assert [code(each) for each in answers] == ["552 5.3.4", "250 2.0.0"]


def test_an_oversized_message_is_552_for_each_recipient(address: Address) -> None:
    """After it was read to its end; the session is in step."""
    with Wire.connect(address) as wire:
        answers = wire.mail(b"x" * 3_000_000 + b"\r\n", "ant@example.org", "ant-owner@example.org")
        assert [code(each) for each in answers] == ["552 5.3.4"] * 2
        assert wire.codes("MAIL FROM:<a@b.example> SIZE=1000001", "NOOP") == ["552 5.3.4", "250 2.0.0"]


def test_a_bare_newline_is_550_for_each_recipient(address: Address) -> None:
    """Nothing is smuggled in: what looks like a second transaction is content."""
    with Wire.connect(address) as wire:
        smuggled = b"hello\n.\nMAIL FROM:<a@b.example>\r\nRCPT TO:<ant@example.org>\r\nDATA\r\n"
        answers = wire.mail(smuggled, "ant@example.org", "ant-owner@example.org")
        assert [code(each) for each in answers] == ["550 5.6.11"] * 2
        assert wire.codes("NOOP") == ["250 2.0.0"]


def test_a_recipient_named_twice_is_one_copy_and_two_replies(post: Post, address: Address) -> None:
    """Both replies name the same item."""
    before = post.queued()
    with Wire.connect(address) as wire:
        one, two = wire.mail(make_mail(), "ant@example.org", "Ant@EXAMPLE.org")
        assert one == two
    assert post.queued() == before + 1


def test_the_same_mail_again_after_a_reply_is_another_mail(post: Post, address: Address) -> None:
    """Whoever has read our 250 and sends again, means it."""
    before, mail = post.queued(), make_mail()
    with Wire.connect(address) as wire:
        assert wire.mail(mail, "ant@example.org") != wire.mail(mail, "ant@example.org")
    assert post.queued() == before + 2


def test_a_whole_session_in_one_segment(address: Address) -> None:
    """And one octet at a time."""
    lines = b"MAIL FROM:<a@b.example>\r\nRCPT TO:<ant@example.org>\r\nDATA\r\n"
    session = (lines + stuff(make_mail())) * 2 + b"QUIT\r\n"
    for octets in ([session], [session[at : at + 1] for at in range(len(session))]):
        with Wire.connect(address) as wire:
            for each in octets:
                wire.send_raw(each)
            got = [code(wire.reply()) for _ in range(9)]
            assert got == ["250 2.1.0", "250 2.1.5", "354", "250 2.0.0"] * 2 + ["221 2.0.0"]
            assert wire.ends()


def test_a_list_made_a_moment_ago_is_never_refused(post: Post, address: Address) -> None:
    """Nor a member: the store is asked before each 5xx."""
    kind = "unix" if isinstance(address, Path) else "tcp"
    with Wire.connect(address) as wire:
        wire.codes(ANNE)
        for number in range(5):
            name = f"new{number}{kind}{id(post)}@example.org"
            post.store.create_list(name, ["generic_nonmember_action=accept"])
            assert wire.codes(f"RCPT TO:<{name}>") == ["250 2.1.5"]


def test_a_locked_store_is_451_for_refusals_and_nothing_for_others(post: Post, address: Address) -> None:
    """Within the two seconds that a client waits for the lock."""
    file = post.settings.lists.store.removeprefix("sqlite:///")
    locker = sqlite3.connect(file, isolation_level=None)
    with Wire.connect(address) as wire:
        assert wire.codes(ANNE) == ["250 2.1.0"]
        locker.execute("BEGIN EXCLUSIVE")
        try:
            assert wire.codes("RCPT TO:<nolist@example.org>", ANT) == ["451 4.3.0", "250 2.1.5"]
        finally:
            locker.execute("ROLLBACK")
            locker.close()
        wait_until(lambda: wire.codes("RCPT TO:<nolist@example.org>") == ["550 5.1.1"])


def test_smtplib_delivers(post: Post) -> None:
    """Python's own client, one recipient a transaction (it reads one reply)."""
    before, mail = post.queued(), make_mail()
    with smtplib.LMTP(*post.tcp, timeout=10) as client:
        assert client.sendmail("anne@example.net", ["ant@example.org"], mail) == {}
    with smtplib.LMTP(str(post.unix), timeout=10) as client:
        assert client.sendmail("anne@example.net", ["ant@example.org"], make_mail()) == {}
        with pytest.raises(smtplib.SMTPRecipientsRefused):
            client.sendmail("anne@example.net", ["closed@example.org"], make_mail())
    assert post.queued() == before + 2


def test_the_runner_gets_envelope_and_octets(post: Post) -> None:
    """By SHA-256, with who handed it in."""
    mail = make_mail(body=b"\x00\xff.\r\n")
    with Wire.connect(post.unix) as wire:
        (answer,) = wire.mail(mail, "ant-request@example.org")

    async def take() -> tuple[Item, bytes]:
        async with Worker(post.settings, "request-1", Instance("request-1:1"), REQUEST, 1, 60) as worker:
            lease = await anext(worker)
            assert await lease.ack()
            return lease.item, lease.content

    item, content = asyncio.run(asyncio.wait_for(take(), 10))
    assert sha256(content).digest() == sha256(mail).digest()
    assert item.id == answer.rpartition(" ")[2]
    assert (item.reverse_path, item.recipient) == ("anne@example.net", "ant-request@example.org")
    client = msgspec.msgpack.decode(item.args["client"])
    assert (client["addr"], client["lhlo"]) == ("unix", "client.example.net")
    assert client["session"] == post.lines("lmtp.accepted")[-1]["session"]
