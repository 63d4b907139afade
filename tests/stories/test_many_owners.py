"""A list with 250 owners: an ack has room for 100 outputs, and everybody who decides is told all the same, by one mail for all."""

import pytest

from tests.stories.bouncing import returns
from tests.support.story import Story

pytestmark = pytest.mark.slow

OWNERS = [f"o{number:03}@example.com" for number in range(250)]


def test_everybody_who_decides_is_asked(story: Story) -> None:
    """Of a request and of a held post; the answer of one of them counts."""
    settings = ["subscription_policy=moderate", "admin_notify_mchanges=yes", "generic_nonmember_action=hold"]
    ant = story.make_list("ant@example.org", owners=OWNERS, settings=settings)
    story.says("zoe@example.net", "ant-join@example.org")
    story.hears("zoe@example.net", "waits for a moderator")
    asked = [story.hears(owner, "zoe@example.net wants to join") for owner in OWNERS]
    assert {str(each.message["to"]) for each in asked} == {"ant-owner@example.org"}
    assert len({each.message["message-id"] for each in asked}) == 1
    story.answers(asked[-1], who=OWNERS[-1])
    story.hears("zoe@example.net", "Welcome to ant")
    for owner in OWNERS:
        story.hears(owner, "zoe@example.net has joined")

    story.says("stranger@example.net", "ant@example.org")
    story.hears("stranger@example.net", "waits")
    held = [story.hears(owner, "waits for you") for owner in OWNERS]
    story.answers(held[100], who=OWNERS[100])
    story.hears("zoe@example.net", "hello")
    assert story.store.held(ant) == ()
    assert story.shunts() == []


def test_everybody_hears_of_a_member_whose_mail_comes_back(story: Story) -> None:
    settings = ["bounce_score_threshold=1", "bounce_probes=no"]
    story.make_list("ant@example.org", owners=OWNERS, members=["zoe@example.net"], settings=settings)
    returns(story, "zoe@example.net")
    for owner in OWNERS:
        story.hears(owner, "no more posts")
    assert story.shunts() == []
