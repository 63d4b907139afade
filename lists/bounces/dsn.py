"""Delivery status notifications, RFC 3464 (and 6533): whom a report names, with status and diagnostic. Pure.

Only what failed or is delayed counts; delivered, relayed and expanded are good news. The address we sent to is the Original-Recipient where
the other side gives one: the Final-Recipient may be where it was forwarded to.
"""

import email
import re
from collections.abc import Iterator
from email.message import Message
from email.policy import compat32
from typing import Final

from msgspec import Struct

from lists.bounces.failure import Failure, classify, make_failure
from lists.bounces.parts import MAX_RECIPIENTS, field, find_part, own_text, words_about

MAX_WORDS: Final = 64 * 1024  # characters of what is written to a person
MAX_LOOSE: Final = 64 * 1024  # characters in which a report without parts is looked for

_XTEXT = re.compile(r"\+([0-9A-F]{2})")  # RFC 3461 4
_UTF8_ADDR = re.compile(r"\\x\{([0-9A-Fa-f]{2,6})\}")  # RFC 6533 3
_COMMENT = re.compile(r"\(([^()]{1,200})\)")  # "5.0.0 (recipient reached disk quota)"
_LOOSE = re.compile(r"(?is)\ncontent-type:[ \t]*message/delivery-status[^\n]*\n(.*?)(?:\n--|\Z)")
_VAGUE = re.compile(r"(?:[45]\.0\.0)?")
_WORD = re.compile(r"[a-z]+")
_FATES = {
    "failed": "failed",
    "failure": "failed",
    "error": "failed",
    "delayed": "delayed",
    "delivered": "arrived",
    "relayed": "arrived",
    "expanded": "arrived",
}  # RFC 3464 2.3.3, and what was seen in its place


class Notification(Struct, frozen=True):
    """One report: `failures`, delayed ones as not permanent; `arrived` says that it told of success, which is no bounce."""

    failures: tuple[Failure, ...]
    arrived: bool


def read_dsn(message: Message) -> Notification | None:
    """Return what a report says; None when this is none.

    A report without the envelope of multipart/report is read too: some gateways forget it.
    """
    part = find_part(message, "message/delivery-status")
    blocks = tuple(_blocks(part)) if part is not None else _loose_blocks(message)
    if not blocks:
        return None if part is None else Notification((), arrived=False)
    failures = []
    arrived = False
    words = own_text(message, MAX_WORDS)
    for block in blocks:
        fate = _fate(block)
        addresses = tuple(dict.fromkeys(_addresses(block)))
        if addresses and fate in ("failed", "delayed"):
            failures.append(_failure(block, addresses, words, failed=fate == "failed"))
        arrived |= fate == "arrived"
        if len(failures) >= MAX_RECIPIENTS:
            break
    return Notification(tuple(failures), arrived and not failures)


def _fate(block: Message) -> str:
    """Return "failed", "delayed", "arrived" or "": by Action, where it says nothing that is known by the class of Status.

    An expired mail is "failed" with a status of class 4 (RFC 3463 2): nobody will try it again.
    """
    action = _WORD.match(field(block, "action").lower())
    if action is not None and action[0] in _FATES:
        return _FATES[action[0]]
    return {"5": "failed", "4": "delayed", "2": "arrived"}.get(field(block, "status")[:1], "")


def _blocks(part: Message) -> Iterator[Message]:
    payload = part.get_payload()
    if isinstance(payload, list):
        yield from (block for block in payload if isinstance(block, Message))


def _loose_blocks(message: Message) -> tuple[Message, ...]:
    """Find the report in a multipart/report whose parts cannot be told, since somebody broke its boundary: the report is plain text."""
    if message.get_content_type() != "multipart/report" or message.is_multipart():
        return ()
    found = _LOOSE.search(str(message.get_payload())[:MAX_LOOSE])
    texts = re.split(r"\r?\n[ \t]*\r?\n", found[1].strip()) if found else ()
    return tuple(email.message_from_string(text, policy=compat32) for text in texts)


def _failure(block: Message, addresses: tuple[str, ...], words: str, *, failed: bool) -> Failure:
    """Make a failure of a block; where it gives no reason, what is written to the person may."""
    kind, separator, said = field(block, "diagnostic-code").partition(";")
    diagnostic = said if separator else kind
    if classify(field(block, "status"), diagnostic) == "other":  # X.400 gateways say there what they mean
        diagnostic = f"{diagnostic} {field(block, 'x400-supplementary-info')}"
    if not diagnostic.strip():
        comments = _COMMENT.findall(f"{field(block, 'status')} {field(block, 'action')}")
        diagnostic = " ".join(comments)
        if not diagnostic and _VAGUE.fullmatch(field(block, "status")):
            diagnostic = _told(addresses, words)  # a footer that speaks of viruses must not outvote 5.1.1
    return make_failure(addresses, field(block, "status"), diagnostic, permanent=failed)


def _told(addresses: tuple[str, ...], words: str) -> str:
    """Return what the text says of the first of these addresses that it names, "" when it names none."""
    named = next((each for each in addresses if each.lower() in words.lower()), "")
    return words_about(named, words) if named else ""


def _addresses(block: Message) -> Iterator[str]:
    for name in ("original-recipient", "final-recipient", "x-actual-recipient"):
        kind, separator, address = field(block, name).partition(";")
        address = _bare(address if separator else kind)
        if kind.strip().lower() == "utf-8":
            address = _UTF8_ADDR.sub(_letter, address)
        if "@" in address:
            yield address
            if _XTEXT.search(address):  # some senders forget to decode; "+2B" may also be part of the address
                yield _XTEXT.sub(lambda found: chr(int(found[1], 16)), address)


def _bare(address: str) -> str:
    return address.strip().strip("<>").strip()


def _letter(found: re.Match[str]) -> str:
    number = int(found[1], 16)
    return chr(number) if number < 0x110000 and not 0xD800 <= number < 0xE000 else "\ufffd"
