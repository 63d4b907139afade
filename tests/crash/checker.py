"""Says what is wrong with a run: pure, from the senders' history, the copies that arrived and the copies that may be double.

It must be able to fail, and test_checker.py shows that it does. Where the figures come from is the scenarios' business.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct


class Copy(Struct, frozen=True, order=True):
    """One mail at one member."""

    message_id: str
    recipient: str


class Sent(Struct, frozen=True):
    """What the senders know, Message-ID -> members of the list that it was for."""

    taken: Mapping[str, Sequence[str]]  # answered 250
    unanswered: Mapping[str, Sequence[str]]  # tried, and no 250 was read: may be anywhere or nowhere


def find_faults(sent: Sent, arrived: Iterable[Copy], named: Iterable[Copy]) -> list[str]:
    """Return a line for each thing that must not be; [] is a good run.

    `named` are the copies of SMTP transactions that were begun, never noted as done, and so made again: once for each time that this
    was done. Each allows one copy more.
    """
    counts, more = Counter(arrived), Counter(named)
    everything = {**sent.taken, **sent.unanswered}
    allowed = {Copy(message, member) for message, members in everything.items() for member in members}
    missing = [
        Copy(message, member)
        for message, members in sent.taken.items()
        for member in members
        if Copy(message, member) not in counts
    ]
    torn = [
        message
        for message, members in sent.unanswered.items()
        if 0 < sum(Copy(message, member) in counts for member in members) < len(members)
    ]
    return [
        *(f"lost: {one.message_id} answered 250, not at {one.recipient}" for one in sorted(missing)),
        *(f"torn: {message} is at some of its members only" for message in sorted(torn)),
        *(
            f"doubled: {one.message_id} came {count} times to {one.recipient}"
            for one, count in sorted(counts.items())
            if count > 1 + more[one]
        ),
        *(
            f"stray: {one.message_id} at {one.recipient}, which nobody asked for"
            for one in sorted(set(counts) - allowed)
        ),
    ]
