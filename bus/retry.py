"""When an item that failed is given again, and when it is set aside instead. Pure: numbers in, a value out.

Three kinds of failure (DESIGN, "Decided on top of bus.md"):
- counted: the handler raised. Five attempts, then a person looks at it.
- declared: the handler asked for it. Five days, then a person looks at it.
- not counted: the world is at fault (store or MTA away). For as long as that lasts, and no attempt is burnt.

Doubling with jitter is what Postfix (300 s to 4000 s) and Exim (15 min growing by 1.5) do; ours starts at 10 s since the
next hop is on this host. Blame for a runner that died is not decided here but in dispatch.py.
"""

from bus.journal.api import Defer, Row, Shunt
from bus.messages import Retry

BASE_S = 10.0
CAP_S = 3600.0  # also the most that a clock set wrong can delay a retry
JUMP_MS = 1000  # a clock set back by more than this moves what is due
MAX_ATTEMPTS = 5
MAX_AGE_S = 5 * 86400.0  # Postfix and Exim give up after 5 and 4 days


def judge_retry(row: Row, retry: Retry, now_ms: int, chance: float) -> Defer | Shunt:
    """Say what becomes of an item that its runner could not finish; `chance` is random, from 0 to 1."""
    first_ms = row.first_retry_ms or now_ms
    attempts = row.attempts + (1 if retry.counts else 0)
    if retry.declared and now_ms - first_ms >= MAX_AGE_S * 1000:
        return Shunt(row=row.row, reason="max-age", detail=retry.reason)
    if retry.counts and not retry.declared and attempts >= MAX_ATTEMPTS:
        return Shunt(row=row.row, reason="max-attempts", detail=retry.reason)
    if retry.delay_s is not None:
        delay_s = min(CAP_S, max(0.0, retry.delay_s))
    elif retry.counts:
        delay_s = backoff_s(attempts, chance)
    else:
        delay_s = backoff_by_time_s((now_ms - first_ms) / 1000, chance)
    return Defer(
        row=row.row,
        due_ms=now_ms + int(delay_s * 1000),
        attempts=attempts,
        first_retry_ms=first_ms,
        reason=retry.reason,
    )


def backoff_s(attempts: int, chance: float) -> float:
    """Return the pause after the n-th failure: it doubles, and is spread so that not all come back at once."""
    return min(CAP_S, BASE_S * 2.0 ** min(attempts - 1, 30)) * (0.5 + chance)


def backoff_by_time_s(series_s: float, chance: float) -> float:
    """Return a pause about as long as the failure has lasted, which doubles the waiting without a count."""
    return min(CAP_S, max(BASE_S, series_s)) * (0.5 + chance)


def sane_due(row: Row, due_ms: int, now_ms: int) -> int:
    """Return when an item is due on a clock that may have been set back since that was written down.

    A retry waits for at most the longest pause. What asked for its time itself keeps it, but for what was put in under a
    clock that was ahead: that waits as long as it would have waited then.
    """
    if row.first_retry_ms:
        return clamp_due(due_ms, now_ms)
    if now_ms < row.entered_ms - JUMP_MS:
        return min(due_ms, now_ms + max(0, due_ms - row.entered_ms))
    return due_ms


def clamp_due(due_ms: int, now_ms: int) -> int:
    """Return when a retry is due on a clock that may have jumped since it was written down."""
    return min(due_ms, now_ms + int(CAP_S * 1500))  # a pause with the most jitter
