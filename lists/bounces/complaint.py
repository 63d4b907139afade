"""Complaints: feedback reports in ARF, RFC 5965, by which a mailbox provider says that somebody called our mail spam. Pure.

Not a bounce: the address works. What follows from it is the runner's matter. Many providers take the address out of the report; then the
reverse-path of our mail, whose VERP token is still in it, says whose it was.
"""

from email.message import Message

from msgspec import Struct

from lists.bounces.parts import field, find_part, text_of

_ABOUT_PEOPLE = ("abuse", "fraud", "virus", "other", "not-spam", "opt-out", "opt-out-list")
MAX_TEXT = 64 * 1024  # characters of a feedback report


class Complaint(Struct, frozen=True):
    """One feedback report."""

    addresses: tuple[str, ...]  # whom it names; often nobody
    original_from: str  # Original-Mail-From
    feedback_type: str


def read_complaint(message: Message) -> Complaint | None:
    """Return what a feedback report says; None when this is none, or is about authentication or says that our mail is no spam."""
    part = find_part(message, "message/feedback-report")
    if part is None:
        return None
    fields = _fields(part)
    kind = _last(fields, "feedback-type").lower()
    if kind not in _ABOUT_PEOPLE or kind == "not-spam":
        return None
    named = [*fields.get("original-rcpt-to", ()), *fields.get("removal-recipient", ())]
    addresses = tuple(dict.fromkeys(each.strip("<> ") for each in named if "@" in each))
    return Complaint(addresses, _last(fields, "original-mail-from").strip("<> "), kind)


def _fields(part: Message) -> dict[str, list[str]]:
    """Read the report's own fields: some parsers give them as a message, some as text."""
    found: dict[str, list[str]] = {}
    payload = part.get_payload()
    if isinstance(payload, list) and payload and isinstance(payload[0], Message):
        inner = payload[0]
        for name in inner.keys():  # noqa: SIM118 - a Message is no dict: `in` it looks names up
            found.setdefault(name.lower(), []).append(field(inner, name))
        return found
    for line in text_of(part, MAX_TEXT).splitlines():
        name, colon, value = line.partition(":")
        if colon:
            found.setdefault(name.strip().lower(), []).append(value.strip())
    return found


def _last(fields: dict[str, list[str]], name: str) -> str:
    return fields.get(name, [""])[-1]
