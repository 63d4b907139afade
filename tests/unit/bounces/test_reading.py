"""What a bounce says: forms of every kind, each seen in the wild, and what hostile mail does to the reader."""

from email.message import EmailMessage

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lists.bounces.failure import Failure, classify
from lists.bounces.parts import MAX_RECIPIENTS
from lists.bounces.reading import read_report
from tests.support.bounces import block, make_dsn


def test_a_dsn_names_recipient_status_and_what_came_back() -> None:
    report = read_report(make_dsn(block("anne@example.net")))
    assert (report.kind, report.method) == ("failure", "rfc3464")
    assert report.failures == (
        Failure(
            ("anne@example.net",), "5.1.1", "550 5.1.1 unknown", is_permanent=True, bounce_class="bad-mailbox"
        ),
    )
    assert report.original_from == "ant-bounces+abc@example.org"
    assert report.original_id == "<1@example.org>"


@pytest.mark.parametrize(
    ("action", "status", "kind", "permanent"),
    [
        ("failed", "5.2.2", "failure", [True]),
        ("failed (expired)", "4.4.7", "failure", [True]),  # nobody tries it any more
        ("delayed", "4.4.1", "failure", [False]),
        ("error", "5.0.0", "failure", [True]),
        ("delivered", "2.0.0", "automatic", []),
        ("relayed", "2.0.0", "automatic", []),
        ("", "4.2.2", "failure", [False]),  # a status of class 4 alone is never permanent
        ("", "5.2.2", "failure", [True]),
    ],
)
def test_action_decides_and_status_where_it_is_silent(
    action: str, status: str, kind: str, permanent: list[bool]
) -> None:
    report = read_report(make_dsn(block("anne@example.net", action, status, "x")))
    assert report.kind == kind
    assert [failure.is_permanent for failure in report.failures] == permanent


def test_the_address_we_sent_to_comes_first() -> None:
    text = "Original-Recipient: rfc822;anne@example.net\n" + block("forwarded@example.com")
    assert read_report(make_dsn(text)).failures[0].addresses == ("anne@example.net", "forwarded@example.com")


def test_an_address_in_xtext_or_utf_8_is_tried_both_ways() -> None:
    assert read_report(make_dsn(block("anne+2Bx@example.net"))).failures[0].addresses == (
        "anne+2Bx@example.net",
        "anne+x@example.net",
    )
    text = "Final-Recipient: utf-8; gr\\x{fc}\\x{df}e@example.net\nAction: failed\nStatus: 5.1.1"
    assert read_report(make_dsn(text)).failures[0].addresses == ("grüße@example.net",)


@pytest.mark.parametrize(
    ("status", "said", "expected"),
    [
        ("5.7.1", "550 5.7.1 No such user c18si2365148hub", "bad-mailbox"),
        ("5.0.0", "550 User [anne@example.net] does not exist", "bad-mailbox"),
        ("5.4.1", "Recipient address rejected: Access denied.", "bad-mailbox"),
        ("5.1.10", "", "bad-mailbox"),
        ("5.0.0", "552 mailbox is full", "full"),
        ("5.2.2", "", "full"),
        ("5.7.0", "The recipient mailbox has exceeded its disk space limit.", "full"),
        ("5.7.1", "550 5.7.1 Unauthenticated email from example.org is not accepted due to domain's DMARC policy", "policy"),
        ("5.7.26", "", "policy"),
        ("5.0.0", "550 Blocked by SpamAssassin", "policy"),
        ("5.1.8", "", "policy"),
        ("5.2.3", "550 5.2.3 message too large for this recipient", "other"),
        ("5.3.4", "message size 8596800 exceeds size limit 5242880 of server", "other"),
        ("", "", "other"),
    ],
)  # fmt: skip
def test_the_class_follows_the_words_and_then_the_status(status: str, said: str, expected: str) -> None:
    assert classify(status, said) == expected


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ("From: Anne <anne@example.net>\r\nAuto-Submitted: auto-replied", "auto-submitted"),
        ("From: anne@example.net\r\nX-Autoreply: yes", "x-autoreply"),
        ("From: anne@example.net\r\nPrecedence: auto_reply", "precedence"),
        ("From: anne@example.net\r\nSubject: Out of the office: hello", "subject"),
        ("From: anne@example.net\r\nSubject: =?utf-8?q?Automatische_Antwort?=: hello", "subject"),
        ("From: anne@example.net\r\nSubject: Abwesenheitsnotiz", "subject"),
    ],
)
def test_an_automatic_reply_names_nobody(header: str, reason: str) -> None:
    """Not even when it quotes the words of a bounce."""
    body = "The following addresses had permanent fatal errors:\r\n<victim@example.net>\r\n"
    report = read_report(f"{header}\r\n\r\n{body}".encode())
    assert (report.kind, report.reason, report.failures) == ("automatic", reason, ())


