"""Reads one mail to LIST-bounces@: DSN, complaint, automatic reply, or one of the odd forms. Pure; never raises.

Whom the envelope recipient names (a VERP token, a probe) comes before all this and is the runner's; what it adds is whether the mail is a bounce at
all, and why it bounced. The order: what says itself that it is a report, then what says that it is automatic, then heuristics; last what came back by
its envelope or shape but names nobody that can be read.
"""

import re
from email.message import Message

from lists.bounces.automatic import why_automatic
from lists.bounces.complaint import read_complaint
from lists.bounces.dsn import read_dsn
from lists.bounces.failure import Report, make_failure
from lists.bounces.heuristics import guess_failures
from lists.bounces.parts import Unreadable, field, find_part, parse_message, returned_header
from lists.bounces.returned import find_return

_MESSAGE_ID = re.compile(r"<[^<>\s]{1,998}>")
_PATH = re.compile(r"<([^<>\s]*)>")


def read_report(content: bytes, reverse_path: str = "") -> Report:
    """Say what a mail is, and whom it says what of; `reverse_path` is of its envelope.

    What came back and cannot be read further ("returned", or "unreadable" with the null reverse-path) has one failure that names nobody.
    Takes 0.5 ms for a usual one; above 64 KiB call it in a thread (1 MiB: 50 ms).
    """
    try:
        message = parse_message(content)
        return _read(message, content, reverse_path)
    except (Unreadable, RecursionError) as error:
        why = str(error)[:200] or type(error).__name__
        returned = () if reverse_path else (make_failure((), "", why, permanent=True),)
        return Report("unreadable", returned, reason=why)


def _read(message: Message, content: bytes, reverse_path: str) -> Report:
    original_from, original_id = _original(message)
    notification = read_dsn(message)
    if notification is not None and notification.failures:
        return Report("failure", notification.failures, (), original_from, original_id, "rfc3464")
    complaint = read_complaint(message)
    if complaint is not None:
        sender = complaint.original_from or original_from
        return Report(
            "complaint", (), complaint.addresses, sender, original_id, "rfc5965", complaint.feedback_type
        )
    if notification is not None and notification.arrived:
        return Report("automatic", method="rfc3464", reason="no recipient failed")
    reason = why_automatic(message)
    if reason:
        return Report("automatic", method="rfc3834", reason=reason)
    guessed = guess_failures(content)
    if guessed:
        return Report("failure", guessed, (), original_from, original_id, "heuristics")
    if find_part(message, "message/disposition-notification") is not None:
        return Report("automatic", method="rfc8098", reason="a receipt")
    returned = find_return(message, reverse_path)
    if returned is not None:
        return Report("returned", (returned,), (), original_from, original_id)
    return Report("unknown", (), (), original_from, original_id)


def _original(message: Message) -> tuple[str, str]:
    header = returned_header(message)
    if header is None:
        return "", ""
    path = _PATH.search(field(header, "return-path"))
    message_id = _MESSAGE_ID.search(field(header, "message-id"))
    return (path[1] if path else "", message_id[0] if message_id else "")
