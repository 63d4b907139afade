"""Outputs become items: the same ids each time, all recipients once, and every mistake of a handler told."""

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.messages import MAX_HOP, MAX_OUTPUTS, Item, decode_recipients
from config.names import BUILT_IN_QUEUES, INCOMING, OUTGOING, ItemId, ListId, Queue
from runners.outcome import Ack, Output
from runners.placing import BadOutput, HopLimit, Placement, lists_without_reverse_path, place, read_args

ANT = ListId("ant.example.org")
QUEUES = frozenset((*BUILT_IN_QUEUES, "archive"))


def make_item(queue: Queue = INCOMING, **fields: Any) -> Item:
    return Item(
        **{
            "id": ItemId("ab" * 16),
            "root_id": ItemId("cd" * 16),
            "queue": queue,
            "list_id": ANT,
            "recipient": "ant@example.org",
            "reverse_path": "anne@example.net",
            "accepted_at": datetime(2026, 11, 23, tzinfo=UTC),
            "message_id": "<1@example.net>",
            "hop": 3,
            "args": {"client": msgspec.Raw(msgspec.msgpack.encode("10.0.0.1"))},
            **fields,
        }
    )


def placed(*outputs: Output, item: Item | None = None) -> Placement:
    bounces = {ANT: "ant-bounces@example.org"}
    return place(item or make_item(), 1000, Ack(outputs=outputs), queues=QUEUES, bounces=bounces)


def test_an_output_inherits_what_it_does_not_say() -> None:
    (made,) = placed(Output("archive", args={"held": 17})).outputs
    assert made.content == -1
    assert made.recipients is None
    item = made.item
    assert (item.root_id, item.list_id, item.recipient, item.message_id, item.hop, item.size) == (
        "cd" * 16,
        ANT,
        "ant@example.org",
        "<1@example.net>",
        4,
        1000,
    )
    assert item.reverse_path == "ant-bounces@example.org"
    assert read_args(item) == {"client": "10.0.0.1", "held": 17}


def test_the_null_reverse_path_is_not_the_lists() -> None:
    output = Output("archive", reverse_path="")
    assert placed(output).outputs[0].item.reverse_path == ""
    assert lists_without_reverse_path(make_item(), Ack(outputs=[output])) == frozenset()
    assert lists_without_reverse_path(make_item(), Ack(outputs=[Output("archive")])) == {ANT}


@given(numbers=st.lists(st.integers(0, 70_000), max_size=4), single=st.integers(0, 90))
def test_every_recipient_is_in_one_part_and_one_ack_holds_them_all(numbers: list[int], single: int) -> None:
    outputs = [Output("archive", recipient="a@b")] * single
    outputs += [Output(OUTGOING, recipients=("a@b",) * number) for number in numbers if number]
    placement = placed(*outputs)
    assert len(placement.outputs) <= MAX_OUTPUTS
    assert len({made.item.id for made in placement.outputs}) == len(placement.outputs)
    parts = [made.item.part for made in placement.outputs if made.item.part is not None]
    assert sum(end - first for first, end in parts) == sum(numbers)
    assert placed(*outputs) == placement


def test_recipients_are_one_body_and_equal_bodies_one_frame() -> None:
    names = tuple(f"m{number}@example.net" for number in range(1200))
    placement = placed(
        Output(OUTGOING, content=b"x", recipients=names), Output("archive", content=b"x", recipient="a@b")
    )
    assert [made.item.part for made in placement.outputs] == [(0, 500), (500, 1000), (1000, 1200), None]
    assert {made.content for made in placement.outputs} == {0}
    assert [made.recipients for made in placement.outputs] == [1, 1, 1, None]
    assert len(placement.bodies) == 2
    assert decode_recipients(placement.bodies[1]).addresses == names


def test_a_range_is_cut_from_the_items_own_recipients_and_keeps_the_hop() -> None:
    item = make_item(OUTGOING, part=(500, 1600), recipient="")
    placement = placed(Output(OUTGOING, reverse_path="", part=(500, 1600)), item=item)
    assert [made.item.part for made in placement.outputs] == [(500, 1000), (1000, 1500), (1500, 1600)]
    assert {(made.content, made.recipients, made.item.hop) for made in placement.outputs} == {(-1, -1, 3)}
    assert placement.bodies == ()


def test_an_item_that_goes_round_is_stopped() -> None:
    with pytest.raises(HopLimit):
        placed(Output("archive"), item=make_item(hop=MAX_HOP))


@pytest.mark.parametrize(
    ("output", "told"),
    [
        ("text", "must be an Output"),
        (Output("nowhere"), "no such queue"),
        (Output("archive", content="text"), "must be bytes"),  # type: ignore[arg-type]
        (Output("outgoing"), "no recipient"),
        (Output("outgoing", recipients=("a@b",), recipient="a@b"), "both recipient and recipients"),
        (Output("outgoing", recipients="a@b"), "tuple of addresses"),  # type: ignore[arg-type]
        (Output("outgoing", recipients=("a@b", "c\r\nd")), "line end"),
        (Output("outgoing", recipients=("a@b", "")), "is empty"),
        (Output("outgoing", recipients=("a@b", "x\x00y")), "control character"),
        (Output("outgoing", recipient="a@b\nc"), "line end"),
        (Output("outgoing", recipient="\udcff@b"), "UTF-8"),
        (Output("outgoing", recipient="a" * 2000), "longer"),
        (Output("outgoing", recipient="a@b", reverse_path="x\r\n"), "line end"),
        (Output("outgoing", recipients=(1,)), "an address is text"),  # type: ignore[arg-type]
        (Output("archive", args={"x": object()}), "cannot be encoded"),
        (Output("archive", args={1: 2}), "names as keys"),  # type: ignore[dict-item]
        (Output("archive", due_at=datetime(2026, 1, 1)), "time zone"),  # noqa: DTZ001
    ],
)
def test_a_mistake_is_told_in_words(output: Output, told: str) -> None:
    with pytest.raises(BadOutput, match=told):
        placed(output)


def test_a_hundred_and_one_outputs_are_refused() -> None:
    with pytest.raises(BadOutput, match="at most 100"):
        placed(*[Output("archive")] * 101)
