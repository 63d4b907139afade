"""A post through real processes: bus, incoming, outgoing, and an SMTP server or maildirs at the end."""

import email
from pathlib import Path

import pytest

from config.settings import OutgoingSettings
from tests.support.bus_process import wait_until
from tests.support.runners import RunnerSite
from tests.support.sink import Sink

pytestmark = pytest.mark.slow

MAIL = (
    b"Received: from a by b\r\nFrom: Anne <anne@example.net>\r\nTo: ant@example.org\r\nSubject: Hello\r\n"
    b"Message-ID: <1@example.net>\r\nList-Id: <other.example.com>\r\n\r\nBody\r\n.\r\n\xff\r\n"
)
MEMBERS = [f"m{number}@example.net" for number in range(10)]


def test_a_post_arrives_in_every_members_maildir_with_its_body_untouched(tmp_path: Path) -> None:
    root = tmp_path / "mail"
    with RunnerSite(tmp_path, outgoing=OutgoingSettings(maildir=str(root))) as site:
        site.create_list("ant@example.org", MEMBERS, settings=["subject_prefix=[ant] "])
        site.start("incoming")
        site.start("outgoing")
        site.post("ant@example.org", MAIL)
        site.wait_empty("incoming", "outgoing")
        for member in MEMBERS:
            (file,) = (root / member / "new").iterdir()
            data = file.read_bytes()
            assert data.endswith(b"\r\n\r\nBody\r\n.\r\n\xff\r\n")
            post = email.message_from_bytes(data)
            assert post["return-path"] == "<ant-bounces@example.org>"
            assert post["subject"] == "[ant] Hello"
            assert post.get_all("list-id") == ["<ant.example.org>"]


def test_a_post_is_one_transaction_for_ten_members(tmp_path: Path) -> None:
    with Sink() as sink, RunnerSite(tmp_path, outgoing=OutgoingSettings(smtp=sink.address)) as site:
        site.create_list("ant@example.org", MEMBERS)
        site.start("incoming")
        site.start("outgoing")
        site.post("ant@example.org", MAIL)
        (transaction,) = wait_until(lambda: list(sink.transactions))
        assert transaction.reverse_path == "ant-bounces@example.org"
        assert sorted(transaction.accepted) == MEMBERS
        site.wait_empty("incoming", "outgoing")
        (sent,) = site.lines("outgoing.sent")
        assert sent["replies"] == {"250 2.0.0 Ok: queued": MEMBERS}
        assert [line["outcome"] for line in site.lines("item.handled")] == ["ack", "ack"]
