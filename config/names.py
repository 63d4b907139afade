"""The types and identifiers that every part of Postroom shares.

Ids are 32 lower-case hex digits: a UUIDv7 for mail that the front-end accepts, a blake2b-128 for everything that
follows from it, so that work done twice makes the same ids. Imports nothing of ours.
"""

import os
from hashlib import blake2b
from typing import NewType

ItemId = NewType("ItemId", str)  # 32 lower-case hex digits
ListId = NewType(
    "ListId", str
)  # RFC 2919, without the angle brackets: "ant.example.org"; "" is no list at all
Queue = NewType("Queue", str)  # "incoming", "outgoing", ...; [a-z][a-z0-9_-]{0,31}
Instance = NewType("Instance", str)  # one life of one process: "incoming-1:9f3c2a10"; a restart makes another

INCOMING = Queue("incoming")
BOUNCES = Queue("bounces")
CONFIRM = Queue("confirm")
MEMBERSHIP = Queue("membership")
OWNER = Queue("owner")
REQUEST = Queue("request")
OUTGOING = Queue("outgoing")

BUILT_IN_QUEUES = (INCOMING, BOUNCES, CONFIRM, MEMBERSHIP, OWNER, REQUEST, OUTGOING)

EX_CONFIG = 78  # sysexits.h: bad configuration; master does not start such a child again


def new_item_id(now_ms: int) -> ItemId:
    """Make a UUIDv7 (RFC 9562 5.7) as 32 hex digits; `now_ms` is wall time in milliseconds since 1970."""
    random = int.from_bytes(os.urandom(10), "big")
    value = (
        (now_ms & (1 << 48) - 1) << 80
        | 0x7 << 76
        | (random >> 68 & 0xFFF) << 64
        | 0b10 << 62
        | random & (1 << 62) - 1
    )
    return ItemId(f"{value:032x}")


def output_id(parent: ItemId, index: int, queue: Queue) -> ItemId:
    """Derive the id of a handler's output, so that a second run of the handler makes the same one."""
    return ItemId(blake2b(f"{parent}|{index}|{queue}".encode(), digest_size=16).hexdigest())


def id_about(text: str) -> ItemId:
    """Derive an id from what an item is about ("held:17:accept"), so that the same command twice is one item.

    What can come again has its occurrence in the text ("digest:ant.example.org:2026-11-23").
    """
    return ItemId(blake2b(text.encode(), digest_size=16).hexdigest())
