"""What a handler says of its item: Ack with outputs, Retry or Shunt."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from msgspec import Struct

from bus.messages import Note
from config.names import ListId, Queue


class Output(Struct, frozen=True):
    """One item that follows from the handled one.

    `content` None is the same body; `recipients` become a body of their own and are cut into slices; `memberships`, one for each of them, give each
    a reverse-path of its own (VERP); without either kind of recipient it is the item's (but outgoing wants one said); `reverse_path` None is the list's -bounces address; `args` is a small map for the next
    runner, added to what the item inherits; `list_id` None is the item's.
    """

    queue: str | Queue
    content: bytes | None = None
    recipient: str | None = None
    recipients: tuple[str, ...] = ()
    reverse_path: str | None = None
    args: Mapping[str, Any] | None = None
    due_at: datetime | None = None
    list_id: ListId | None = None
    memberships: tuple[int, ...] = ()
    part: tuple[int, int] | None = None  # of the item's own recipients: outgoing cuts a range so


class Ack(Struct, frozen=True, tag="ack.v1"):
    """Done. `held`: the post now lies in the list store for a moderator; `note`: outgoing's last, rides along."""

    outputs: Sequence[Output] = ()
    reason: str = ""
    held: bool = False
    note: Note | None = None


class Retry(Struct, frozen=True, tag="retry.v1"):
    """Not now. `delay_s` None is the bus's back-off; `away`: the store or the MTA is at fault, which counts no attempt."""

    reason: str
    delay_s: float | None = None
    away: bool = False


class Shunt(Struct, frozen=True, tag="shunt.v1"):
    """Never by itself: a person must look. `reason` is a short code, `detail` is for that person."""

    reason: str
    detail: str = ""


Outcome = Ack | Retry | Shunt
