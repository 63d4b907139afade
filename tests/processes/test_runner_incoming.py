"""Incoming and owner through real processes: verdicts, held posts, owners, and a list that changed a moment ago."""

import asyncio
import contextlib
import sqlite3
from pathlib import Path

import msgspec
import pytest

from config.names import INCOMING, Instance, id_about
from config.settings import OutgoingSettings
from lists.address import Destination
from lists.directory import Directory
from lists.policy import Refused
from lists.posts import Post
from runners.incoming import Incoming
from runners.outcome import Ack
from runners.site import Site
from tests.support.bus_process import make_item, wait_until
from tests.support.runners import RunnerSite, wait_for_number
from tests.support.sink import Sink

pytestmark = pytest.mark.slow

MAIL = b"From: Zoe <zoe@example.net>\r\nSubject: Hello\r\nMessage-ID: <1@example.net>\r\n\r\nBody\r\n"


def make_site(folder: Path, sink: Sink) -> RunnerSite:
    return RunnerSite(folder, outgoing=OutgoingSettings(smtp=sink.address))


def test_a_held_post_waits_for_a_moderator_and_goes_out_as_it_came(tmp_path: Path) -> None:
    with Sink() as sink, make_site(tmp_path, sink) as site:
        ant = site.create_list(
            "ant@example.org",
            ["anne@example.net"],
            settings=["generic_nonmember_action=hold", "respond_to_post_requests=no"],
        )
        site.start("incoming")
        site.start("outgoing")
        site.post("ant@example.org", MAIL, reverse_path="zoe@example.net")
        wait_until(lambda: site.bus.queue("incoming")["held"] == 1)
        (held,) = site.store.held()
        assert (held.reason, held.subject, held.reverse_path) == (
            "generic-nonmember-action",
            "Hello",
            "zoe@example.net",
        )
        assert site.store.held_post(held.id)[1] == MAIL
        args = {
            key: msgspec.Raw(msgspec.msgpack.encode(value))
            for key, value in (("held", held.id), ("act", "accept"))
        }
        for _ in range(2):  # the second order is the same item
            item = make_item(list_id=ant, id=id_about(f"held:{held.id}:accept"), args=args)
            site.publish(item, b"")
        wait_until(sink.recipients)
        site.wait_empty("incoming", "outgoing")
        assert sink.recipients() == ["anne@example.net"]
        assert sink.transactions[0].content.endswith(b"\r\n\r\nBody\r\n")
        assert site.store.held() == ()


def test_a_held_post_that_is_discarded_goes_nowhere(tmp_path: Path) -> None:
    with Sink() as sink, make_site(tmp_path, sink) as site:
        ant = site.create_list(
            "ant@example.org",
            ["anne@example.net"],
            settings=["emergency=true", "respond_to_post_requests=no"],
        )
        site.start("incoming")
        site.post("ant@example.org", MAIL)
        (held,) = wait_until(site.store.held)
        args = {
            key: msgspec.Raw(msgspec.msgpack.encode(value))
            for key, value in (("held", held.id), ("act", "discard"))
        }
        site.publish(make_item(list_id=ant, args=args), b"")
        wait_until(lambda: not site.store.held())
        site.wait_empty("incoming")
        assert site.bus.queue("outgoing")["produced"] == 0


@pytest.mark.parametrize("action", ["reject", "discard"])
def test_a_post_that_a_rule_refuses_ends_with_a_line_that_names_the_rule(tmp_path: Path, action: str) -> None:
    with Sink() as sink, make_site(tmp_path, sink) as site:
        site.create_list(
            "ant@example.org", ["anne@example.net"], settings=[f"generic_nonmember_action={action}"]
        )
        site.start("incoming")
        site.post("ant@example.org", MAIL, reverse_path="zoe@example.net")
        wait_until(lambda: site.bus.queue("incoming")["done"] == 1)
        (line,) = site.lines(f"post.{action}ed")
        assert line["rule"] == "generic-nonmember-action"
        assert line["list_id"] == "ant.example.org"


def test_a_loop_ends_although_another_list_was_in_between(tmp_path: Path) -> None:
    with Sink() as sink, make_site(tmp_path, sink) as site:
        site.create_list("ant@example.org", ["bee@example.org"])
        site.create_list("bee@example.org", ["ant@example.org"])
        site.start("incoming")
        site.start("outgoing")
        site.post("ant@example.org", MAIL)
        for number, address in ((1, "bee@example.org"), (2, "ant@example.org")):
            wait_for_number(lambda: len(sink.transactions), number)
            site.post(address, sink.transactions[-1].content)  # as the MTA would bring it back
        wait_until(lambda: site.lines("post.discarded"))
        assert site.lines("post.discarded")[0]["rule"] == "loop"
        assert len(sink.transactions) == 2


