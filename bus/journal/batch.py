"""What a batch of operations names, and what it changed: the values between an engine and the ledger.

An engine asks `wanted` what to load, fills a Known, and writes the Changes down. `find_mistake` says what no engine could carry out; the
broker asks it about what comes from a client, and an engine refuses it before anything is done.
"""

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import assert_never

import msgspec
from msgspec import Struct, field

from bus.journal.api import (
    Acknowledged,
    Blame,
    Counters,
    Defer,
    Drop,
    Op,
    Pause,
    Row,
    Settle,
    Shunt,
    Shunted,
    Store,
    Trim,
    Unshunt,
    Write,
)
from bus.messages import Item, Note, decode_item
from config.names import ItemId, Queue

HOUR_MS = 3_600_000
# How long an id is known once it was published: a front-end repeats it for 30 s, a person a command the next day.
SEEN_MS = 48 * HOUR_MS
# How long a mail whose 250 may not have arrived is known again: Postfix sends it after 300 s, Exim after 900 s, and later again.
RESENT_MS = 24 * HOUR_MS
TRIM = 500  # rows that one Trim forgets: a commit stays short (bus.md D 25)

_ID = re.compile(r"[0-9a-f]{32}")


class Entry(Struct, omit_defaults=True):
    """One stored item: what dispatch knows of it, and what stays in the journal."""

    row: Row
    body: int  # number of the content's body
    recipients: int = 0  # number of the body with the recipients; 0: none
    root: ItemId = ItemId("")
    message_id: str = ""
    env: bytes = b""  # the Item as msgpack; an engine may leave it out when it loads
    reason: str = ""  # of the last Defer or Shunt
    detail: str = ""
    shunted_ms: int = 0


class Seen(Struct, frozen=True, omit_defaults=True):
    """An id that was published lately."""

    id: ItemId
    at_ms: int
    key: bytes = b""  # its content key, b"" for none
    first: ItemId = ItemId("")  # suppressed as a copy of this one; "": it is itself a first copy


class Known(Struct):
    """What is on disk of all that a batch names; what is absent here is absent there."""

    entries: dict[int, Entry] = {}
    rows: dict[ItemId, int] = {}  # ids that have a row
    seen: dict[ItemId, Seen] = {}
    unreplied: dict[bytes, tuple[ItemId, int]] = {}  # content key -> first copy, when it came
    refs: dict[int, int] = {}  # body -> items that use it; for an engine that keeps all of it in one Known
    notes: dict[int, dict[int, Note]] = {}  # row -> number -> note


class Changes(Struct, omit_defaults=True):
    """What a batch changed; to be written in one transaction. A key is named at most once in each field."""

    added: dict[int, Entry] = {}
    updated: dict[int, Entry] = {}  # marked in some way, added ones too: to be written after them
    removed: dict[int, ItemId] = {}
    bodies: dict[int, bytes] = {}  # new ones
    uses: dict[int, int] = {}  # body -> how many more items (or fewer) use it
    seen: dict[ItemId, Seen] = {}
    unreplied: dict[bytes, tuple[ItemId, int] | None] = {}  # None: forget the key
    notes: dict[int, dict[int, Note]] = {}  # row -> number -> note
    counts: dict[Queue, Counters] = {}  # to add
    paused: dict[Queue, bool] = {}
    trim: bool = False
    shrink: bool = False


class Wanted(Struct):
    """The keys that a batch names."""

    rows: set[int] = field(default_factory=set)
    ids: set[ItemId] = field(default_factory=set)  # that may have a row
    published: set[ItemId] = field(default_factory=set)  # that may have been seen
    keys: set[bytes] = field(default_factory=set)
    noted: set[int] = field(default_factory=set)  # rows whose notes matter


def find_mistake(op: Op) -> str:
    """Say what a caller did wrong that no engine can carry out; "" when it is fine. For what comes from a client."""
    match op:
        case Store():
            if op.content_keys and len(op.content_keys) != len(op.items):
                return f"{len(op.items)} items have {len(op.content_keys)} content keys"
            return _find_bad_id(op.items)
        case Settle():
            last = len(op.bodies)
            for placed in op.outputs:
                used = placed.recipients
                if not -1 <= placed.content < last or (used is not None and not -1 <= used < last):
                    return f"output {placed.item.id} uses a body that was not sent"
            return _find_bad_id(placed.item for placed in op.outputs)
        case Write():
            return "" if 0 <= op.note.number < 2**31 else f"{op.note.number} is not the number of a note"
        case Acknowledged():
            return next((f"{text!r} is not an id" for text in op.ids if not is_id(text)), "")
        case _:
            return ""


def _find_bad_id(items: Iterable[Item]) -> str:
    for item in items:
        if not is_id(item.id):
            return f"{item.id!r} is not an id"
        if item.root_id != item.id and not is_id(item.root_id):
            return f"{item.root_id!r} is not a root id"
    return ""


def is_id(text: str) -> bool:
    """Say whether a text has the form of an id: 32 lower-case hex digits."""
    return _ID.fullmatch(text) is not None


def wanted(batch: Sequence[Op]) -> Wanted:
    """Collect what must be known before the batch can be applied; raises ValueError for a mistake of the caller."""
    want = Wanted()
    for op in batch:
        if mistake := find_mistake(op):
            raise ValueError(mistake)
        match op:
            case Store():
                ids = [item.id for item in op.items]
                want.ids.update(ids)
                want.published.update(ids)
                want.keys.update(key for key in op.content_keys if key)
            case Settle():
                want.rows.add(op.row)
                want.ids.update(placed.item.id for placed in op.outputs)
            case Write():
                want.rows.add(op.row)
                want.noted.add(op.row)
            case Defer() | Blame() | Shunt():
                want.rows.add(op.row)
            case Unshunt() | Drop():
                want.rows.update(op.rows)
            case Acknowledged():
                want.published.update(op.ids)
            case Pause() | Trim():
                pass
            case _:
                assert_never(op)
    return want


def read_item(entry: Entry) -> Item:
    """Decode the item of an entry; one that is damaged is shown as far as the other columns know it."""
    try:
        return decode_item(entry.env)
    except msgspec.DecodeError:
        row = entry.row
        return Item(
            id=row.id,
            root_id=entry.root,
            queue=row.queue,
            list_id=row.list_id,
            accepted_at=datetime.fromtimestamp(row.accepted_ms / 1000, UTC),
            message_id=entry.message_id,
            size=row.size,
        )


def show_shunted(entry: Entry) -> Shunted:
    """Say of a shunted item what a person wants to know."""
    return Shunted(
        row=entry.row.row,
        item=read_item(entry),
        reason=entry.reason,
        detail=entry.detail,
        at_ms=entry.shunted_ms,
        attempts=entry.row.attempts,
        crashes=entry.row.crashes,
    )


def is_within(window_ms: int, at_ms: int, now_ms: int) -> bool:
    """Say whether a time is inside a window around now; a clock that jumped back must not keep things for ever."""
    return -window_ms < now_ms - at_ms < window_ms
