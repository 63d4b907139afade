"""A list that sends with VERP: what members want of their own posts, what comes back, and what the owners hear of it."""

import re

import pytest

from tests.support.sink import Rule
from tests.support.story import Story

pytestmark = pytest.mark.slow


def test_own_posts_receipts_and_the_addresses_of_the_header(story: Story) -> None:
    ant = story.make_list(
        "ant@example.org",
        owners=["olga@example.com"],
        members=["zoe@example.net", "bart@example.net"],
        settings=["verp_delivery_interval=1"],
    )
    story.does("members", "set", "ant@example.org", "zoe@example.net", "receive_own_postings=no")
    story.does("members", "set", "ant@example.org", "zoe@example.net", "acknowledge_posts=yes")

    # Zoe posts: Bart has a copy with a return address of his own, she has a receipt and no copy.
    story.says("zoe@example.net", "ant@example.org", "dinner?")
    copy = story.hears("bart@example.net", "dinner?")
    assert re.fullmatch(r"ant-bounces\+[a-z2-7]{16,23}@example\.org", copy.mail.reverse_path)
    receipt = story.hears("zoe@example.net", "your post was sent")
    assert receipt.mail.reverse_path == ""
    assert "dinner" not in receipt.mail.content.decode(), "what somebody wrote does not travel in our name"
    story.hears_nothing("zoe@example.net")

    # Her robot posts in her name: everybody else has it, and nobody answers a robot.
    story.says("zoe@example.net", "ant@example.org", "build 7", headers=["Auto-Submitted: auto-generated"])
    story.hears("bart@example.net", "build 7")
    story.hears_nothing("zoe@example.net")

    # Every address in the header of a post is taken at RCPT.
    for field in ("List-Post", "List-Help", "List-Subscribe", "List-Unsubscribe", "List-Owner"):
        (address,) = re.findall(r"<mailto:([^?>]+)", str(copy.message[field]))
        assert story.says("bart@example.net", address, "help").startswith("250"), field
    assert "List-Unsubscribe-Post" not in copy.message, "RFC 8058 wants an HTTPS address"

    # What comes back to Bart's return address is his, though it names nobody that the list knows.
    story.says(
        "mx@example.com",
        copy.mail.reverse_path,
        reverse_path="",
        content=_report("somebody.else@forwarded.example"),
    )
    story.wait_quiet()
    (line,) = story.lines("bounce.scored")
    assert line["member"] == "bart@example.net"
    assert story.member(ant, "bart@example.net") is not None


def _report(address: str) -> bytes:
    lines = [
        "From: MAILER-DAEMON@mx.example.com",
        "Subject: Undelivered",
        "MIME-Version: 1.0",
        'Content-Type: multipart/report; report-type=delivery-status; boundary="b"',
        "",
        "--b",
        "Content-Type: message/delivery-status",
        "",
        "Reporting-MTA: dns; mx.example.com",
        "",
        f"Final-Recipient: rfc822; {address}",
        "Action: failed",
        "Status: 5.1.1",
        "",
        "--b--",
        "",
    ]
    return "\r\n".join(lines).encode()


def test_what_is_put_off_for_five_days_is_told_once_a_day(story: Story) -> None:
    """Two members at a server that says 450 for ever: evidence for both, no score, one mail to the owner."""
    story.sink.rules.append(Rule(at="rcpt", like="busy.example", reply="450 4.2.2 mailbox full"))
    ant = story.make_list(
        "ant@example.org",
        owners=["olga@example.com"],
        members=["zoe@example.net", "mia@busy.example", "max@busy.example"],
    )
    story.says("zoe@example.net", "ant@example.org", "first")
    story.says("zoe@example.net", "ant@example.org", "second")
    story.hears("zoe@example.net", "second")
    story.wait_quiet()
    story.wait_days(5.1)
    story.wait_quiet()
    story.hears_nothing("olga@example.com")
    assert story.lines("bounce.scored"), "the time of both posts is over"

    story.wait_days(1.1)
    told = story.hears("olga@example.com", "2 members did not get their mail")
    assert "mia@busy.example" in told.text
    assert "max@busy.example" in told.text
    story.hears_nothing("olga@example.com")
    for address in ("mia@busy.example", "max@busy.example"):
        found = story.store.records.evidence(ant, address)
        assert {(each.status, each.bounce_class) for each in found} == {("4.4.7", "full")}
        assert story.store.look(lambda roster, address=address: roster.bounces(ant, address)).score.value == 0  # type: ignore[misc]
