"""Builders of bounces: reports as an MTA writes them (RFC 3464)."""

DSN = b"""From: MAILER-DAEMON@mx.example.net
Subject: Undelivered Mail Returned to Sender
Auto-Submitted: auto-replied
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status; boundary="b"

--b
Content-Type: text/plain

Sorry.
--b
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.example.net

%b
--b
Content-Type: message/rfc822

Return-Path: <ant-bounces+abc@example.org>
Message-ID: <1@example.org>
Subject: hello

hello
--b--
"""


def make_dsn(*blocks: str) -> bytes:
    return (DSN % "\n\n".join(blocks).encode()).replace(b"\n", b"\r\n")


def block(
    address: str, action: str = "failed", status: str = "5.1.1", said: str = "550 5.1.1 unknown"
) -> str:
    return f"Final-Recipient: rfc822; {address}\nAction: {action}\nStatus: {status}\nDiagnostic-Code: smtp; {said}"
