"""Mail to a member comes back for weeks: what the member, the others and the owner notice, day by day."""

import pytest

from tests.stories.bouncing import returns
from tests.support.story import Story

pytestmark = pytest.mark.slow

ANNE = "anne@example.net"
OLGA = "olga@example.com"


def test_anne_has_moved_away(story: Story) -> None:
    ant = story.make_list("ant@example.org", owners=[OLGA], members=[ANNE, "bart@example.net"])

    # For five days every post comes back; twice a day says no more than once.
    for _ in range(5):
        returns(story, ANNE)
        returns(story, ANNE)
        story.wait_quiet()
        story.wait_days(1)

    # Then she gets one mail that is for her alone. That comes back too.
    probe = story.hears(ANNE, "Does this address still work?")
    assert probe.mail.reverse_path.startswith("ant-bounces+")
    returns(story, ANNE, probe.mail.reverse_path)
    first = story.hears(ANNE, "ant cannot reach you")
    story.hears(OLGA, "no more posts to anne@example.net")
    member = story.member(ant, ANNE)
    assert member is not None
    assert member.delivery_status == "by_bounces"

    # Posts go to the others.
    story.says("bart@example.net", "ant@example.org", "who has seen Anne?")
    story.hears("bart@example.net", "who has seen Anne?")
    story.hears_nothing(ANNE)

    # Three warnings, a week apart; each comes back, which changes nothing.
    for _ in range(2):
        returns(story, ANNE, first.mail.reverse_path)
        story.wait_days(7)
        story.hears(ANNE, "ant cannot reach you")
    story.wait_days(6)
    story.hears_nothing(ANNE)
    assert story.member(ant, ANNE) is not None

    # A week after the last one she is taken off, and both are told.
    story.wait_days(1)
    story.hears(ANNE, "You have been taken off ant")
    story.hears(OLGA, "anne@example.net was removed")
    assert story.member(ant, ANNE) is None

    # A month later: nothing more happens, and why she is gone can be asked.
    story.wait_days(35)
    returns(story, ANNE)
    story.hears_nothing(ANNE)
    story.hears_nothing(OLGA)
    told = story.does("members", "log", "ant@example.org", ANNE)
    assert "left" in told
    assert "remove" in told
    assert story.member(ant, "bart@example.net") is not None
    assert story.shunts() == []


def test_anne_answers_a_warning_and_is_back(story: Story) -> None:
    ant = story.make_list("ant@example.org", owners=[OLGA], members=[ANNE], settings=["bounce_probes=no"])
    for _ in range(5):
        returns(story, ANNE)
        story.wait_quiet()
        story.wait_days(1)
    story.hears(ANNE, "ant cannot reach you")
    story.wait_days(6)
    warning = story.hears(ANNE, "ant cannot reach you")

    # Her provider's vacation program does not bring her back; she does, by a reply.
    story.answers(warning, headers=["Auto-Submitted: auto-replied"])
    story.hears_nothing(ANNE)
    member = story.member(ant, ANNE)
    assert member is not None
    assert not member.delivery

    story.answers(warning)
    story.hears(ANNE, "You get the posts of ant again")
    member = story.member(ant, ANNE)
    assert member is not None
    assert member.delivery

    # What was is forgotten: no warning any more, and one bounce is one bounce.
    story.wait_days(8)
    returns(story, ANNE)
    story.wait_days(30)
    story.hears_nothing(ANNE)
    member = story.member(ant, ANNE)
    assert member is not None
    assert member.delivery


def test_olga_turns_delivery_on_by_a_command(story: Story) -> None:
    ant = story.make_list(
        "ant@example.org",
        owners=[OLGA],
        members=[ANNE, "bart@example.net"],
        settings=["bounce_probes=no", "bounce_score_threshold=1"],
    )
    returns(story, ANNE)
    story.hears(ANNE, "ant cannot reach you")
    story.hears(OLGA, "no more posts to anne@example.net")
    story.does("members", "set", "ant@example.org", ANNE, "delivery=yes")
    member = story.member(ant, ANNE)
    assert member is not None
    assert member.delivery

    story.says("bart@example.net", "ant@example.org", "welcome back")
    story.hears(ANNE, "welcome back")
    story.wait_days(30)
    story.hears_nothing(ANNE)
    assert story.member(ant, ANNE) is not None
