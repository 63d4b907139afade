"""Mail to the people behind a list and behind the site: persons reach them, programs do not."""

import pytest

from tests.support.bounces import block, make_dsn
from tests.support.story import Story

pytestmark = pytest.mark.slow


def test_admin_takes_a_persons_mail_and_a_dsn(story: Story) -> None:
    ant = story.make_list("ant@example.org", owners=["olga@example.com"], members=["bart@example.net"])

    # A person's mail goes to the owners; what they cannot take comes back to LIST-bounces@, never to Zoe.
    story.says("zoe@example.net", "ant-admin@example.org", "a question")
    assert story.hears("olga@example.com", "a question").mail.reverse_path == "ant-bounces@example.org"

    # Old software has LIST-admin@ as reverse-path: a DSN there is a bounce.
    dsn = make_dsn(block("bart@example.net"))
    assert story.says("", "ant-admin@example.org", content=dsn, reverse_path="").startswith("250")
    story.hears_nothing("olga@example.com")
    assert story.store.look(lambda roster: roster.bounces(ant, "bart@example.net")).score.value == 1.0
    assert story.shunts() == []


def test_programs_do_not_reach_the_owners_and_nobody_is_answered(story: Story) -> None:
    story.make_list(
        "ant@example.org",
        owners=["olga@example.com"],
        members=["bart@example.net"],
        settings=["owner_max_size=2000", "header_matches=X-Spam: yes -> discard"],
    )
    owner = "ant-owner@example.org"
    story.says("bart@example.net", owner, "away", headers=["Auto-Submitted: auto-replied"])
    story.says("bart@example.net", owner, "away", reverse_path="")
    story.says("mallory@example.com", owner, "win", headers=["X-Spam: yes"])
    story.says("", owner, content=make_dsn(block("bart@example.net")), reverse_path="")
    assert story.says("zoe@example.net", owner, "big", body="x" * 3000).startswith("552 5.3.4")
    story.hears_nothing("olga@example.com")
    assert [line["why"] for line in story.lines("owner.ignored")].count("header-matches") == 1

    # A report by a program that wants a person is no reply to anything.
    story.says("cron@example.com", owner, "disk is full", headers=["Auto-Submitted: auto-generated"])
    story.hears("olga@example.com", "disk is full")
    for who in ("bart@example.net", "mallory@example.com", "zoe@example.net"):
        story.hears_nothing(who)
    assert story.shunts() == []


def test_a_mail_that_goes_round_is_set_aside(story: Story) -> None:
    story.make_list("ant@example.org", owners=["olga@example.com"])
    story.says("zoe@example.net", "ant-owner@example.org", headers=["X-BeenThere: ant-owner@example.org"])
    story.says("zoe@example.net", "ant-owner@example.org", headers=["Received: by x; now"] * 101)
    story.hears_nothing("olga@example.com")
    assert [each["reason"] for each in story.shunts()] == ["loop", "loop"]


def test_the_sites_own_mailboxes_reach_a_person(story: Story) -> None:
    """RFC 5321 4.5.1, RFC 2142: also reports and bounces, whatever the letters' case."""
    story.make_list("ant@example.org", owners=["ant-owner@example.org"])
    story.says("zoe@example.net", "PostMaster@example.org", "to the postmaster")
    story.hears("site@example.com", "to the postmaster")
    story.says(
        "zoe@example.net", "abuse@example.org", "spam of yours", headers=["Auto-Submitted: auto-generated"]
    )
    story.hears("site@example.com", "spam of yours")
    story.says("", "postmaster@example.org", content=make_dsn(block("bart@example.net")), reverse_path="")
    story.hears("site@example.com", "")

    # An owner who is the list itself would go round: the site's owner hears.
    story.says("zoe@example.net", "ant-owner@example.org", "anybody there?")
    story.hears("site@example.com", "anybody there?")
    assert story.shunts() == []
