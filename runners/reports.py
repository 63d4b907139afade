"""Writes the delivery status notification (RFC 3464) that outgoing puts into the bounces queue for a refused recipient.

So a refusal inside our own SMTP dialogue reaches the bounce runner in the same form as one that another host mails back.
Pure: the time is an argument. Texts of the MTA are untrusted: they are cut, and never start a line of their own.
"""

import re
from collections.abc import Sequence
from datetime import datetime
from email.utils import format_datetime
from hashlib import blake2b

from msgspec import Struct

from bus.messages import Item
from runners.headers import read_header

MAX_RETURNED = 16 * 1024  # octets of the original header that are sent along
_STATUS = re.compile(r"([245]\.\d{1,3}\.\d{1,3})(?: |$)")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]+")


class Failure(Struct, frozen=True):
    """One recipient that will not get this mail."""

    recipient: str
    code: int
    text: str
    expired: bool = False  # refused for the time being until its time was over

    @property
    def status(self) -> str:
        """Return the enhanced status code: the MTA's, or the class alone (RFC 3463 2)."""
        if self.expired:
            return "4.4.7"  # delivery time expired (RFC 3463 3.5)
        found = _STATUS.match(self.text)
        return found[1] if found else f"{self.code // 100}.0.0"


def write_report(
    item: Item, content: bytes, failures: Sequence[Failure], *, site: str, mta: str, now: datetime
) -> bytes:
    """Return the report about these failures of one item; the same arguments give the same octets."""
    boundary = f"report-{item.id}"
    parts = [
        ("text/plain; charset=utf-8", _for_people(failures)),
        ("message/delivery-status", _for_machines(item, failures, site=site, mta=mta, now=now)),
        ("text/rfc822-headers", _original_header(content)),
    ]
    lines = [
        f"From: Mail delivery at {_clean(site)} <MAILER-DAEMON@{_clean(site)}>",
        f"To: <{_clean(item.reverse_path)}>",
        "Subject: Delivery failed",
        f"Date: {format_datetime(now)}",
        f"Message-ID: <{item.id}.{_mark(failures)}@{_clean(site)}>",
        "Auto-Submitted: auto-replied",
        "MIME-Version: 1.0",
        f'Content-Type: multipart/report; report-type=delivery-status; boundary="{boundary}"',
        "",
    ]
    report = "\r\n".join([*lines, ""]).encode()
    for kind, body in parts:
        report += f"--{boundary}\r\nContent-Type: {kind}\r\nContent-Transfer-Encoding: 8bit\r\n\r\n".encode()
        report += body + b"\r\n"
    return report + f"--{boundary}--\r\n".encode()


def _mark(failures: Sequence[Failure]) -> str:
    """Tell the reports of one item apart: no two of them are about the same recipient."""
    return blake2b(failures[0].recipient.encode("utf-8", "replace"), digest_size=6).hexdigest()


def _for_people(failures: Sequence[Failure]) -> bytes:
    lines = ["This mail of a list could not be delivered to:", ""]
    lines += [f"<{_clean(failure.recipient)}>: {failure.code} {_clean(failure.text)}" for failure in failures]
    return "\r\n".join([*lines, ""]).encode()


def _for_machines(item: Item, failures: Sequence[Failure], *, site: str, mta: str, now: datetime) -> bytes:
    """Return the fields of RFC 3464 2.2 and 2.3."""
    lines = [f"Reporting-MTA: dns; {_clean(site)}", f"Arrival-Date: {format_datetime(item.accepted_at)}"]
    for failure in failures:
        lines += [
            "",
            f"Final-Recipient: {_typed_address(failure.recipient)}",
            "Action: failed",
            f"Status: {failure.status}",
            f"Remote-MTA: dns; {_clean(mta)}",
            f"Diagnostic-Code: smtp; {failure.code} {_clean(failure.text)}",
            f"Last-Attempt-Date: {format_datetime(now)}",
        ]
    return "\r\n".join([*lines, ""]).encode()


def _typed_address(address: str) -> str:
    """Write an address with its type: rfc822, or utf-8 in the form that stays ASCII (RFC 6533 3)."""
    if address.isascii():
        return f"rfc822; {_clean(address)}"
    escaped = "".join(
        character if character.isascii() and character != "\\" else f"\\x{{{ord(character):X}}}"
        for character in address
    )
    return f"utf-8; {_clean(escaped)}"


def _original_header(content: bytes) -> bytes:
    """Return the first whole fields of the original, at most MAX_RETURNED octets."""
    kept = b""
    for field in read_header(content).fields:
        if len(kept) + len(field.raw) > MAX_RETURNED:
            break
        kept += field.raw if field.raw.endswith(b"\n") else field.raw + b"\r\n"
    return kept


def _clean(text: str) -> str:
    """Keep a text within its line."""
    return _CONTROL.sub(" ", text)
