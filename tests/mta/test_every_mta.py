"""What Postfix, Exim, Sendmail and OpenSMTPD all do: mail through each of them, over TCP and over the unix socket."""

import smtplib
import socket
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.support.mail import (
    ARRIVE_S,
    MEMBERS,
    MTAS,
    Mail,
    make_list,
    make_post,
    message_id_of,
    running_mail,
)
from tests.support.opensmtpd import OpenSmtpd
from tests.support.sink import Rule
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.mta, pytest.mark.slow]

POSTS = 20
READERS = [
    f"reader-{number:03}@example.net" for number in range(120)
]  # more than a session of OpenSMTPD may have
DEAD = "reader-007@example.net"
TEN = ["ant", *(f"ant-{suffix}" for suffix in ["admin", "bounces", "confirm", "join", "leave", "owner", "request", "subscribe", "unsubscribe"])]  # fmt: skip


@pytest.fixture(scope="module", params=MTAS)
def mail(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mail]:
    """A site and one of the four before and behind it."""
    with running_mail(tmp_path_factory.mktemp(request.param), MTAS[request.param]) as running:
        yield running


@pytest.mark.parametrize("address", ["ant@example.org", "bee@unix.example.org"])
def test_each_post_reaches_each_member_once(mail: Mail, address: str) -> None:
    """Over TCP and over the unix socket, and out again through the same MTA."""
    ids = [f"{number}.once.{address}" for number in range(POSTS)]
    with smtplib.SMTP("127.0.0.1", mail.mta.port, timeout=30) as client:
        for message_id in ids:
            client.sendmail(
                "guest@example.com", [address], make_post("guest@example.com", address, message_id)
            )
    wanted = Counter({(message_id, member): 1 for message_id in ids for member in MEMBERS})
    wait_until(lambda: _copies(mail, ids) >= wanted, ARRIVE_S, what="all have come")
    mail.wait_quiet()
    assert _copies(mail, ids) == wanted


def _copies(mail: Mail, ids: list[str]) -> Counter[tuple[str, str]]:
    """Count the copies of each message for each recipient."""
    return Counter(
        (message_id_of(done), recipient)
        for done in mail.sink.transactions
        if message_id_of(done) in ids
        for recipient in done.accepted
    )


def test_of_mixed_recipients_each_has_its_own_fate(mail: Mail) -> None:
    """List, suffix address with an extension, unknown and closed list in one transaction: the sender hears of two, in our words."""
    recipients = [
        f"{name}@example.org" for name in ("ant", "nosuchlist", "ant-bounces+u=example.net", "closed")
    ]
    mail.send("mixed@example.com", recipients, "mixed@client.example.net")
    bounces = wait_until(lambda: _bounces(mail, "mixed@example.com", 2), ARRIVE_S)
    assert b"550 5.1.1" in bounces
    assert b"550 5.7.1" in bounces
    wait_until(lambda: len(mail.copies("mixed@client.example.net")) >= len(MEMBERS), ARRIVE_S)
    mail.wait_quiet()
    assert sorted(mail.copies("mixed@client.example.net")) == MEMBERS
    taken = {line["recipient"]: line["queue"] for line in mail.accepted("mixed@client.example.net")}
    assert taken == {recipients[0]: "incoming", recipients[2]: "bounces"}


def _bounces(mail: Mail, address: str, reasons: int) -> bytes:
    """Return what was bounced to an address, in one message or several, as soon as it names so many reasons."""
    told = b"".join(
        done.content for done in mail.sink.transactions if not done.reverse_path and address in done.accepted
    )
    return (
        told if sum(code in told for code in (b"550 5.1.1", b"550 5.7.1", b"550 5.6.11")) >= reasons else b""
    )


def test_recipients_of_one_transaction_get_one_item_each(mail: Mail) -> None:
    """Ten in one go; OpenSMTPD's relay breaks off behind the first reply and sends again to recipients that it has served: they are known."""
    names = TEN[:3] if isinstance(mail.mta, OpenSmtpd) else TEN  # it needs a connection for each, and 5 s
    mail.send("ten@example.com", [f"{name}@example.org" for name in names], "ten@client.example.net")
    wait_until(mail.has_delivered, ARRIVE_S, what="the MTA has delivered", every_s=0.3)
    lines = mail.accepted("ten@client.example.net")
    stored = [line["recipient"].partition("@")[0] for line in lines if not line["is_duplicate"]]
    assert sorted(stored) == sorted(names)
    assert len({line["item_id"] for line in lines}) == len(names)
    assert (len(lines) > len(names)) == isinstance(mail.mta, OpenSmtpd)
    wait_until(lambda: len(mail.copies("ten@client.example.net")) >= len(MEMBERS), ARRIVE_S)
    mail.wait_quiet()
    assert sorted(mail.copies("ten@client.example.net")) == MEMBERS


