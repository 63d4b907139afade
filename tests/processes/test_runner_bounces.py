"""Bounces through real processes, with a clock that a test sets: scores, probes, warnings, removal, and the brake."""

import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from config.names import ListId
from config.settings import NoticeSettings, OutgoingSettings
from lists.model import Member
from lists.secret import load_site_key
from lists.tokens import make_verp
from runners.results import REPORTED_BY
from runners.timekeeping import packed
from tests.support.bounces import block, make_dsn
from tests.support.bus_process import wait_until
from tests.support.runners import RunnerSite
from tests.support.sink import Sink, Transaction

pytestmark = pytest.mark.slow

DAY_S = 86_400
ANT = "ant@example.org"
ANT_ID = ListId("ant.example.org")


class Story:
    """A site with the runner bounces, and what one tells of it."""

    def __init__(self, site: RunnerSite, sink: Sink) -> None:
        self.site = site
        self.sink = sink
        self.days = 0
        self.number = 0

    def wait_days(self, days: int) -> None:
        """Let days go by, and wait for the second within which every process sees it."""
        self.days += days
        Path(self.site.settings.site.clock_file).write_text(str(self.days * DAY_S))
        seen = time.monotonic() + 1.1
        wait_until(lambda: time.monotonic() > seen)

    def bounce(
        self,
        address: str,
        *,
        to: str = "ant-bounces@example.org",
        said: str = "",
        status: str = "5.1.1",
        **fields: Any,
    ) -> None:
        """Let a mail to `address` come back, and wait until that was handled."""
        self.receive(
            make_dsn(block(address, status=status, said=said or f"550 {status} no such user")), to, **fields
        )

    def receive(self, octets: bytes, to: str, reverse_path: str = "", **fields: Any) -> None:
        """Let any mail come, and wait until it was handled."""
        self.number += 1
        fields |= {"list_id": "ant.example.org", "message_id": f"<{self.number}@x>"}
        self.site.post(to, octets, "bounces", reverse_path=reverse_path, **fields)
        self.site.wait_empty("bounces")

    def token(self, address: str) -> str:
        """Return what signs a post of today to a member."""
        member = self.member(address)
        return make_verp(load_site_key(self.site.settings), ANT_ID, member.id, member.joined_at.date())

    def bounce_all(self, addresses: Sequence[str]) -> None:
        """Let one mail to all of them come back, as one report."""
        report = make_dsn(*(block(each, status="5.1.1", said="550 5.1.1 no such user") for each in addresses))
        self.site.post(
            "ant-bounces@example.org", report, "bounces", list_id="ant.example.org", reverse_path=""
        )
        self.site.wait_empty("bounces")

    def find(self, address: str) -> Member | None:
        """Return the member, None when it is gone."""
        return self.site.store.look(lambda roster: roster.member(ANT_ID, address))

    def member(self, address: str) -> Member:
        """Return the member, who is there."""
        found = self.find(address)
        assert found is not None
        return found

    def score(self, address: str) -> float:
        """Return what the member's bounces add up to."""
        return self.site.store.look(lambda roster: roster.bounces(ANT_ID, address).score.value)

    def mails(self, address: str, subject: str) -> list[Transaction]:
        """Return the mails to an address whose subject has these words, when outgoing has done all."""
        self.site.wait_empty("outgoing")
        wanted = f"subject: [^\r]*{re.escape(subject)}".encode()
        return [
            mail
            for mail in self.sink.transactions
            if address in mail.accepted and re.search(wanted, mail.content, re.IGNORECASE)
        ]

    def has_mails(self, address: str, subject: str, count: int) -> bool:
        """Tell whether there are so many such mails."""
        return len(self.mails(address, subject)) == count


@contextmanager
def telling(folder: Path, members: Sequence[str], settings: Sequence[str] = ()) -> Iterator[Story]:
    with (
        Sink() as sink,
        RunnerSite(
            folder, outgoing=OutgoingSettings(smtp=sink.address), notices=NoticeSettings(per_day=10)
        ) as site,
    ):
        site.create_list(ANT, members, owners=["olga@example.com"], settings=settings)
        site.start("bounces")
        site.start("outgoing")
        yield Story(site, sink)