def test_a_member_added_a_moment_ago_gets_the_next_post(tmp_path: Path) -> None:
    with Sink() as sink, make_site(tmp_path, sink) as site:
        site.create_list("ant@example.org")
        site.start("incoming")
        site.start("outgoing")
        site.post("ant@example.org", MAIL)
        wait_until(lambda: site.bus.queue("incoming")["done"] == 1)
        assert site.lines("item.handled")[0]["reason"] == "no members"
        site.store.add_members("ant.example.org", ["anne@example.net"])
        site.post("ant@example.org", MAIL)
        wait_until(sink.recipients)
        assert sink.recipients() == ["anne@example.net"]


def test_odd_posts_are_held_or_go_out_and_stop_nobody(tmp_path: Path) -> None:
    odd = [
        b"",
        b"no header at all\r\n",
        b"From: a@b\r\n\r\n\x00\x00\r\n",
        b"Subject: gr\xfc\xdfe\r\n\r\n" + b"x" * 100_000 + b"\r\n",
        b"From: " + b"(" * 5000 + b"\r\n\r\nx\r\n",
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\n"
        + b"--b\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n" * 1500,
        b"A: b\r\n" * 60_000 + b"\r\nx\r\n",
    ]
    with Sink() as sink, make_site(tmp_path, sink) as site:
        site.create_list("ant@example.org", ["anne@example.net"], settings=["subject_prefix=[ant] "])
        site.start("incoming")
        site.start("outgoing")
        for content in odd:
            site.post("ant@example.org", content)
        site.post("ant@example.org", MAIL)
        wait_until(lambda: len(sink.transactions) == len(odd))
        site.wait_empty("incoming", "outgoing")
        assert not any(transaction.bare for transaction in sink.transactions)
        assert [held.reason for held in site.store.held()] == ["header-too-long"]
        assert site.shunts() == []


def test_owner_mail_goes_to_owners_who_do_not_route_back_to_us(tmp_path: Path) -> None:
    with Sink() as sink, make_site(tmp_path, sink) as site:
        site.create_list("bee@example.org")
        site.create_list(
            "ant@example.org", owners=["bee@example.org", "olga@example.net", "ant-owner@example.org"]
        )
        site.store.add_members("ant.example.org", ["mia@example.net"], "moderator")
        site.start("owner")
        site.start("outgoing")
        site.post("ant-owner@example.org", MAIL, "owner", list_id="ant.example.org")
        (transaction,) = wait_until(lambda: list(sink.transactions))
        assert sorted(transaction.accepted) == ["mia@example.net", "olga@example.net"]
        assert transaction.reverse_path == "ant-bounces@example.org"
        site.post("ant-owner@example.org", transaction.content, "owner", list_id="ant.example.org")
        (shunt,) = wait_until(site.shunts)
        assert shunt["reason"] == "loop"


def test_without_an_owner_the_sites_owner_gets_it_and_without_him_a_person_must_look(tmp_path: Path) -> None:
    with Sink() as sink, make_site(tmp_path, sink) as site:
        site.create_list("ant@example.org", owners=["ant@example.org"])
        owner = site.start("owner")
        site.start("outgoing")
        site.post("ant-owner@example.org", MAIL, "owner", list_id="ant.example.org")
        (shunt,) = wait_until(site.shunts)
        assert shunt["reason"] == "no-owner"
        site.stop(owner)
        changed = msgspec.structs.replace(site.settings.site, owner="root@example.net")
        site.settings = msgspec.structs.replace(site.settings, site=changed)
        site.start("owner")
        site.post("postmaster@example.org", MAIL, "owner", list_id="")
        (transaction,) = wait_until(lambda: list(sink.transactions))
        assert transaction.accepted == ("root@example.net",)
        assert transaction.reverse_path == ""


def test_a_second_run_of_a_held_post_says_what_the_first_said(tmp_path: Path) -> None:
    """Whatever has changed since: else the post would be held and sent."""
    with Sink() as sink, make_site(tmp_path, sink) as site:
        ant = site.create_list("ant@example.org", ["anne@example.net"], settings=["emergency=true"])
        item = make_item(list_id=ant, reverse_path="anne@example.net")
        runner = Incoming(Site(site.settings, Instance("incoming-1:test")))
        first = asyncio.run(runner.handle(item, MAIL))
        site.store.set_options(ant, ["emergency=false"])
        second = asyncio.run(runner.handle(item, MAIL))
        runner.site.close()
        assert isinstance(first, Ack)
        assert isinstance(second, Ack)
        assert (second.held, second.reason) == (True, first.reason)
        assert list(second.outputs) == list(first.outputs)
        assert len(site.store.held()) == 1


