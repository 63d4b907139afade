"""A vacation program answers a confirmation: nothing is confirmed, and nobody answers it back (defect D7 of the old software)."""

import pytest

from tests.support.story import Story

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("headers", "reverse_path"),
    [
        (["Auto-Submitted: auto-replied"], None),
        (["Precedence: bulk"], None),
        (["X-Autoreply: yes"], None),
        ([], ""),
    ],
)
def test_a_vacation_reply_confirms_nothing(
    story: Story, headers: list[str], reverse_path: str | None
) -> None:
    ant = story.make_list("ant@example.org", owners=["olga@example.com"])
    story.says("mallory@example.com", "ant-join@example.org", headers=["Reply-To: zoe@example.net"])
    story.hears("mallory@example.com", "Please confirm")
    story.says("zoe@example.net", "ant-join@example.org")
    question = story.hears("zoe@example.net", "Please confirm")

    assert story.answers(question, headers=headers, reverse_path=reverse_path).startswith("250 2.0.0")
    story.hears_nothing("zoe@example.net")
    assert story.member(ant, "zoe@example.net") is None

    # The token still works for a person.
    story.answers(question)
    story.hears("zoe@example.net", "Welcome")
