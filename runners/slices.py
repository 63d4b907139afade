"""How the recipients of a post are cut: ranges into slices, a slice into SMTP transactions, and what notes leave to do.

Pure arithmetic over half-open parts (first, one past the last), counted in the post's list of recipients. A slice is one item
of at most SLICE; what does not fit one ack is a range, which outgoing cuts in its turn. Sending is outgoing.py's.

Strategy, harm, proof (tests/unit/runners/test_slices.py):
- one ack gives at most MAX_OUTPUTS items, the last a range: a list of any size goes out, with a bounded transaction;
- what a note says is done is never sent again: a restart in the middle of a list doubles nobody;
- a transaction begun and not done is sent again under its own number: nobody is left out, and the note names who may be doubled.
"""

from collections.abc import Sequence

from msgspec import Struct

from bus.messages import MAX_OUTPUTS, SLICE, Item, Note

Part = tuple[int, int]

VERP_TOGETHER = 25  # transactions of one recipient each that share a note: a kill in between may double so many, all named

NOT_SENT = 421  # as the code of a whole transaction: it ended before its data, so nobody of it has the mail


class Transaction(Struct, frozen=True):
    """One SMTP transaction that is still to be made. `again`: somebody began it before and left no result."""

    number: int
    part: Part
    again: bool = False


def cut(part: Part, outputs: int = MAX_OUTPUTS) -> tuple[Part, ...]:
    """Cut a part into at most `outputs` parts of at most SLICE recipients; the last takes all that is left."""
    first, end = part
    parts: list[Part] = []
    while end - first > SLICE and len(parts) < outputs - 1:
        parts.append((first, first + SLICE))
        first += SLICE
    return (*parts, (first, end))


def is_range(item: Item) -> bool:
    """Say whether this item is to be cut before anything of it can be sent."""
    return item.part is not None and item.part[1] - item.part[0] > SLICE


def remaining_transactions(
    part: Part, notes: Sequence[Note], per_transaction: int
) -> tuple[Transaction, ...]:
    """Say what is still to be sent of a slice, given what earlier leases noted.

    New transactions get numbers above all that were noted. `per_transaction` may have changed in between.
    """
    begun = [note for note in notes if note.results is None]
    done = [note for note in notes if note.results is not None]
    again = [Transaction(note.number, note.part, again=True) for note in begun if not _is_inside(note, begun)]
    taken = [note.part for note in done if not was_not_sent(note)] + [note.part for note in begun]
    number = max((note.number for note in notes), default=-1) + 1
    fresh: list[Transaction] = []
    for first, end in _gaps(part, taken):
        for start in range(first, end, per_transaction):
            fresh.append(Transaction(number + len(fresh), (start, min(start + per_transaction, end))))
    return (*sorted(again, key=lambda transaction: transaction.number), *fresh)


def _is_inside(note: Note, others: Sequence[Note]) -> bool:
    """Is this about somebody of an earlier one whom a lost reply left in doubt? Then the earlier one, still open, names them all."""
    return any(
        other.number < note.number and other.part[0] <= note.part[0] and note.part[1] <= other.part[1]
        for other in others
    )


def was_not_sent(note: Note) -> bool:
    """Say whether a note ends a transaction that never came to its data."""
    return note.results is not None and all(code == NOT_SENT for code, _ in note.results)


def _gaps(part: Part, taken: Sequence[Part]) -> list[Part]:
    """Return what of `part` is in none of `taken`, in order."""
    gaps = []
    first, end = part
    for start, stop in sorted(taken):
        if start > first:
            gaps.append((first, min(start, end)))
        first = max(first, stop)
    if first < end:
        gaps.append((first, end))
    return gaps
