"""Turns the outputs of an Ack into items with ids, parts and bodies, or says what is wrong with them. Pure.

A handler may run twice, so everything here follows from the item and the Ack alone: the same ids, the same slices. What a
handler of one's own gives is checked to the last character: a line end in an address would be a command at the MTA.
"""

import re
from collections.abc import Container, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
from msgspec import Raw, Struct

from bus.messages import MAX_HOP, MAX_OUTPUTS, Item, Placed, RecipientList
from bus.messages import encode as encode_message
from config.names import OUTGOING, ListId, Queue, output_id
from runners.outcome import Ack, Output
from runners.slices import cut

MAX_ADDRESS = 1000  # characters; RFC 5321 4.5.3.1.3 allows 256 octets, VERP of long addresses needs more
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_SAME = -1  # in Placed: the body of the item that is settled


class BadOutput(Exception):
    """An output that nobody can take; a bug of the handler's, told to a person."""


class HopLimit(Exception):
    """This item has gone through so many handlers that it goes round in a circle."""


class Placement(Struct, frozen=True):
    """What an ack needs: the outputs, and the frames that they count into."""

    outputs: tuple[Placed, ...] = ()
    bodies: tuple[bytes, ...] = ()


class _Bodies:
    """The frames of one ack; equal bodies are one frame."""

    def __init__(self) -> None:
        self._numbers: dict[bytes, int] = {}

    def number(self, body: bytes) -> int:
        return self._numbers.setdefault(body, len(self._numbers))

    def all(self) -> tuple[bytes, ...]:
        return tuple(self._numbers)


def lists_without_reverse_path(item: Item, ack: Ack) -> frozenset[ListId]:
    """Return the lists whose -bounces address `place` will ask for."""
    return frozenset(
        _list_of(item, output)
        for output in ack.outputs
        if isinstance(output, Output) and output.reverse_path is None
    )


def place(
    item: Item, content_size: int, ack: Ack, *, queues: Container[str], bounces: Mapping[ListId, str]
) -> Placement:
    """Give every output its id, part and frames; raises BadOutput or HopLimit.

    `content_size` is of the item's own content; `queues` are all there are; `bounces` has the -bounces address of each list that
    `lists_without_reverse_path` named.
    """
    outputs = list(ack.outputs)
    if len(outputs) > MAX_OUTPUTS:
        raise BadOutput(f"{len(outputs)} outputs; one ack gives at most {MAX_OUTPUTS}")
    for index, output in enumerate(outputs):
        _check(index, output, queues)
    bodies = _Bodies()
    placed: list[Placed] = []
    for index, output in enumerate(outputs):
        room = MAX_OUTPUTS - len(placed) - (len(outputs) - index - 1)
        made = _make_item(item, output, content_size, bounces)
        content = _SAME if output.content is None else bodies.number(bytes(output.content))
        placed += _in_parts(made, output, content, bodies, item.id, len(placed), room)
    return Placement(tuple(placed), bodies.all())


def _in_parts(
    made: Item, output: Output, content: int, bodies: _Bodies, parent: str, index: int, room: int
) -> list[Placed]:
    """Cut an output with many recipients into slices, at most `room`; give each its id."""
    frame: int | None = None
    parts: Sequence[tuple[int, int] | None] = (None,)
    if output.part is not None:
        frame, parts = _SAME, cut(output.part, room)
    elif output.recipients:
        frame = bodies.number(
            encode_message(RecipientList(tuple(output.recipients), tuple(output.memberships)))
        )
        parts = cut((0, len(output.recipients)), room)
    return [
        Placed(
            item=msgspec.structs.replace(made, id=output_id(made.id, index + number, made.queue), part=part),
            content=content,
            recipients=frame,
        )
        for number, part in enumerate(parts)
    ]


def _make_item(item: Item, output: Output, content_size: int, bounces: Mapping[ListId, str]) -> Item:
    """Return the output's item, still under its parent's id and without a part."""
    list_id = _list_of(item, output)
    goes_round = not (
        item.queue == OUTGOING and output.queue == OUTGOING
    )  # ranges, slices and rests keep the hop
    hop = item.hop + goes_round
    if hop > MAX_HOP:
        raise HopLimit(f"made by {hop} handlers in a row")
    recipient = output.recipient
    if recipient is None:
        recipient = "" if output.recipients or output.part is not None else item.recipient
    return Item(
        id=item.id,
        root_id=item.root_id,
        queue=Queue(output.queue),
        list_id=list_id,
        recipient=recipient,
        reverse_path=bounces.get(list_id, "") if output.reverse_path is None else output.reverse_path,
        accepted_at=item.accepted_at,
        message_id=item.message_id,
        size=content_size if output.content is None else len(output.content),
        hop=hop,
        args={
            **item.args,
            **{key: _encode_argument(key, value) for key, value in (output.args or {}).items()},
        },
        due_at=output.due_at,
    )


