"""Commands to LIST-request@: one answer for a mail, nothing changed on a stranger's word, and nothing of a mail sent back."""

import pytest

from tests.support.story import Story, tokens_in

pytestmark = pytest.mark.slow
REQUEST = "ant-request@example.org"


def test_zoe_asks_for_what_there_is(story: Story) -> None:
    story.make_list("ant@example.org", owners=["olga@example.com"], settings=["description=All about ants"])
    story.make_list("bee@example.org", settings=["advertised=no"])
    story.make_list("cat@example.com")
    story.says(
        "zoe@example.net",
        REQUEST,
        "help",
        "lists\nwho\necho hi there http://spam.example/\n> who\n<script>alert@x\nend\nlists\n",
    )
    answer = story.hears("zoe@example.net", "Results of your commands to ant")
    assert answer.mail.reverse_path == ""
    assert "set vacation until" in answer.text
    assert "ant@example.org  All about ants" in answer.text
    assert "bee@" not in answer.text, "it is not advertised"
    assert "cat@" not in answer.text, "another domain"
    assert "olga@example.com" in answer.text
    assert "echo: hi there http???spam?example?" in answer.text
    assert "?script?alert?x: no such command" in answer.text
    story.hears_nothing("zoe@example.net")


def test_zoe_joins_and_leaves_by_commands(story: Story) -> None:
    ant = story.make_list("ant@example.org", owners=["olga@example.com"])
    story.says("zoe@example.net", REQUEST, "", "subscribe digest=plain\njoin\n")
    question = story.hears("zoe@example.net", "Please confirm that you want to join ant")
    (token,) = dict.fromkeys(tokens_in(question.text))
    story.says("zoe@example.net", REQUEST, "codes", f"confirm {token}\nconfirm aaaaaaaaaaaaaaaaaaaaaaaa\n")
    story.hears("zoe@example.net", "Welcome to ant")
    assert "one request for an address" in story.hears("zoe@example.net", "Results").text
    assert "this code is not good" in story.hears("zoe@example.net", "Results").text
    member = story.member(ant, "zoe@example.net")
    assert member is not None
    assert member.delivery_mode == "plaintext_digests"

    # The button of a mail program, from a header that another list manager wrote years ago.
    story.says("zoe@example.net", REQUEST, "unsubscribe", "Sent from my phone\n")
    story.answers(story.hears("zoe@example.net", "Please confirm that you want to leave ant"))
    story.hears("zoe@example.net", "You have left ant")
    story.hears_nothing("zoe@example.net")


def test_settings_change_when_the_member_has_confirmed(story: Story) -> None:
    ant = story.make_list("ant@example.org", members=["zoe@example.net"])
    story.says("mallory@example.com", REQUEST, "mine", "set vacation until 2030-01-02\nset hide on\n")
    story.hears("mallory@example.com", "You are not a member of ant")

    content = f"From: zoe@example.net\r\nTo: {REQUEST}\r\nSubject: x\r\nMessage-ID: <f@x>\r\n\r\nset hide on\r\nset vacation until 2030-01-02\r\n"
    story.says("mallory@example.com", REQUEST, content=content.encode())
    question = story.hears("zoe@example.net", "Please confirm your settings in ant")
    story.hears_nothing("mallory@example.com")
    member = story.member(ant, "zoe@example.net")
    assert member is not None
    assert not member.hide_address, "a forged From: changes nothing"

    story.answers(question)
    assert "hide_address=yes" in story.hears("zoe@example.net", "Your settings in ant were changed").text
    member = story.member(ant, "zoe@example.net")
    assert member is not None
    assert (member.hide_address, member.delivery_status) == (True, "vacation")
    assert member.status_by == "zoe@example.net"


def test_a_member_cannot_undo_what_an_owner_did(story: Story) -> None:
    ant = story.make_list("ant@example.org", members=["zoe@example.net"])
    story.does("members", "set", "ant@example.org", "zoe@example.net", "delivery=no")
    story.says("zoe@example.net", REQUEST, "set delivery on")
    story.answers(story.hears("zoe@example.net", "Please confirm your settings"))
    story.hears("zoe@example.net", "Your settings in ant were not changed")
    member = story.member(ant, "zoe@example.net")
    assert member is not None
    assert member.delivery_status == "by_owner"


@pytest.mark.parametrize(
    "kind",
    ["text/plain; charset=x-klingon", "text/plain; charset==?utf-8?q?=22?=", "multipart/mixed; boundary=x"],
)
def test_a_charset_that_does_not_exist(story: Story, kind: str) -> None:
    """Read as UTF-8 with replacements, or not at all: no runner dies, and somebody hears."""
    story.make_list("ant@example.org")
    content = (
        f"From: zoe@example.net\r\nTo: {REQUEST}\r\nSubject: =?x-klingon?b?aGVscA==?=\r\nMessage-ID: <k@x>\r\n"
        f"Content-Type: {kind}\r\nContent-Transfer-Encoding: 8bit\r\n\r\nhelp\r\n\xe4\xff\r\n"
    )
    story.says("zoe@example.net", REQUEST, content=content.encode("latin-1"))
    assert "help - this text" in story.hears("zoe@example.net", "Results of your commands").text
    assert story.shunts() == []


def test_automatic_mail_gets_no_answer(story: Story) -> None:
    story.make_list("ant@example.org")
    story.says("zoe@example.net", REQUEST, "help", headers=["Auto-Submitted: auto-replied"])
    story.says("zoe@example.net", REQUEST, "help", reverse_path="")
    story.says("ant-owner@example.org", REQUEST, "help")
    story.hears_nothing("zoe@example.net")
    story.hears_nothing("ant-owner@example.org")
