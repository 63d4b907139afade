"""A stranger's post waits; Olga lets it go out by a reply, or throws it away, or refuses it by a command."""

import pytest

from tests.support.story import Story, tokens_in

pytestmark = pytest.mark.slow


def make_ant(story: Story, *settings: str) -> None:
    story.make_list(
        "ant@example.org", owners=["olga@example.com"], members=["bart@example.net"], settings=settings
    )


def test_a_reply_lets_the_post_go_out(story: Story) -> None:
    make_ant(story)
    story.says("zoe@example.net", "ant@example.org", "dinner?")
    story.hears("zoe@example.net", "waits for a moderator")
    asked = story.hears("olga@example.com", "ant: a post by zoe@example.net waits for you")
    assert "Subject: dinner?" in asked.text
    assert "its sender is not a member" in asked.text
    story.hears_nothing("bart@example.net")

    story.answers(asked)
    assert story.hears("bart@example.net", "dinner?").mail.reverse_path == "ant-bounces@example.org"
    assert story.store.held() == ()

    # The other code comes too late; so does the same one again.
    _, discard = dict.fromkeys(tokens_in(asked.text))
    story.says("olga@example.com", f"ant-confirm+{discard}@example.org")
    story.hears("olga@example.com", "not good, or no longer")
    story.answers(asked)
    story.hears("olga@example.com", "not good, or no longer")
    story.hears_nothing("bart@example.net")
    assert story.shunts() == []


def test_a_code_throws_it_away_and_tells_nobody(story: Story) -> None:
    make_ant(story, "respond_to_post_requests=no")
    story.says("zoe@example.net", "ant@example.org", "dinner?")
    asked = story.hears("olga@example.com", "waits for you")
    _, discard = dict.fromkeys(tokens_in(asked.text))
    story.says("olga@example.com", f"ant-confirm+{discard}@example.org")
    story.wait_quiet()
    story.hears_nothing("zoe@example.net")
    story.hears_nothing("bart@example.net")
    assert story.store.held() == ()


def test_a_command_refuses_it_and_the_author_hears(story: Story) -> None:
    make_ant(story)
    story.says("zoe@example.net", "ant@example.org", "dinner?")
    story.hears("zoe@example.net", "waits for a moderator")
    story.hears("olga@example.com", "waits for you")
    (held,) = story.store.held()
    story.does("held", "reject", str(held.id))
    refused = story.hears("zoe@example.net", "Your post to ant was refused")
    assert "dinner" not in refused.text
    story.hears_nothing("bart@example.net")


def test_a_program_whose_post_waits_is_not_answered(story: Story) -> None:
    make_ant(story)
    story.says("zoe@example.net", "ant@example.org", "report", headers=["Auto-Submitted: auto-generated"])
    story.hears("olga@example.com", "waits for you")
    story.does("held", "reject", str(story.store.held()[0].id))
    story.hears_nothing("zoe@example.net")