def test_eight_bit_octets_come_through_as_they_are(mail: Mail) -> None:
    """UTF-8 in a header and octets of no encoding in the body, whatever the MTA declares."""
    subject, body = "Grüße, Ελλάδα".encode(), bytes(range(0x80, 0x100)) + b"\r\n"
    post = make_post("eight@example.com", "ant@example.org", "eight@client.example.net")
    content = post.replace(b"a post", subject).replace(b"Hello.\r\n", body)
    mail.send("eight@example.com", "ant@example.org", "eight@client.example.net", content=content)
    wait_until(lambda: len(mail.copies("eight@client.example.net")) >= len(MEMBERS), ARRIVE_S)
    done = next(done for done in mail.sink.transactions if message_id_of(done) == "eight@client.example.net")
    assert b"Subject: " + subject in done.content
    assert done.content.endswith(b"\r\n\r\n" + body)


def test_a_null_sender_may_report_but_not_post(mail: Mail) -> None:
    """Both are accepted at RCPT, for callouts; after the dot the post is refused, and nobody is told: there is nobody."""
    mail.send("", ["ant@example.org", "ant-bounces@example.org"], "null@client.example.net")
    wait_until(lambda: mail.accepted("null@client.example.net"), 15)
    wait_until(mail.has_delivered, ARRIVE_S, every_s=0.3)
    assert {line["recipient"] for line in mail.accepted("null@client.example.net")} == {
        "ant-bounces@example.org"
    }
    refused = [line for line in mail.site.log("lmtp.refused") if line.get("reverse_path") == ""]
    assert {(line["recipient"], line["reply"][:9]) for line in refused} == {("ant@example.org", "550 5.7.1")}
    assert mail.copies("null@client.example.net") == []


def test_a_message_hidden_behind_a_false_end_never_becomes_one(mail: Mail) -> None:
    """CR . CR: an end for nobody. What the MTA does with the one message, mend, refuse or pass on, is docs/mta-newlines.md."""
    hidden = b"MAIL FROM:<smuggler@example.com>\r\nRCPT TO:<ant@example.org>\r\nDATA\r\nMessage-ID: <hidden@x>\r\n\r\nobey\r\n"
    post = make_post("honest@example.com", "ant@example.org", "smuggled@client.example.net")
    with socket.create_connection(("127.0.0.1", mail.mta.port), 30) as connection:
        reader = connection.makefile("rb")
        for line in (
            b"HELO client.example.net",
            b"MAIL FROM:<honest@example.com>",
            b"RCPT TO:<ant@example.org>",
            b"DATA",
        ):
            assert reader.readline()[:1] in (b"2", b"3")
            connection.sendall(line + b"\r\n")
        assert reader.readline()[:3] == b"354"
        connection.sendall(post + b"\r.\r" + hidden + b".\r\n")
        is_taken = reader.readline().startswith(b"250")
    if is_taken:
        wait_until(
            lambda: mail.copies("smuggled@client.example.net") or _bounces(mail, "honest@example.com", 1),
            ARRIVE_S,
        )
    mail.wait_quiet()
    logged = mail.site.log("lmtp.accepted") + mail.site.log("lmtp.refused")
    assert not [line for line in logged if line.get("reverse_path") == "smuggler@example.com"]
    assert mail.copies("hidden@x") == []
    assert Counter(mail.copies("smuggled@client.example.net")) <= Counter(MEMBERS)


def test_a_post_with_verp_has_one_copy_and_one_return_address_for_each_member(mail: Mail) -> None:
    """A transaction each; where PIPELINING is offered the envelope leaves behind the final dot of the one before (RFC 2920 3.1)."""
    with smtplib.SMTP("127.0.0.1", mail.mta.port, timeout=30) as client:
        client.ehlo()
        assert client.has_extn("pipelining") != isinstance(mail.mta, OpenSmtpd)
    mail.sink.rules.append(Rule(at="rcpt", like=DEAD, reply="550 5.1.1 nobody here"))
    make_list(mail.site, "copies@example.org", "accept", READERS)
    done = mail.site.postroom("lists", "set", "copies@example.org", "verp_delivery_interval=1")
    assert done.returncode == 0, done.stderr
    mail.send("writer@example.com", "copies@example.org", "verp@client.example.net")
    wait_until(lambda: len(mail.copies("verp@client.example.net")) >= len(READERS) - 1, ARRIVE_S)
    mail.wait_quiet()
    assert sorted(mail.copies("verp@client.example.net")) == [each for each in READERS if each != DEAD]
    paths = {
        each.reverse_path
        for each in mail.sink.transactions
        if message_id_of(each) == "verp@client.example.net" and each.accepted
    }
    assert len(paths) == len(READERS) - 1
    assert all(path.startswith("copies-bounces+") and path.endswith("@example.org") for path in paths)
    # What the MTA cannot get rid of comes back to that member's return address, and is known by it.
    scored = wait_until(lambda: mail.site.log("bounce.scored"), ARRIVE_S, what="the bounce is read")
    assert [line["member"] for line in scored] == [DEAD]
