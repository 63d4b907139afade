"""A list whose owner wants to decide, by mail or by a command; and one that nobody joins."""

import pytest

from tests.support.story import Story, tokens_in
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow


def test_olga_lets_zoe_in_by_a_reply(story: Story) -> None:
    ant = story.make_list(
        "ant@example.org",
        owners=["olga@example.com"],
        settings=["subscription_policy=confirm_then_moderate"],
    )
    story.says("zoe@example.net", "ant-join@example.org")
    question = story.hears("zoe@example.net", "Please confirm")
    story.hears_nothing("olga@example.com")

    story.answers(question)
    story.hears("zoe@example.net", "waits for a moderator")
    asked = story.hears("olga@example.com", "zoe@example.net wants to join")
    assert story.member(ant, "zoe@example.net") is None

    story.answers(asked)
    story.hears("zoe@example.net", "Welcome to ant")
    assert story.member(ant, "zoe@example.net") is not None
    (joined,) = [
        line for line in story.store.records.history(ant, "zoe@example.net") if line.what == "joined"
    ]
    assert joined.origin.who == "olga@example.com"


def test_olga_refuses_zoe(story: Story) -> None:
    ant = story.make_list(
        "ant@example.org", owners=["olga@example.com"], settings=["subscription_policy=moderate"]
    )
    story.says("zoe@example.net", "ant-join@example.org")
    story.hears("zoe@example.net", "waits for a moderator")
    asked = story.hears("olga@example.com", "wants to join")
    _, refuse = dict.fromkeys(tokens_in(asked.text))
    story.says("olga@example.com", f"ant-confirm+{refuse}@example.org", "no")
    story.hears("zoe@example.net", "was refused")
    assert story.member(ant, "zoe@example.net") is None

    # The other code of the same question comes too late.
    story.answers(asked)
    story.hears("olga@example.com", "not good, or no longer")
    story.hears_nothing("zoe@example.net")


def test_a_request_that_nobody_answers_ends(story: Story) -> None:
    ant = story.make_list("ant@example.org", owners=["olga@example.com"])
    story.says("zoe@example.net", "ant-join@example.org")
    question = story.hears("zoe@example.net", "Please confirm")
    story.wait_days(4)
    wait_until(lambda: story.store.records.requests(ant) == ())
    story.answers(question)
    story.hears("zoe@example.net", "not good, or no longer")
    assert story.member(ant, "zoe@example.net") is None


def test_yes_to_one_request_is_no_yes_to_the_next(story: Story) -> None:
    """Refused once, asked again in somebody's name: the old "yes" is worth nothing."""
    ant = story.make_list(
        "ant@example.org",
        owners=["olga@example.com"],
        settings=["subscription_policy=confirm_then_moderate"],
    )
    story.says("zoe@example.net", "ant-join@example.org")
    story.answers(story.hears("zoe@example.net", "Please confirm"))
    asked = story.hears("olga@example.com", "wants to join")
    _, refuse = dict.fromkeys(tokens_in(asked.text))
    story.says("olga@example.com", f"ant-confirm+{refuse}@example.org", "no")
    story.hears("zoe@example.net", "was refused")

    story.says("zoe@example.net", "ant-join@example.org")
    story.hears("zoe@example.net", "Please confirm")
    story.answers(asked)
    story.hears("olga@example.com", "not good, or no longer")
    assert story.member(ant, "zoe@example.net") is None


def test_who_is_banned_meanwhile_does_not_join(story: Story) -> None:
    ant = story.make_list("ant@example.org", owners=["olga@example.com"])
    story.says("zoe@example.net", "ant-join@example.org")
    question = story.hears("zoe@example.net", "Please confirm")
    story.does("bans", "add", "ant@example.org", "zoe@example.net")
    story.answers(question)
    story.hears_nothing("zoe@example.net")
    assert story.member(ant, "zoe@example.net") is None
    assert story.store.records.requests(ant) == ()


def test_a_mail_of_several_authors_asks_and_does_not_join(story: Story) -> None:
    """The list is open, but which of them has written is not known: the first has to confirm."""
    ant = story.make_list("ant@example.org", settings=["subscription_policy=open"])
    story.says("zoe@example.net, bart@example.net", "ant-join@example.org", reverse_path="eve@example.com")
    question = story.hears("zoe@example.net", "Please confirm")
    assert story.member(ant, "zoe@example.net") is None
    story.answers(question)
    story.hears("zoe@example.net", "Welcome to ant")
    story.hears_nothing("bart@example.net")


def test_a_command_takes_a_request_back(story: Story) -> None:
    ant = story.make_list("ant@example.org")
    story.says("zoe@example.net", "ant-join@example.org")
    question = story.hears("zoe@example.net", "Please confirm")
    story.does("members", "add", ant, "zoe@example.net")
    assert story.store.records.requests(ant) == ()
    story.does("members", "remove", ant, "zoe@example.net")
    story.answers(question)
    story.hears("zoe@example.net", "not good, or no longer")
    assert story.member(ant, "zoe@example.net") is None
