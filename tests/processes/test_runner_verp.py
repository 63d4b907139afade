"""A post that goes out with VERP: each has one copy under a reverse-path of their own, and when something dies only those who are named have two."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from bus.messages import Item
from config.clock import Clock
from config.names import ListId
from config.settings import OutgoingSettings
from lists.secret import load_site_key
from lists.tokens import read_verp
from runners.slices import VERP_TOGETHER
from tests.support.bus_process import wait_until
from tests.support.runners import RunnerSite, wait_for_number
from tests.support.sink import Rule, Sink

pytestmark = pytest.mark.slow

ANT = ListId("ant.example.org")
MAIL = b"From: Anne <anne@example.net>\r\nSubject: Hello\r\n\r\nBody\r\n"


def members(number: int) -> list[str]:
    return [f"m{index:04}@example.net" for index in range(number)]


def make_site(folder: Path, sink: Sink, number: int, **options: Any) -> RunnerSite:
    site = RunnerSite(folder, outgoing=OutgoingSettings(smtp=sink.address, **options))
    site.__enter__()
    site.create_list("ant@example.org", members(number), settings=["verp_delivery_interval=1"])
    return site


def named(site: RunnerSite, post: Item, number: int) -> set[str]:
    """Return whom the journal names as perhaps having the mail."""
    found = [note for each in site.bus.ask("find", id=post.id) for note in each["notes"]]
    open_parts = [note["part"] for note in found if not note.get("results")]
    return {name for first, end in open_parts for name in members(number)[first:end]}


@pytest.mark.parametrize(
    ("place", "doubles"),
    [
        ("outgoing.begun.before", 0),
        ("outgoing.begun.after", 0),
        ("outgoing.data.before", 9),  # killed in the tenth transaction of the second 25
        ("outgoing.data.after", 25),
        ("outgoing.done.after", 0),
        ("runner.ack.before", 10),  # the last note rides on the ack
        ("runner.ack.after", 0),
    ],
)
def test_killed_in_the_middle_everybody_has_it_and_only_named_recipients_twice(
    tmp_path: Path, place: str, doubles: int
) -> None:
    with Sink() as sink:
        site = make_site(tmp_path, sink, 60)
        try:
            site.start("incoming")
            passage = {"outgoing.data.before": 35, "runner.ack.before": 1, "runner.ack.after": 1}.get(
                place, 2
            )
            outgoing = site.start("outgoing", f"{place}=kill@{passage}")
            post = site.post("ant@example.org", MAIL)
            outgoing.process.wait(20)
            may_have_two = named(site, post, 60)
            site.reap(outgoing)
            assert len(may_have_two) <= VERP_TOGETHER
            site.start("outgoing")
            site.wait_empty("incoming", "outgoing")
            counts = Counter(sink.recipients())
            assert sorted(counts) == members(60)
            twice = {name for name, count in counts.items() if count > 1}
            assert twice <= may_have_two
            assert len(twice) == doubles
            assert max(counts.values()) <= 2
            assert twice <= {each for line in site.lines("outgoing.repeated") for each in line["recipients"]}
            assert site.shunts() == []
        finally:
            site.__exit__(None, None, None)


def test_each_copy_names_its_member_and_a_refusal_scores_that_one(tmp_path: Path) -> None:
    rules = [
        Rule(at="rcpt", like="m0003", reply="550 5.1.1 User unknown"),
        Rule(at="rcpt", like="m0007", reply="552 5.2.2 Mailbox full"),
        Rule(at="rcpt", like="m0005", reply="450 4.2.1 later", times=1),
    ]
    with Sink(rules) as sink:
        site = make_site(tmp_path, sink, 10)
        try:
            for queue in ("incoming", "outgoing", "bounces"):
                site.start(queue)
            site.post("ant@example.org", MAIL)
            wait_until(lambda: site.bus.queue("outgoing")["deferred"] == 1)
            (tmp_path / "clock").write_text("60")
            wait_for_number(lambda: len(sink.recipients()), 8)
            key, today = load_site_key(site.settings), Clock().now().date()
            by_id = {member.id: member.address for member in site.store.members(ANT, "member")}
            for mail in sink.transactions:
                token = mail.reverse_path.removeprefix("ant-bounces+").removesuffix("@example.org")
                verp = read_verp(key, ANT, token, today, 14)
                assert verp is not None
                assert mail.accepted == (by_id[verp.membership_id],), "the one that waited too"
            site.wait_empty("bounces", "outgoing")
            scored = {line["member"]: line["bounce_class"] for line in site.lines("bounce.scored")}
            assert scored == {"m0003@example.net": "bad-mailbox", "m0007@example.net": "full"}
            (evidence,) = site.store.records.evidence(ANT, "m0003@example.net")
            assert (evidence.status, evidence.diagnostic) == ("5.1.1", "550 5.1.1 User unknown")
        finally:
            site.__exit__(None, None, None)


def test_one_reply_that_is_lost_keeps_nobody_else_waiting(tmp_path: Path) -> None:
    with Sink([Rule(at="dot", like="m0030", close="before")]) as sink:
        site = make_site(tmp_path, sink, 60)
        try:
            site.start("incoming")
            site.start("outgoing")
            post = site.post("ant@example.org", MAIL)
            for number in range(1, 4):
                wait_for_number(lambda: Counter(sink.recipients())["m0030@example.net"], number)
                (tmp_path / "clock").write_text(str(number * 7200))
            (shunt,) = wait_until(site.shunts)
            assert shunt["reason"] == "reply-lost"
            assert "m0030@example.net" in shunt["detail"]
            assert named(site, post, 60) == {"m0030@example.net"}
            counts = Counter(sink.recipients())
            assert counts.pop("m0030@example.net") == 3
            assert counts == Counter(name for name in members(60) if name != "m0030@example.net")
        finally:
            site.__exit__(None, None, None)


def test_an_mta_that_goes_away_in_the_middle_gets_the_rest_when_it_is_back(tmp_path: Path) -> None:
    rules = [Rule(at="rcpt", like="m0030", reply="421 4.3.2 going down", close="after", times=2)]
    with Sink(rules) as sink:
        site = make_site(tmp_path, sink, 60)
        try:
            site.start("incoming")
            site.start("outgoing")
            post = site.post("ant@example.org", MAIL)
            wait_until(lambda: site.bus.queue("outgoing")["deferred"] == 1)
            assert named(site, post, 60) == set()
            assert sorted(sink.recipients()) == members(30)
            (tmp_path / "clock").write_text("60")
            site.wait_empty("outgoing")
            assert Counter(sink.recipients()) == Counter(members(60))
        finally:
            site.__exit__(None, None, None)