def test_a_qmail_bounce_is_found_by_heuristics() -> None:
    mail = (
        b"From: MAILER-DAEMON@example.net\r\nSubject: failure notice\r\n\r\n"
        b"Hi. This is the qmail-send program at example.net.\r\nI'm afraid I wasn't able to deliver your message to the following addresses.\r\n\r\n"
        b"<anne@example.net>:\r\nSorry, no mailbox here by that name. (#5.1.1)\r\n\r\n--- Below this line is a copy of the message.\r\n"
    )
    report = read_report(mail)
    assert report.method == "heuristics"
    assert report.failures[0].addresses == ("anne@example.net",)
    assert (report.failures[0].status, report.failures[0].bounce_class) == ("5.1.1", "bad-mailbox")


def make_complaint(kind: str) -> bytes:
    text = (
        "From: fbl@example.net\nMIME-Version: 1.0\nContent-Type: multipart/report; report-type=feedback-report; boundary=b\n\n"
        "--b\nContent-Type: text/plain\n\nA complaint.\n--b\nContent-Type: message/feedback-report\n\n"
        f"Feedback-Type: {kind}\nUser-Agent: x/1\nVersion: 1\nOriginal-Mail-From: <ant-bounces+abc@example.org>\n"
        "Original-Rcpt-To: <anne@example.net>\n\n--b\nContent-Type: message/rfc822\n\nSubject: x\n\nx\n--b--\n"
    )
    return text.replace("\n", "\r\n").encode()


def test_a_complaint_is_no_bounce() -> None:
    report = read_report(make_complaint("abuse"))
    assert (report.kind, report.complained, report.failures) == ("complaint", ("anne@example.net",), ())
    assert report.original_from == "ant-bounces+abc@example.org"
    assert read_report(make_complaint("not-spam")).kind != "complaint"
    assert read_report(make_complaint("auth-failure")).kind != "complaint"


# Hostile mail ---------------------------------------------------------------------------------------------------------


def test_three_thousand_nested_parts_are_not_read() -> None:
    nested = b"".join(
        b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (n, n) for n in range(3000)
    )
    assert read_report(nested).kind == "unreadable"
    nested = b"Content-Type: message/rfc822\r\n\r\n" * 3000
    assert read_report(nested).kind == "unreadable"


def test_fifty_thousand_addresses_are_cut() -> None:
    report = read_report(make_dsn(*(block(f"a{n}@example.net", said="x") for n in range(50_000))))
    assert 0 < len(report.failures) <= MAX_RECIPIENTS


def test_a_report_of_twenty_megabytes_is_read_from_its_beginning() -> None:
    mail = make_dsn(block("anne@example.net")).replace(
        b"hello\r\n--b--", b"x" * 76 + b"\r\n" * 20 * 2**20 + b"--b--"
    )
    assert read_report(mail).failures[0].addresses == ("anne@example.net",)


@given(st.integers(0, 2000), st.binary(max_size=30))
def test_a_damaged_report_is_read_or_refused(at: int, octets: bytes) -> None:
    mail = make_dsn(block("anne@example.net"))
    assert read_report(mail[:at] + octets + mail[at + len(octets) :]).kind in (
        "failure", "returned", "complaint", "automatic", "unknown", "unreadable",
    )  # fmt: skip


@given(st.binary(max_size=2000))
def test_any_octets_are_read_or_refused(octets: bytes) -> None:
    assert read_report(octets).failures == ()


@given(st.text(max_size=200), st.text(max_size=200))
def test_any_words_are_classified(status: str, said: str) -> None:
    assert classify(status, said) in ("bad-mailbox", "full", "policy", "other")


def test_an_8_bit_header_does_not_stop_the_heuristics() -> None:
    message = EmailMessage()
    message["Subject"] = "failure notice"
    message.set_content("<anne@example.net>:\nSorry, no mailbox here by that name.\n")
    octets = b"X-Odd: \xff\xfe\r\nFrom: \xe9@example.net\r\n" + message.as_bytes()
    assert read_report(octets).kind in ("failure", "returned")


@pytest.mark.parametrize(
    ("fields", "text", "bounce_class"),
    [
        ("Status: 5.0.0 (recipient reached disk quota)", "Sorry.", "full"),
        ("Status: 5.0.0", "anne@example.net: Domain does not exist", "bad-mailbox"),
        ("Status: 5.0.0", "The account of\nanne@example.net\nis full (quota exceeded)", "full"),
        ("Status: 5.1.1", "anne@example.net\n-- scanned for viruses and offensive content", "bad-mailbox"),
    ],
)
def test_a_report_without_a_diagnostic_has_its_reason_elsewhere(
    fields: str, text: str, bounce_class: str
) -> None:
    """In a comment; in what is written to the person, but only where the status is vague."""
    report = f"Final-Recipient: rfc822; anne@example.net\nAction: failed\n{fields}"
    (failure,) = read_report(make_dsn(report).replace(b"Sorry.", text.encode())).failures
    assert failure.bounce_class == bounce_class


