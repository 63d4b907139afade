"""When an item that failed is given again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.journal.api import Defer, Row, Shunt, State
from bus.messages import LeaseToken, Retry
from bus.retry import CAP_S, MAX_AGE_S, MAX_ATTEMPTS, backoff_s, clamp_due, judge_retry, sane_due
from config.names import ItemId, ListId, Queue

NOW_MS = 1_800_000_000_000
TOKEN = LeaseToken("1", 1)
chances = st.floats(0, 1)


def make_row(attempts: int = 0, first_retry_ms: int = 0) -> Row:
    return Row(
        row=1,
        id=ItemId("0" * 32),
        queue=Queue("incoming"),
        list_id=ListId("ant.example.org"),
        place=1,
        state=State.READY,
        attempts=attempts,
        first_retry_ms=first_retry_ms,
    )


def make_retry(*, counts: bool = True, declared: bool = False, delay_s: float | None = None) -> Retry:
    return Retry(lease=TOKEN, reason="why", counts=counts, declared=declared, delay_s=delay_s)


@pytest.mark.parametrize(
    ("attempts", "pause_s"), [(1, 10), (2, 20), (3, 40), (9, 2560), (10, 3600), (5000, 3600)]
)
def test_pauses_double_up_to_an_hour(attempts: int, pause_s: float) -> None:
    assert backoff_s(attempts, 0.5) == pause_s


@given(attempts=st.integers(1, 10_000), chance=chances)
def test_jitter_stays_within_half(attempts: int, chance: float) -> None:
    middle = backoff_s(attempts, 0.5)
    assert middle * 0.5 <= backoff_s(attempts, chance) <= middle * 1.5 <= CAP_S * 1.5


def test_the_fifth_failure_sets_aside() -> None:
    outcomes = [judge_retry(make_row(attempts=n), make_retry(), NOW_MS, 0.5) for n in range(MAX_ATTEMPTS)]
    assert [type(outcome) for outcome in outcomes] == [Defer] * 4 + [Shunt]
    assert isinstance(outcomes[-1], Shunt)
    assert (outcomes[-1].reason, outcomes[-1].detail) == ("max-attempts", "why")


def test_a_declared_retry_goes_on_for_five_days() -> None:
    row = make_row(attempts=50, first_retry_ms=NOW_MS - int(MAX_AGE_S * 1000) + 1)
    assert isinstance(judge_retry(row, make_retry(declared=True), NOW_MS, 0.5), Defer)
    outcome = judge_retry(row, make_retry(declared=True), NOW_MS + 1, 0.5)
    assert isinstance(outcome, Shunt)
    assert outcome.reason == "max-age"


@given(failed_for_s=st.integers(0, 86400 * 30), chance=chances)
def test_a_world_that_is_away_burns_no_attempt(failed_for_s: int, chance: float) -> None:
    row = make_row(attempts=4, first_retry_ms=NOW_MS - failed_for_s * 1000)
    outcome = judge_retry(row, make_retry(counts=False), NOW_MS, chance)
    assert isinstance(outcome, Defer)
    assert outcome.attempts == 4
    assert outcome.first_retry_ms == row.first_retry_ms
    pause_s = (outcome.due_ms - NOW_MS) / 1000
    assert min(CAP_S, max(10, failed_for_s)) * 0.5 - 0.01 <= pause_s <= CAP_S * 1.5


@pytest.mark.parametrize(("asked_s", "pause_s"), [(3, 3), (0, 0), (-5, 0), (7200, 3600)])
def test_a_handler_may_name_the_pause(asked_s: float, pause_s: float) -> None:
    outcome = judge_retry(make_row(), make_retry(delay_s=asked_s, declared=True), NOW_MS, 0.1)
    assert isinstance(outcome, Defer)
    assert outcome.due_ms == NOW_MS + pause_s * 1000


def test_the_first_failure_starts_the_series() -> None:
    outcome = judge_retry(make_row(), make_retry(), NOW_MS, 0.5)
    assert isinstance(outcome, Defer)
    assert (outcome.first_retry_ms, outcome.attempts, outcome.due_ms) == (NOW_MS, 1, NOW_MS + 10_000)


def test_a_clock_set_back_delays_no_retry_for_long() -> None:
    assert clamp_due(NOW_MS + 10**9, NOW_MS) - NOW_MS == CAP_S * 1500
    assert clamp_due(NOW_MS + 5, NOW_MS) == NOW_MS + 5


def test_what_was_put_in_under_a_clock_that_was_ahead_waits_no_longer_than_it_was_to() -> None:
    month_ms = 30 * 86_400_000
    row = make_row()
    row.entered_ms = NOW_MS + month_ms
    assert sane_due(row, NOW_MS + month_ms + 10_000, NOW_MS) == NOW_MS + 10_000
    row.entered_ms = NOW_MS
    assert sane_due(row, NOW_MS + month_ms, NOW_MS) == NOW_MS + month_ms  # it asked for that time itself