def test_sixty_days_of_bounces(tmp_path: Path) -> None:
    """Five days to the threshold, the probe comes back, three warnings, removal; the owner hears twice."""
    with telling(tmp_path, ["anne@example.net", "bart@example.net"]) as story:
        for _ in range(5):
            story.bounce("anne@example.net")
            story.bounce("anne@example.net")  # twice a day is once
            story.wait_days(1)
        (probe,) = story.mails("anne@example.net", "still work")
        assert re.fullmatch(r"ant-bounces\+[a-z2-7]{24}@example\.org", probe.reverse_path)
        assert story.member("anne@example.net").delivery_status == "enabled"

        story.bounce("anne@example.net", to=probe.reverse_path.upper())
        disabled = story.member("anne@example.net")
        assert disabled.delivery_status == "by_bounces"
        assert len(story.mails("anne@example.net", "cannot reach you")) == 1
        (told,) = story.mails("olga@example.com", "no more posts")
        assert b"this address is not known there (5.1.1)" in told.content
        assert b"no such user" not in told.content, "a stranger's words do not travel in our name"

        story.bounce("anne@example.net", to=probe.reverse_path)  # the same once more
        for warnings in (2, 3):
            story.wait_days(7)
            wait_until(partial(story.has_mails, "anne@example.net", "cannot reach you", warnings))
        assert story.find("anne@example.net") is not None
        story.wait_days(7)
        wait_until(lambda: story.find("anne@example.net") is None)
        assert len(story.mails("anne@example.net", "taken off")) == 1
        assert len(story.mails("olga@example.com", "was removed")) == 1
        assert story.member("bart@example.net").delivery_status == "enabled"
        history = [
            line.what for line in story.site.store.records.history("ant.example.org", "anne@example.net")
        ]
        assert history[0] == "left"
        assert story.site.shunts() == []


def test_a_member_who_recovers_is_forgotten(tmp_path: Path) -> None:
    """The probe arrives: after its time the score is gone, and it takes five days again."""
    with telling(tmp_path, ["anne@example.net"]) as story:
        for _ in range(5):
            story.bounce("anne@example.net")
            story.wait_days(1)
        assert len(story.mails("anne@example.net", "still work")) == 1
        story.wait_days(4)
        wait_until(lambda: story.score("anne@example.net") == 0)
        story.bounce("anne@example.net")
        assert story.score("anne@example.net") == 1
        assert story.member("anne@example.net").delivery_status == "enabled"


def test_a_token_says_whose_bounce_it_is_and_a_forged_one_counts_for_nobody(tmp_path: Path) -> None:
    with telling(tmp_path, ["anne@example.net", "bart@example.net"]) as story:
        token = story.token("anne@example.net")
        story.bounce("forwarded@elsewhere.example", to=f"ant-bounces+{token}@example.org")
        assert story.score("anne@example.net") == 1, "wherever it was forwarded to"
        forged = token[:5] + ("a" if token[5] != "a" else "b") + token[6:]
        story.bounce("bart@example.net", to=f"ant-bounces+{forged}@example.org")
        story.bounce("bart@example.net", to="ant-bounces+bart=example.net@example.org")
        assert story.score("bart@example.net") == 0


def test_an_empty_token_counts_for_nobody(tmp_path: Path) -> None:
    with telling(tmp_path, ["anne@example.net"]) as story:
        story.bounce("anne@example.net", to="ant-bounces+@example.org")
        story.bounce("anne@example.net", to='"ant-bounces+"@example.org')
        assert story.score("anne@example.net") == 0
        whys = [line["why"] for line in story.site.lines("bounce.ignored")]
        assert whys == ["the token of the recipient is nobody's"] * 2


def test_where_every_post_has_a_token_a_report_without_one_counts_for_nobody(tmp_path: Path) -> None:
    """But what our own outgoing reports is a fact."""
    with telling(tmp_path, ["anne@example.net"], ["verp_delivery_interval=1"]) as story:
        story.bounce("anne@example.net")
        assert story.score("anne@example.net") == 0
        (line,) = story.site.lines("bounce.ignored")
        assert line["why"] == "every post of this list has a token, this report has none"
        token = story.token("anne@example.net")
        story.bounce("anne@example.net", to=f"ant-bounces+{token}@example.org")
        assert story.score("anne@example.net") == 1
        story.wait_days(1)
        story.bounce("anne@example.net", args={REPORTED_BY: packed("outgoing")})
        assert story.score("anne@example.net") == 2


UNKNOWN = b"From: mx@example.net\r\nSubject: Mail returned\r\n\r\nUser unknown.\r\n"
NESTED = b"Content-Type: multipart/x; boundary=b\r\n\r\n--b\r\n" * 3000
SEASIDE = b"From: anne@example.net\r\nSubject: Re: hello\r\n\r\nI am at the sea until Monday.\r\n"


@pytest.mark.parametrize(
    ("octets", "reverse_path", "score"),
    [
        (UNKNOWN, "", 1.0),
        (UNKNOWN, "mx@example.net", 0),
        (NESTED, "", 0.5),
        (NESTED, "mx@example.net", 0),
        (SEASIDE, "", 0),
    ],
)
def test_what_came_back_to_a_signed_token_counts_for_its_member(
    tmp_path: Path, octets: bytes, reverse_path: str, score: float
) -> None:
    """Nobody can read whom it names; the token says it. Without the token, or with a forged one, it counts for nobody."""
    with telling(tmp_path, ["anne@example.net"]) as story:
        token = story.token("anne@example.net")
        forged = token[:5] + ("a" if token[5] != "a" else "b") + token[6:]
        for recipient in ("ant-bounces@example.org", f"ant-bounces+{forged}@example.org"):
            story.receive(octets, recipient, reverse_path)
        assert story.score("anne@example.net") == 0
        story.receive(octets, f"ant-bounces+{token}@example.org", reverse_path)
        assert story.score("anne@example.net") == score
        assert story.site.shunts() == []


