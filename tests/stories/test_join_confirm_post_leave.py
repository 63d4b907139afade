"""Zoe joins by mail, posts, and leaves again."""

import pytest

from tests.support.story import Story, tokens_in

pytestmark = pytest.mark.slow


def test_zoe_joins_posts_and_leaves(story: Story) -> None:
    ant = story.make_list("ant@example.org", owners=["olga@example.com"], members=["bart@example.net"])

    # She asks, and is asked back: somebody else may have used her name.
    assert story.says("zoe@example.net", "ant-join@example.org").startswith("250 2.0.0")
    question = story.hears("zoe@example.net", "Please confirm that you want to join ant")
    assert question.mail.reverse_path == "", "an answer has the null reverse-path (RFC 3834 3.3)"
    assert story.member(ant, "zoe@example.net") is None

    # Asking twice sends the same token, not a second request.
    story.says("zoe@example.net", "ant-subscribe@example.org")
    again = story.hears("zoe@example.net", "Please confirm that you want to join ant")
    assert tokens_in(again.subject) == tokens_in(question.subject)

    # She replies, as her mail program does, and is in.
    assert story.answers(question).startswith("250 2.0.0")
    story.hears("zoe@example.net", "Welcome to ant")
    assert story.member(ant, "zoe@example.net") is not None

    # The token works once; the second answer is kind and changes nothing.
    story.answers(question)
    story.hears("zoe@example.net", "This code of ant is not good, or no longer")

    # Her post reaches Bart and herself.
    story.says("zoe@example.net", "ant@example.org", "dinner?")
    assert story.hears("bart@example.net", "dinner?").mail.reverse_path == "ant-bounces@example.org"
    story.hears("zoe@example.net", "dinner?")

    # She leaves, and confirms that too.
    story.says("zoe@example.net", "ant-leave@example.org")
    story.answers(story.hears("zoe@example.net", "Please confirm that you want to leave ant"))
    story.hears("zoe@example.net", "You have left ant")
    assert story.member(ant, "zoe@example.net") is None

    # Leaving again tells her alone that she is not there.
    story.says("zoe@example.net", "ant-unsubscribe@example.org")
    story.hears("zoe@example.net", "You are not a member of ant with this address")
    story.hears_nothing("zoe@example.net")
    story.hears_nothing("olga@example.com")
    assert story.shunts() == []