HEADER_RULES = [
    'header_matches=["X-Spam: y -> reject", "X-Odd: y -> hold"]',
    "no_subject_action=reject",
    "max_message_size=400",
]
POSTS = [
    MAIL,
    MAIL.replace(b"Subject: Hello\r\n", b""),
    MAIL.replace(b"Subject: Hello", b"X-spam: =?utf-8?q?y?=\r\nSubject: Hello"),
    b"X-Odd: y\r\n" + MAIL,
    b"Auto-Submitted: auto-generated\r\n" + MAIL,
    b"X-BeenThere: ant@example.org\r\n" + MAIL.replace(b"Hello", b""),
    MAIL + b"x" * 400,
    MAIL.replace(b"zoe@", b"anne@"),
    b"From: evil@example.net\r\n" + MAIL,
    b"",
]
SETTINGS = [
    [],
    HEADER_RULES,
    ["generic_nonmember_action=reject", "sender_check=message"],
    ["auto_submitted_action=reject", "generic_nonmember_action=accept"],
    ["malformed_from_action=reject", "member_moderation_action=reject"],
]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_what_incoming_rejects_was_refused_after_the_dot(tmp_path: Path, settings: list[str]) -> None:
    """From the same store, by the same rule, and nothing else was: the front-end's directory beside the real handler."""
    with Sink() as sink, make_site(tmp_path, sink) as site:
        ant = site.create_list("ant@example.org", ["anne@example.net"], settings=settings)
        site.store.add_ban("evil@example.net", ant)
        runner, directory = (
            Incoming(Site(site.settings, Instance("incoming-1:test"))),
            Directory(site.settings),
        )
        directory.load()
        destination = Destination(ant, INCOMING, "post", "", "ant@example.org")
        for sender in ("anne@example.net", "zoe@example.net", "evil@example.net", ""):
            for content in POSTS:
                told = directory.judge_data(destination, Post(sender, content))
                done = asyncio.run(runner.handle(make_item(list_id=ant, reverse_path=sender), content))
                assert isinstance(done, Ack)
                refused = (
                    done.reason.removeprefix("rejected: ") if done.reason.startswith("rejected: ") else None
                )
                assert (told.rule if isinstance(told, Refused) else None) == refused
        directory.close()
        runner.site.close()


def test_a_rule_that_raises_is_tried_again_and_sends_nothing_out(tmp_path: Path) -> None:
    """Here on an action that only a later version knows: it is never taken for an accept, and other lists are not held up."""
    with Sink() as sink, make_site(tmp_path, sink) as site:
        site.create_list("ant@example.org", ["anne@example.net"])
        with (
            contextlib.closing(
                sqlite3.connect(site.settings.lists.store.removeprefix("sqlite:///"))
            ) as store,
            store,
        ):
            store.execute(
                "UPDATE membership SET moderation_action = 'later' WHERE address_key = 'anne@example.net'"
            )
        site.start("incoming")
        site.start("outgoing")
        site.post("ant@example.org", MAIL.replace(b"zoe@", b"anne@"))
        wait_until(lambda: site.bus.queue("incoming")["deferred"] == 1)
        (line,) = site.lines("item.failed")
        assert "later" in line["error"]
        site.create_list("bee@example.org", ["bart@example.net"])
        site.post("bee@example.org", MAIL, reverse_path="bart@example.net")
        wait_until(sink.recipients)
        assert sink.recipients() == ["bart@example.net"]


@pytest.mark.parametrize("members", [2, 4500], ids=["few members", "acks of 300 KiB"])
def test_posts_of_one_list_that_are_handled_together_are_settled_in_order(
    tmp_path: Path, members: int
) -> None:
    """Held and accepted ones mixed; each of the second kind carries its whole list of recipients, one at a time."""
    with Sink() as sink, make_site(tmp_path, sink) as site:
        addresses = [f"m{number:05}@{'x' * 50}.example.net" for number in range(members)]
        site.create_list(
            "ant@example.org",
            addresses,
            settings=[
                "generic_nonmember_action=accept",
                "header_matches=X-Odd: yes -> hold",
                "respond_to_post_requests=no",
            ],
        )
        contents = [b"X-Odd: yes\r\n" * (number % 4 == 1) + MAIL for number in range(12)]
        items = [site.post("ant@example.org", content) for content in contents]
        site.start("incoming")
        wait_for_number(lambda: len(site.lines("item.handled")), len(items))
        lines = site.lines("item.handled")
        assert [line["item_id"] for line in lines] == [item.id for item in items]
        assert all(line["settled"] for line in lines)
        slices = [line["outputs"] for line in lines if not line["reason"].startswith("held")]
        assert slices == [1 + members // 501] * 9
        assert len(site.store.held()) == 3
        assert site.bus.queue("outgoing")["ready"] == sum(slices)