def test_a_probe_that_came_back_in_a_form_that_nobody_can_read_has_come_back(tmp_path: Path) -> None:
    with telling(tmp_path, ["anne@example.net"], ["bounce_score_threshold=1"]) as story:
        story.bounce("anne@example.net")
        (probe,) = story.mails("anne@example.net", "still work")
        story.receive(SEASIDE, probe.reverse_path, "")
        assert story.member("anne@example.net").delivery_status == "enabled"
        story.receive(UNKNOWN, probe.reverse_path, "")
        assert story.member("anne@example.net").delivery_status == "by_bounces"


@pytest.mark.parametrize(
    "octets", [b"", b"\0" * 100, b"Content-Type: multipart/x; boundary=b\r\n\r\n--b\r\n" * 3000]
)
def test_what_is_no_bounce_is_ignored_with_a_line(tmp_path: Path, octets: bytes) -> None:
    with telling(tmp_path, ["anne@example.net"]) as story:
        story.site.post(
            "ant-bounces@example.org", octets, "bounces", list_id="ant.example.org", reverse_path=""
        )
        story.site.wait_empty("bounces")
        assert len(story.site.lines("bounce.ignored")) == 1
        assert story.site.shunts() == []


def test_many_members_of_one_domain_are_an_incident(tmp_path: Path) -> None:
    """Five of six members at one domain on one day: scoring there is frozen, the owner told once, everybody stays."""
    members = [f"m{number}@big.example" for number in range(6)] + ["anne@example.net"]
    settings = ["bounce_score_threshold=1", "bounce_probes=no"]
    with telling(tmp_path, members, [*settings, "bounce_score_threshold=2"]) as story:
        for address in members[:6]:
            story.bounce(address)
        assert len(story.mails("olga@example.com", "many members")) == 1
        story.wait_days(1)
        for address in members[:6]:
            story.bounce(address)
        assert all(story.member(address).delivery_status == "enabled" for address in members)
        assert len(story.mails("olga@example.com", "many members")) == 1

        # A freeze that is renewed day after day ends all the same: a domain that is gone must not keep its members for ever.
        for _ in range(7):
            assert story.score(members[5]) == 0
            story.wait_days(2)
            story.bounce_all(members[:6])
        assert story.score(members[5]) > 0
        story.bounce("anne@example.net")
        assert story.score("anne@example.net") == 1


def test_one_report_for_everybody_at_a_provider_is_an_incident_at_once(tmp_path: Path) -> None:
    """One SMTP transaction comes back as one report: nobody of it scores, not even the first four."""
    members = [f"m{number}@big.example" for number in range(40)] + ["anne@example.net"]
    with telling(tmp_path, members, ["bounce_score_threshold=1", "bounce_probes=no"]) as story:
        story.bounce_all([*members[:40], "anne@example.net"])
        assert len(story.mails("olga@example.com", "many members")) == 1
        assert {story.score(address) for address in members[:40]} == {0}
        assert story.member("m0@big.example").delivery_status == "enabled"
        assert story.member("anne@example.net").delivery_status == "by_bounces"


def test_one_report_that_freezes_very_many_domains_tells_the_owners_of_some_and_the_next_of_the_rest(
    tmp_path: Path,
) -> None:
    """110 domains are more letters than an ack may hold; all of them rest at once."""
    members = [f"m{number}@d{domain}.example" for domain in range(110) for number in range(5)]
    with telling(tmp_path, members, ["bounce_score_threshold=1", "bounce_probes=no"]) as story:
        story.bounce_all(members)
        assert len(story.site.store.look(lambda roster: roster.freezes(ANT_ID))) == 110
        told = len(story.mails("olga@example.com", "many members"))
        assert 50 < told < 110
        story.bounce_all(members)
        assert len(story.mails("olga@example.com", "many members")) == 110
        assert {story.score(address) for address in members[::50]} == {0}
        assert story.site.shunts() == []


def test_one_report_that_disables_many_writes_no_more_than_an_ack_may_hold(tmp_path: Path) -> None:
    """150 members at 150 domains: some step today, the rest with their next bounce; nothing is shunted, every step has its mail."""
    members = [f"anne@m{number}.example" for number in range(150)]
    with telling(tmp_path, members, ["bounce_score_threshold=1", "bounce_probes=no"]) as story:
        story.bounce_all(members)
        disabled = [each for each in members if story.member(each).delivery_status == "by_bounces"]
        assert 20 < len(disabled) < 150
        assert all(len(story.mails(each, "cannot reach you")) == 1 for each in disabled)
        assert story.site.shunts() == []
