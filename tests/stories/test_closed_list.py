"""A closed list: a stranger is refused at RCPT already, joins, and posts."""

import pytest

from tests.support.story import Story

pytestmark = pytest.mark.slow


def test_zoe_must_join_before_she_posts(story: Story) -> None:
    story.make_list(
        "ant@example.org",
        owners=["olga@example.com"],
        members=["bart@example.net"],
        settings=["generic_nonmember_action=reject", "preferred_language=de"],
    )
    assert story.is_told_at_rcpt("zoe@example.net", "ant@example.org") == "550 5.7.1"

    # Every other address of the list is open to her.
    story.says("zoe@example.net", "ant-owner@example.org", "may I?")
    story.hears("olga@example.com", "may I?")
    story.says("zoe@example.net", "ant-join@example.org")
    question = story.hears("zoe@example.net", "dass Sie ant beitreten wollen")
    assert "Der Code gilt bis " in question.text
    story.answers(question)
    story.hears("zoe@example.net", "Willkommen bei ant")

    assert story.says("zoe@example.net", "ant@example.org", "dinner?").startswith("250 2.0.0")
    story.hears("bart@example.net", "dinner?")
    story.hears("zoe@example.net", "dinner?")
    assert story.is_told_at_rcpt("mallory@example.com", "ant@example.org") == "550 5.7.1"
    story.hears_nothing("mallory@example.com")


def test_olga_decides_by_commands(story: Story) -> None:
    ant = story.make_list(
        "ant@example.org", owners=["olga@example.com"], settings=["subscription_policy=moderate"]
    )
    for who in ("zoe@example.net", "yan@example.net"):
        story.says(who, "ant-join@example.org")
        story.hears(who, "waits for a moderator")
    assert "zoe@example.net" in story.does("members", "requests", "ant@example.org")
    story.does("members", "approve", "ant@example.org", "zoe@example.net")
    story.hears("zoe@example.net", "Welcome to ant")
    story.does("members", "refuse", "ant@example.org", "yan@example.net")
    story.hears("yan@example.net", "was refused")
    assert story.member(ant, "zoe@example.net") is not None
    assert story.member(ant, "yan@example.net") is None
    assert story.does("members", "requests", "ant@example.org", "--json").strip() == "[]"
