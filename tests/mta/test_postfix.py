"""Mail through a real Postfix: SMTP in, LMTP, Postroom, SMTP out through the same Postfix to a sink."""

import json
import smtplib
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support.mail import (
    ARRIVE_S,
    MEMBERS,
    Mail,
    make_post,
    make_postfix,
    message_id_of,
    running_mail,
    transports,
)
from tests.support.mta import Route
from tests.support.postfix import Postfix
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.mta, pytest.mark.slow]

POSTS = 200


@pytest.fixture(scope="module")
def mail(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mail]:
    """A site whose lists are in two domains: one that Postfix reaches over TCP, one over the unix socket."""
    with running_mail(tmp_path_factory.mktemp("mail"), make_postfix) as running:
        yield running


@pytest.fixture(scope="module")
def probed_mail(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mail]:
    """The same, with a Postfix that asks Postroom about each recipient before it takes a mail."""
    with running_mail(tmp_path_factory.mktemp("probed"), _make_probing) as running:
        yield running


def _make_probing(folder: Path, routes: Mapping[str, Route], relay: str, port: int) -> Postfix:
    return Postfix(folder, lists=transports(routes), relay=relay, port=port, probe=True)


def test_each_of_200_posts_reaches_each_of_20_members_once(mail: Mail) -> None:
    """The whole way, with real processes: nothing is lost and nothing is doubled."""
    ids = [f"{number}.many@client.example.net" for number in range(POSTS)]
    with smtplib.SMTP("127.0.0.1", mail.mta.port, timeout=30) as client:
        for message_id in ids:
            client.sendmail(
                "guest@example.com",
                ["ant@example.org"],
                make_post("guest@example.com", "ant@example.org", message_id),
            )
    wait_until(
        lambda: len(mail.sink.recipients()) >= POSTS * len(MEMBERS) and mail.is_quiet(),
        ARRIVE_S,
        what=f"{POSTS} posts at {len(MEMBERS)} members",
        every_s=0.5,
    )
    counts = Counter(
        (message_id_of(done), recipient) for done in mail.sink.transactions for recipient in done.accepted
    )
    wanted = {(message_id, member) for message_id in ids for member in MEMBERS}
    assert {one: count for one, count in counts.items() if one in wanted and count > 1} == {}
    assert wanted - set(counts) == set()


def test_a_post_comes_in_over_the_unix_socket(mail: Mail) -> None:
    """Postfix's LMTP client runs as a user of its own, and reaches the socket."""
    mail.send("guest@example.com", "bee@unix.example.org", "unix@client.example.net")
    wait_until(lambda: len(mail.copies("unix@client.example.net")) == len(MEMBERS), ARRIVE_S)
    assert sorted(mail.copies("unix@client.example.net")) == MEMBERS
    assert mail.mta.lines(r"relay=.*lmtp\.sock.*status=sent \(250 2\.0\.0 Accepted [0-9a-f]{32}")


def test_postfix_tells_for_whom_it_speaks(mail: Mail) -> None:
    """XFORWARD, pipelined before MAIL: its queue id stands in our log, in the trace and in the item, so that both logs can be read together."""
    mail.send("guest@example.com", "ant@example.org", "forwarded@client.example.net")
    wait_until(lambda: mail.mta.lines(r"status=sent \(250 2\.0\.0 Accepted"), ARRIVE_S)

    def accepted() -> list[dict[str, Any]]:
        story = mail.site.postroom("trace", "forwarded@client.example.net", "--json")
        return [line for line in json.loads(story.stdout or "[]") if line["event"] == "lmtp.accepted"]

    (line,) = wait_until(accepted, ARRIVE_S)
    said = line["xforward"]
    assert mail.mta.lines(rf"{said['ident']}: .*status=sent \(250 2\.0\.0 Accepted {line['item_id']}")
    assert (said["addr"], said["proto"]) == ("127.0.0.1", "ESMTP")
    assert said["port"] > 0
    assert said["helo"]


def test_posts_leave_with_the_lists_bounce_address_as_reverse_path(mail: Mail) -> None:
    """Bounces of any MTA on the way come back to the list."""
    mail.send("guest@example.com", "ant@example.org", "reverse@client.example.net")
    wait_until(lambda: mail.copies("reverse@client.example.net"), ARRIVE_S)
    paths = {
        done.reverse_path for done in mail.sink.transactions if message_id_of(done).startswith("reverse@")
    }
    assert paths == {"ant-bounces@example.org"}


def test_a_stranger_learns_from_the_bounce_why_a_closed_list_refused(mail: Mail) -> None:
    """Postfix takes the mail, hears 550 5.7.1 at RCPT and tells the sender with our words."""
    mail.send("stranger@example.com", "closed@example.org", "stranger@client.example.net")
    bounce = wait_until(lambda: mail.bounce_to("stranger@example.com"), ARRIVE_S)
    assert b"550 5.7.1" in bounce
    assert b"RCPT TO" in bounce
    assert mail.copies("stranger@client.example.net") == []


def test_a_member_of_a_closed_list_posts(mail: Mail) -> None:
    """Closed is for strangers."""
    mail.send("anne@example.net", "closed@example.org", "member@client.example.net")
    wait_until(lambda: mail.copies("member@client.example.net"), ARRIVE_S)
    assert mail.copies("member@client.example.net") == ["anne@example.net"]


def test_an_unknown_list_is_refused_in_the_smtp_dialogue_when_postfix_asks(probed_mail: Mail) -> None:
    """The sender's own server hears the 550, so no bounce is made."""
    with pytest.raises(smtplib.SMTPRecipientsRefused) as caught:
        probed_mail.send("guest@example.com", "nobody@example.org", "unknown@client.example.net")
    code, text = caught.value.recipients["nobody@example.org"]
    assert code == 550
    assert b"5.1.1" in text


def test_the_default_probe_sender_does_not_close_a_list_to_its_members(probed_mail: Mail) -> None:
    """Postfix asks as double-bounce@, who is no member of anything; refusing that would lock everybody out."""
    probed_mail.send("anne@example.net", "closed@example.org", "probed@client.example.net")
    wait_until(lambda: probed_mail.copies("probed@client.example.net"), ARRIVE_S)
    assert probed_mail.copies("probed@client.example.net") == ["anne@example.net"]
