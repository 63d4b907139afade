"""Slices, transactions and notes: every recipient exactly once, whatever was noted before."""

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from bus.messages import MAX_OUTPUTS, SLICE, Item, Note
from config.names import OUTGOING, Instance, ItemId
from runners.slices import NOT_SENT, Part, cut, is_range, remaining_transactions, was_not_sent

ME = Instance("outgoing-1:1")


def spread(parts: tuple[Part, ...]) -> list[int]:
    return [index for first, end in parts for index in range(first, end)]


@given(first=st.integers(0, 5), size=st.integers(1, 120 * SLICE), outputs=st.integers(1, MAX_OUTPUTS))
def test_a_cut_covers_every_recipient_once_and_only_the_last_part_is_large(
    first: int, size: int, outputs: int
) -> None:
    parts = cut((first, first + size), outputs)
    assert len(parts) <= outputs
    assert spread(parts) == list(range(first, first + size))
    assert all(end - start == SLICE for start, end in parts[:-1])


def test_hundred_thousand_members_are_two_acks() -> None:
    parts = cut((0, 100_000))
    assert len(parts) == MAX_OUTPUTS
    assert parts[-1] == (99 * SLICE, 100_000)
    assert spread(cut(parts[-1])) == list(range(99 * SLICE, 100_000))


def test_only_a_part_over_a_slice_is_a_range() -> None:
    def item(part: Part | None) -> Item:
        return Item(
            id=ItemId("0" * 32),
            root_id=ItemId("0" * 32),
            queue=OUTGOING,
            part=part,
            accepted_at=datetime(2026, 1, 1, tzinfo=UTC),
        )

    assert not is_range(item(None))
    assert not is_range(item((10, 10 + SLICE)))
    assert is_range(item((10, 11 + SLICE)))


@given(
    size=st.integers(1, SLICE),
    first=st.integers(0, 1000),
    per=st.integers(1, 100),
    again=st.integers(1, 100),
    data=st.data(),
)
def test_after_any_notes_each_recipient_is_done_or_to_be_sent_exactly_once(
    size: int, first: int, per: int, again: int, data: st.DataObject
) -> None:
    """What was done is not sent again, what was not sent or is in doubt is, also when the setting has changed."""
    notes: list[Note] = []
    done: list[int] = []
    for transaction in remaining_transactions((first, first + size), (), per):
        fate = data.draw(st.sampled_from(["done", "not sent", "begun", "nothing"]))
        count = transaction.part[1] - transaction.part[0]
        results = {"done": ((250, "ok"),) * count, "not sent": ((NOT_SENT, "away"),) * count, "begun": None}
        if fate != "nothing":
            notes.append(
                Note(number=transaction.number, part=transaction.part, instance=ME, results=results[fate])
            )
        if fate == "done":
            done += spread((transaction.part,))
    left = remaining_transactions((first, first + size), notes, again)
    assert sorted(done + spread(tuple(transaction.part for transaction in left))) == list(
        range(first, first + size)
    )
    begun = {note.number for note in notes if note.results is None}
    assert {transaction.number for transaction in left if transaction.again} == begun
    numbers = [transaction.number for transaction in left]
    assert len(set(numbers)) == len(numbers)
    closed = {note.number for note in notes if note.results is not None}
    assert not closed & set(numbers)


def test_a_transaction_is_unsent_only_if_all_of_it_is() -> None:
    assert was_not_sent(Note(number=0, part=(0, 1), instance=ME, results=((421, ""),)))
    assert not was_not_sent(Note(number=0, part=(0, 2), instance=ME, results=((421, ""), (250, ""))))
    assert not was_not_sent(Note(number=0, part=(0, 1), instance=ME))


def test_one_in_doubt_within_an_open_note_is_sent_again_once() -> None:
    """A process that died between naming the one in doubt and closing the rest: the wider note names them all."""
    wide = Note(number=0, part=(0, 25), instance=ME)
    doubt = Note(number=7, part=(3, 4), instance=ME)
    assert [each.part for each in remaining_transactions((0, 25), (wide, doubt), 25)] == [(0, 25)]


def test_what_broke_off_goes_on_behind_its_results_and_names_the_one_in_doubt() -> None:
    done = Note(number=0, part=(0, 3), instance=ME, results=((250, "ok"),) * 3)
    doubt = Note(number=7, part=(3, 4), instance=ME)
    left = remaining_transactions((0, 25), (done, doubt), 25)
    assert [(each.number, each.part, each.again) for each in left] == [(7, (3, 4), True), (8, (4, 25), False)]
