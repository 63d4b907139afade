"""Turns what the MTA said of each recipient of an item into the item's outcome. Pure.

2xx: done. 4xx: one item of those recipients, due after half the post's age, until its time is over; then as 5xx.
5xx: a report (RFC 3464) in the queue bounces, one a recipient; a slice where nearly everybody failed has several in a report,
because one ack gives at most MAX_OUTPUTS items. A mail with the null reverse-path is not reported (RFC 5321 6.1): the log has it.
"""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

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
LAST_RETRY = timedelta(hours=1)  # Postfix maximal_backoff_time: 4000 s


def next_attempt(accepted_at: datetime, now: datetime) -> datetime:
    """Say when recipients answered 4xx are tried again: half the post's age from now, between FIRST_RETRY and LAST_RETRY."""
    return now + min(max((now - accepted_at) / 2, FIRST_RETRY), LAST_RETRY)


def wait_for_mta(accepted_at: datetime, now: datetime) -> float:
    """Say for how many seconds an item waits that the MTA could not take at all."""
    return min(max((now - accepted_at) / 2, FIRST_RETRY), LAST_AWAY).total_seconds()


def outcome_of(
    item: Item,
    recipients: Sequence[str],
    replies: Sequence[Reply],
    *,
    now: datetime,
    deliver_for: timedelta,
    write: Callable[[Sequence[Failure]], bytes],
) -> Ack:
    """Say what follows from the reply to each recipient; `write` makes a report of failures."""
    later, failures, taken = [], [], 0
    is_over = now >= item.accepted_at + deliver_for
    for recipient, (code, text) in zip(recipients, replies, strict=True):
        if code // 100 == 2:
            taken += 1
        elif code // 100 == 4 and not is_over:
            later.append(recipient)
        else:
            failures.append(Failure(recipient, code, text, expired=code // 100 == 4))
    outputs = []
    if later:
        outputs.append(_rest(item, tuple(later), now))
    if item.reverse_path:
        outputs += [_bounce(item, write(group)) for group in _groups(failures, MAX_OUTPUTS - len(outputs))]
    return Ack(outputs=tuple(outputs), reason=f"sent {taken}, later {len(later)}, failed {len(failures)}")


def _rest(item: Item, recipients: tuple[str, ...], now: datetime) -> Output:
    return Output(
        OUTGOING,
        recipients=recipients,
        reverse_path=item.reverse_path,
        due_at=next_attempt(item.accepted_at, now),
    )


def _bounce(item: Item, report: bytes) -> Output:
    return Output(BOUNCES, content=report, recipient=item.reverse_path, reverse_path="")


def _groups(failures: Sequence[Failure], number: int) -> list[Sequence[Failure]]:
    """Spread failures over at most `number` reports, one in each while that is enough."""
    if not failures:
        return []
    size = -(-len(failures) // number)
    return [failures[start : start + size] for start in range(0, len(failures), size)]
