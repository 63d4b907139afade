"""Turns what the MTA said of each recipient of an item into the item's outcome. Pure.

2xx: done. 4xx: one item of those recipients, due after half the post's age, until its time is over; then as 5xx.
5xx: a report (RFC 3464) in the queue bounces, one a recipient; a slice where nearly everybody failed has several in a report,
because one ack gives at most MAX_OUTPUTS items. Its args say that we wrote it: no mail from outside can bring args of its own. It goes to the reverse-path of its
recipient, which with VERP names the membership. A mail with the null reverse-path is not reported (RFC 5321 6.1): the log has it.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from bus.messages import MAX_OUTPUTS, Item
from config.names import BOUNCES, OUTGOING
from runners.outcome import Ack, Output
from runners.reports import Failure
from runners.smtp import Reply

FIRST_RETRY = timedelta(
    seconds=10
)  # a greylisting host wants minutes; half the age grows there in five steps
LAST_AWAY = timedelta(
    minutes=2
)  # an MTA that was restarted or repaired must not find its mail waiting for an hour
REPORTED_BY = "reported_by"  # in the args of a report: which of our own queues wrote it
Refusal = tuple[int, Failure]  # the place of the recipient among those of its item, and what became of it
LAST_RETRY = timedelta(hours=1)  # Postfix maximal_backoff_time: 4000 s


def next_attempt(accepted_at: datetime, now: datetime) -> datetime:
    """Say when recipients answered 4xx are tried again: half the post's age from now, between FIRST_RETRY and LAST_RETRY."""
    return now + min(max((now - accepted_at) / 2, FIRST_RETRY), LAST_RETRY)


def wait_for_mta(accepted_at: datetime, now: datetime) -> float:
    """Say for how many seconds an item waits that the MTA could not take at all."""
    return min(max((now - accepted_at) / 2, FIRST_RETRY), LAST_AWAY).total_seconds()


def is_our_report(args: Mapping[str, Any]) -> bool:
    """Did outgoing write this report? What comes by mail has no such args, whatever it says of itself."""
    return bool(args.get(REPORTED_BY) == OUTGOING)


def outcome_of(
    item: Item,
    recipients: Sequence[str],
    replies: Sequence[Reply],
    *,
    path_of: Callable[[int], str],
    now: datetime,
    deliver_for: timedelta,
    write: Callable[[Sequence[Failure]], bytes],
) -> Ack:
    """Say what follows from the reply to each recipient; `write` makes a report of failures, `path_of` tells the reverse-path of a recipient by its place."""
    later: list[int] = []
    failures: list[Refusal] = []
    taken = 0
    is_over = now >= item.accepted_at + deliver_for
    for index, (recipient, (code, text)) in enumerate(zip(recipients, replies, strict=True)):
        if code // 100 == 2:
            taken += 1
        elif code // 100 == 4 and not is_over:
            later.append(index)
        else:
            failures.append((index, Failure(recipient, code, text, expired=code // 100 == 4)))
    outputs = []
    if later:
        outputs.append(_rest(item, recipients, later, now))
    if item.reverse_path:
        for group in _groups(failures, MAX_OUTPUTS - len(outputs)):
            path = path_of(group[0][0]) if len(group) == 1 else item.reverse_path
            outputs.append(_bounce(path, write([failure for _, failure in group])))
    return Ack(outputs=tuple(outputs), reason=f"sent {taken}, later {len(later)}, failed {len(failures)}")


def _rest(item: Item, recipients: Sequence[str], later: Sequence[int], now: datetime) -> Output:
    return Output(
        OUTGOING,
        recipients=tuple(recipients[index] for index in later),
        memberships=tuple(item.memberships[index] for index in later) if item.memberships else (),
        reverse_path=item.reverse_path,
        due_at=next_attempt(item.accepted_at, now),
    )


def _bounce(recipient: str, report: bytes) -> Output:
    return Output(
        BOUNCES, content=report, recipient=recipient, reverse_path="", args={REPORTED_BY: str(OUTGOING)}
    )


def _groups(failures: Sequence[Refusal], number: int) -> list[Sequence[Refusal]]:
    """Spread failures over at most `number` reports, one in each while that is enough."""
    if not failures:
        return []
    size = -(-len(failures) // number)
    return [failures[start : start + size] for start in range(0, len(failures), size)]
