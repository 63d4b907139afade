"""The mail that people and mail servers write in the rows of bounces and joins, ready for the wire. Pure."""

from bench.load import Letter
from bench.sink import Question

REPORT = """\
From: Mail Delivery System <MAILER-DAEMON@mx.example.com>
To: {recipient}
Subject: Undelivered Mail Returned to Sender
Date: Mon, 23 Nov 2026 10:00:00 +0000
Message-ID: <{run}@mx.example.com>
Auto-Submitted: auto-replied
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status; boundary="=_report"

--=_report
Content-Type: text/plain; charset=us-ascii
Content-Description: Notification

This is the mail system at host mx.example.com.

I'm sorry to have to inform you that your message could not be delivered to one
or more recipients. It's attached below.

<{member}>: host mail.{domain} said: 550 5.1.1 <{member}>: Recipient address
    rejected: User unknown (in reply to RCPT TO command)

--=_report
Content-Type: message/delivery-status
Content-Description: Delivery report

Reporting-MTA: dns; mx.example.com
Arrival-Date: Mon, 23 Nov 2026 09:59:58 +0000

Final-Recipient: rfc822; {member}
Original-Recipient: rfc822;{member}
Action: failed
Status: 5.1.1
Remote-MTA: dns; mail.{domain}
Diagnostic-Code: smtp; 550 5.1.1 <{member}>: Recipient address rejected: User unknown

--=_report
Content-Type: text/rfc822-headers
Content-Description: Undelivered Message Headers

Return-Path: <{recipient}>
From: Anne <anne@example.net>
To: {list_address}
Subject: [thousand] number {run}
Message-ID: <post-{run}@example.net>

--=_report--
"""
LINES = """\
From: {sender}
To: {recipient}
Subject: {subject}
Date: Mon, 23 Nov 2026 10:00:00 +0000
Message-ID: <{run}@people.example.net>

{text}
"""


def write_bounce(recipient: str, member: str, list_address: str, run: str) -> Letter:
    """Write a report as a large MTA does (RFC 3464): a post to `member` came back to its VERP address, the user being unknown."""
    domain = member.partition("@")[2]
    text = REPORT.format(
        recipient=recipient, member=member, domain=domain, list_address=list_address, run=run
    )
    return Letter("", recipient, _on_wire(text))


def write_join(sender: str, list_address: str, run: str) -> Letter:
    """Write to LIST-join@."""
    recipient = list_address.replace("@", "-join@")
    text = LINES.format(
        sender=sender, recipient=recipient, subject="join", run=run, text="I would like to join."
    )
    return Letter(sender, recipient, _on_wire(text))


def write_answer(question: Question, run: str) -> Letter:
    """Answer as a mail program does: to whom the mail is from, with its subject."""
    text = LINES.format(
        sender=question.to, recipient=question.sender, subject=f"Re: {question.subject}", run=run, text="Yes."
    )
    return Letter(question.to, question.sender, _on_wire(text))


def _on_wire(text: str) -> bytes:
    """End the lines as SMTP does, and the message with its dot; no line begins with one."""
    return text.replace("\n", "\r\n").encode() + b".\r\n"