def test_a_report_whose_boundary_is_broken_is_found_in_the_text() -> None:
    """As a gateway did that put its own field behind the boundary's closing quote."""
    broken = make_dsn(block("anne@example.net", said="550 spam")).replace(
        b'boundary="b"', b'boundary="b" X-Id: <1@x>'
    )
    (failure,) = read_report(broken).failures
    assert failure.addresses == ("anne@example.net",)
    assert failure.bounce_class == "policy"


def test_words_before_the_address_tell_the_class_too() -> None:
    mail = (
        b"From: MAILER-DAEMON@x\r\nSubject: Undeliverable Mail\r\n\r\n"
        b"User's mailbox is full: <anne@example.net>\r\nUnable to deliver mail.\r\n"
    )
    assert [failure.bounce_class for failure in read_report(mail).failures] == ["full"]


RETURN = "From: {sender}\r\nSubject: {subject}\r\nContent-Type: {type}\r\n\r\n{text}\r\n"


@pytest.mark.parametrize(
    ("reverse_path", "sender", "subject", "content_type", "text", "kind"),
    [
        ("", "mx@example.net", "Mail returned", "text/plain", "User unknown.", "returned"),
        ("mx@example.net", "mx@example.net", "Mail returned", "text/plain", "User unknown.", "unknown"),
        ("x@example.net", "MAILER-DAEMON@example.net", "Hm", "text/plain", "It did not work.", "returned"),
        ("x@example.net", "x@example.net", "Hm", "multipart/report", "It did not work.", "returned"),
        ("", "anne@example.net", "Re: hello", "text/plain", "I am at the sea until Monday.", "unknown"),
        ("", "anne@example.net", "Auto: hello", "text/plain", "Your mail was returned.", "automatic"),
        ("", "MAILER-DAEMON@example.net", "Delayed mail", "text/plain", "We keep trying.", "unknown"),
        ("", "MAILER-DAEMON@example.net", "Hm", "text/plain", "451 4.3.0 not now, it failed", "unknown"),
    ],
)  # fmt: skip
def test_a_return_that_names_nobody_is_told_from_replies_and_delays(
    reverse_path: str, sender: str, subject: str, content_type: str, text: str, kind: str
) -> None:
    mail = RETURN.format(sender=sender, subject=subject, type=content_type, text=text)
    report = read_report(mail.encode(), reverse_path)
    assert report.kind == kind
    assert [failure.addresses for failure in report.failures] == ([()] if kind == "returned" else [])


def test_a_receipt_is_automatic() -> None:
    """It says that the mail arrived (RFC 8098), and comes with the null reverse-path."""
    mail = (
        b"From: anne@example.net\r\nSubject: Read: returned mail failed\r\nMIME-Version: 1.0\r\n"
        b"Content-Type: multipart/report; report-type=disposition-notification; boundary=b\r\n\r\n"
        b"--b\r\nContent-Type: message/disposition-notification\r\n\r\nFinal-Recipient: rfc822; anne@example.net\r\n"
        b"Disposition: manual-action/MDN-sent-manually; displayed\r\n--b--\r\n"
    )
    assert read_report(mail, "").kind == "automatic"


def test_sendmail_gives_each_address_its_reason() -> None:
    mail = (
        b"From: MAILER-DAEMON@example.net\r\nSubject: Returned mail: see transcript for details\r\n\r\n"
        b"   ----- The following addresses had permanent fatal errors -----\r\n"
        b"<anne@example.com>\r\n    (reason: 552 mailbox full)\r\n    (expanded from: <anne@example.net>)\r\n"
        b"<bart@example.com>\r\n    (reason: 553 SPF fail)\r\n\r\n"
        b"   ----- Transcript of session follows -----\r\n550 5.1.1 cleo@example.com... User unknown\r\n"
    )
    classes = {failure.addresses[0]: failure.bounce_class for failure in read_report(mail).failures}
    assert classes["anne@example.com"] == "full"
    assert classes["bart@example.com"] == "policy"


@given(st.text(alphabet="ab@<>() \t\r\n:-", max_size=200))
def test_sendmail_s_reasons_are_looked_for_in_anything(text: str) -> None:
    mail = f"From: MAILER-DAEMON@example.net\r\n\r\nfatal errors -----\r\n{text}\r\n    (reason: {text}"
    assert read_report(mail.encode()).kind != "unreadable"
