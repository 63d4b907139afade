"""From a whole message to one verdict for each recipient, and to the items that the bus stores. Pure.

A recipient named twice in a transaction is one item and two replies. The content key says when a mail is the same mail again: an MTA that
lost our reply sends the same octets with the same Message-ID; mail without Message-ID and Received has nothing that tells two alike
messages apart, so it has no key. Postroom adds and changes no header here: the content is published as it came.
"""

import re
from collections.abc import Callable, Sequence
from datetime import datetime
from hashlib import blake2b
from typing import Final

from msgspec import Raw, Struct

from bus.messages import Item
from config.names import ItemId
from lists.address import Destination
from lists.policy import Refused, Taken
from lmtp import replies
from lmtp.data import Message
from lmtp.replies import Reply

MAX_HEADER: Final = 256 * 1024  # octets searched for a Message-ID; a longer header block is not a header
MAX_MESSAGE_ID: Final = 998  # characters of it that are kept, RFC 5322 2.1.1

_folded = re.compile(rb"[^\r\n]*(?:\r\n[ \t][^\r\n]*)*").match
# Controls (C1 too: U+009B begins an escape sequence), line separators, and what turns the direction of text: it goes onto terminals.
_not_text = re.compile("[\x00-\x20\x7f-\x9f\u2028-\u202e\u2066-\u2069]+").sub


class Entry(Struct, frozen=True):
    """A recipient that was answered 250 at RCPT."""

    recipient: str
    destination: Destination


class Origin(Struct, frozen=True):
    """What all items of one transaction have in common beside the message."""

    reverse_path: str
    accepted_at: datetime
    client: Raw  # {"addr", "lhlo", "session"} as msgpack


class Header(Struct, frozen=True):
    """The little that is read of a header."""

    message_id: str  # as it stands there, without folding; "" when there is none
    is_traceable: bool  # it has a Message-ID or a Received field
    is_report: bool  # a multipart/report, RFC 6522: at LIST-admin it goes where bounces go


class Plan(Struct, frozen=True):
    """What is published, and what each accepted RCPT is answered: a reply, or the item whose fate decides."""

    items: tuple[Item, ...]
    content_keys: tuple[bytes, ...]
    verdicts: tuple[Reply | int, ...]


def read_header(content: bytes) -> Header:
    """Look for a few fields by a bounded search of octets; nothing is parsed, so nothing can be made to take long."""
    end = 0 if content.startswith(b"\r\n") else content.find(b"\r\n\r\n", 0, MAX_HEADER)
    block = b"\r\n" + content[: end if end >= 0 else MAX_HEADER]
    lowered = block.lower()
    value = _find_field(b"message-id", block, lowered)[: 4 * MAX_MESSAGE_ID].decode("utf-8", "replace")
    message_id = _not_text("", value)[:MAX_MESSAGE_ID]
    is_report = _find_field(b"content-type", lowered, lowered).strip().startswith(b"multipart/report")
    return Header(message_id, bool(message_id) or b"\r\nreceived:" in lowered, is_report)


def _find_field(name: bytes, block: bytes, lowered: bytes) -> bytes:
    """Return the value of the first field of this name, folded as it is; b"" when there is none. `lowered` is `block` in lower case."""
    at = lowered.find(b"\r\n%b:" % name)
    value = _folded(block, at + len(name) + 3) if at >= 0 else None
    return value[0] if value else b""


def refuse_message(message: Message) -> Reply | None:
    """Say why nobody takes this message, whatever the lists would say of it."""
    if message.too_big:
        return replies.TOO_BIG
    if message.given_up:
        return replies.NO_ROOM
    return replies.BARE_NEWLINE if message.bare_newline else None


def judge_entry(
    entry: Entry,
    judge: Callable[[Destination], Taken | Refused],
    failed: Callable[[Entry, Exception], None],
) -> Reply | Destination:
    """Say where the message goes, or why it does not.

    A rule that raises is our own fault: 451 for its recipient, `failed` is told, and the others are judged as if nothing had been.
    """
    try:
        verdict = judge(entry.destination)
    except Exception as error:
        failed(entry, error)
        return replies.FAILED
    if isinstance(verdict, Refused):
        return replies.make_reply(verdict.code, verdict.enhanced, verdict.text, verdict.rule)
    return verdict.destination  # not always the one of RCPT: a report to LIST-admin goes to bounces


def make_plan(
    message: Message,
    header: Header,
    entries: Sequence[Entry],
    answers: Sequence[Reply | Destination],
    origin: Origin,
    new_id: Callable[[], ItemId],
) -> Plan:
    """Make one item for each different recipient that takes the message."""
    places: dict[str, int] = {}
    items: list[Item] = []
    verdicts: list[Reply | int] = []
    for entry, answer in zip(entries, answers, strict=True):
        if isinstance(answer, Reply):
            verdicts.append(answer)
            continue
        place = places.setdefault(answer.address or entry.recipient.lower(), len(items))
        verdicts.append(place)
        if place == len(items):
            items.append(
                _make_item(message, Entry(entry.recipient, answer), header.message_id, origin, new_id())
            )
    keys = (
        tuple(content_key(item, message.digest, address) for item, address in zip(items, places, strict=True))
        if header.is_traceable
        else ()
    )
    return Plan(tuple(items), keys, tuple(verdicts))


def _make_item(message: Message, entry: Entry, message_id: str, origin: Origin, item_id: ItemId) -> Item:
    return Item(
        id=item_id,
        root_id=item_id,
        queue=entry.destination.queue,
        list_id=entry.destination.list_id,
        recipient=entry.recipient,
        reverse_path=origin.reverse_path,
        accepted_at=origin.accepted_at,
        message_id=message_id,
        size=message.size,
        args={"client": origin.client},
    )


def content_key(item: Item, digest: bytes, address: str) -> bytes:
    """Name one mail to one recipient, whenever it comes: from its envelope, its Message-ID and the digest of its octets.

    `address` is the recipient in its one spelling (Destination.address): the same mail to ANT@ and to ant@ of an alias domain is one mail.
    """
    parts = (item.reverse_path, address, item.message_id)
    key = blake2b(digest, digest_size=32)
    for part in parts:
        octets = part.encode()
        key.update(b"%d:%b" % (len(octets), octets))
    return key.digest()


def final_replies(plan: Plan, outcome: tuple[ItemId, ...] | Reply) -> tuple[Reply, ...]:
    """Answer each accepted RCPT, in order (RFC 2033 4.2). `outcome`: the ids under which the items are stored, or why they are not."""
    if isinstance(outcome, Reply):
        fates = [outcome] * len(plan.items)
    else:
        fates = [replies.accepted(item_id) for item_id in outcome]
    return tuple(verdict if isinstance(verdict, Reply) else fates[verdict] for verdict in plan.verdicts)
