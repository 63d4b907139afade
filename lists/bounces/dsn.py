"""Delivery status notifications, RFC 3464 (and 6533): whom a report names, with status and diagnostic. Pure.

Only what failed or is delayed counts; delivered, relayed and expanded are good news. The address we sent to is the Original-Recipient where
the other side gives one: the Final-Recipient may be where it was forwarded to.
"""

import re
from collections.abc import Iterator
from email.message import Message

from msgspec import Struct

from lists.bounces.failure import Failure, make_failure
from lists.bounces.parts import MAX_RECIPIENTS, field, find_part

_XTEXT = re.compile(r"\+([0-9A-F]{2})")  # RFC 3461 4
_UTF8_ADDR = re.compile(r"\\x\{([0-9A-Fa-f]{2,6})\}")  # RFC 6533 3
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
    if part is None:
        return None
    failures = []
    arrived = False
    for block in _blocks(part):
        fate = _fate(block)
        addresses = tuple(dict.fromkeys(_addresses(block)))
        if addresses and fate in ("failed", "delayed"):
            failures.append(_failure(block, addresses, failed=fate == "failed"))
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


def _failure(block: Message, addresses: tuple[str, ...], *, failed: bool) -> Failure:
    kind, separator, said = field(block, "diagnostic-code").partition(";")
    diagnostic = said if separator else kind
    return make_failure(addresses, field(block, "status"), diagnostic, permanent=failed)


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