def read_args(item: Item) -> dict[str, Any]:
    """Return an item's args as plain values."""
    return {key: msgspec.msgpack.decode(value) for key, value in item.args.items()}


def _list_of(item: Item, output: Output) -> ListId:
    return item.list_id if output.list_id is None else output.list_id


def _encode_argument(key: str, value: object) -> Raw:
    try:
        return Raw(msgspec.msgpack.encode(value))
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise BadOutput(f"args[{key!r}] cannot be encoded: {error}") from error


# What a handler of one's own can get wrong ----------------------------------------------------------------------------


def _check(index: int, output: object, queues: Container[str]) -> None:
    """Raise BadOutput, in words for the author of the runner, if the rest of this module could not take this output."""
    if not isinstance(output, Output):
        raise BadOutput(f"outputs[{index}] is {type(output).__name__}; it must be an Output")
    where = f"outputs[{index}] to {output.queue!r}: "
    if output.queue not in queues:
        raise BadOutput(where + "no such queue; a queue is built in or has a table [runners.NAME]")
    if output.content is not None and not isinstance(output.content, bytes | bytearray | memoryview):
        raise BadOutput(where + f"content is {type(output.content).__name__}; it must be bytes")
    if isinstance(output.recipients, str) or not isinstance(output.recipients, Sequence):
        raise BadOutput(where + "recipients must be a tuple of addresses")
    if output.memberships and len(output.memberships) != len(output.recipients):
        raise BadOutput(where + "must have one membership for each of its recipients")
    if output.recipients and output.recipient is not None:
        raise BadOutput(where + "has both recipient and recipients")
    if (
        output.queue == OUTGOING
        and output.recipient is None
        and not output.recipients
        and output.part is None
    ):
        raise BadOutput(where + "has no recipient")
    for name, address in [] if _is_clean(output) else _addresses(output):
        problem = _problem_of(address, may_be_empty=name == "reverse_path")
        if problem:
            raise BadOutput(where + f"{name} {address!r:.200} {problem}")
    if output.due_at is not None and (
        not isinstance(output.due_at, datetime) or output.due_at.utcoffset() is None
    ):
        raise BadOutput(where + "due_at must be a datetime with a time zone")
    _check_args(where, output.args)


def _check_args(where: str, args: object) -> None:
    if args is None:
        return
    if not isinstance(args, Mapping) or not all(isinstance(key, str) for key in args):
        raise BadOutput(where + "args must be a map with names as keys")


def _is_clean(output: Output) -> bool:
    """Say quickly that nothing is wrong with the addresses: for 1,000 recipients at C speed, 0.1 ms instead of 1 ms."""
    if not output.recipients or output.reverse_path is not None or output.recipient is not None:
        return False
    try:
        text = "".join(output.recipients)
        return (
            _CONTROL.search(text) is None
            and text.isascii()
            and min(map(len, output.recipients)) > 0
            and max(map(len, output.recipients)) <= MAX_ADDRESS
        )
    except TypeError:
        return False


def _addresses(output: Output) -> list[tuple[str, object]]:
    named: list[tuple[str, object]] = [("recipients", address) for address in output.recipients]
    if output.recipient is not None:
        named.append(("recipient", output.recipient))
    if output.reverse_path is not None:
        named.append(("reverse_path", output.reverse_path))
    return named


def _problem_of(address: object, *, may_be_empty: bool) -> str:
    """Say what is wrong with an address as a part of a command (RFC 5321 4.1.2), "" for nothing."""
    if not isinstance(address, str):
        return f"is {type(address).__name__}; an address is text"
    if not address and not may_be_empty:
        return "is empty"
    if _CONTROL.search(address):
        return "has a line end or another control character"
    if len(address) > MAX_ADDRESS:
        return f"is longer than {MAX_ADDRESS} characters"
    return "" if address.isascii() or _is_utf8(address) else "cannot be written in UTF-8"


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
