"""Restart decisions: the table is whole, and no sequence of events breaks a promise."""

import re
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from master.policy import (
    ALIVE,
    BACKOFF_MAX_S,
    DUMP_S,
    LEAVING,
    NEVER,
    RESTART_S,
    SILENCE_S,
    START_S,
    TABLE,
    Effect,
    Event,
    Life,
    State,
    Unknown,
    advance,
    backoff_s,
    excuse,
)

GRACE_S = 20.0


def after(life: Life, *events: Event, now: float = 100.0) -> Life:
    """Feed events at one moment; DUE comes when it is due."""
    for event in events:
        now = max(now, life.deadline) if event is Event.DUE else now
        life, _ = advance(life, event, now, grace_s=GRACE_S, dice=0.5)
    return life


def make_ready(now: float = 100.0) -> Life:
    return after(Life(), Event.START, Event.DUE, Event.READIED, now=now)


@pytest.mark.parametrize("state", State)
def test_every_state_is_reached_and_left(state: State) -> None:
    """No state is a trap, and none is only written down."""
    assert state is State.STOPPED or any(
        to is state and at is not state for (at, _), (to, _) in TABLE.items()
    )
    assert any(at is state and to is not state for (at, _), (to, _) in TABLE.items())


@pytest.mark.parametrize("state", sorted(ALIVE))
def test_whatever_lives_may_say_anything_and_end_in_any_way(state: State) -> None:
    for event in (Event.BEAT, Event.READIED, Event.EXITED, Event.MISCONFIGURED, Event.LOST):
        assert (state, event) in TABLE
    for event in (Event.EXITED, Event.MISCONFIGURED):
        assert TABLE[state, event][0] not in ALIVE


def test_an_unknown_pair_raises() -> None:
    with pytest.raises(Unknown, match="beat cannot happen in stopped"):
        advance(Life(), Event.BEAT, 0.0, grace_s=1.0, dice=0.0)


def test_a_child_that_was_ready_is_started_again_at_once() -> None:
    life, effects = advance(make_ready(100.0), Event.EXITED, 500.0, grace_s=GRACE_S, dice=0.5)
    assert (life.state, life.deadline, life.failures, effects) == (State.BACKOFF, 500.0, 0, ())


def test_a_child_that_was_ready_for_a_moment_waits_for_the_rest_of_a_second() -> None:
    life, _ = advance(make_ready(100.0), Event.EXITED, 100.2, grace_s=GRACE_S, dice=0.5)
    assert life.deadline == 100.0 + RESTART_S


def test_exits_before_ready_make_the_wait_grow_and_ready_forgets_them() -> None:
    life = after(Life(), Event.START)
    waits = []
    for _ in range(8):
        life = after(life, Event.DUE, now=life.deadline)
        life = after(life, Event.EXITED, now=life.started_at)
        waits.append(life.deadline - life.started_at)
    assert waits == sorted(waits)
    assert waits[0] <= 2.0
    assert 30.0 <= waits[-1] <= BACKOFF_MAX_S
    life = after(life, Event.DUE, Event.READIED, now=life.deadline)
    assert life.failures == 0


@given(failures=st.integers(1, 10_000), dice=st.floats(0, 1))
def test_back_off_is_from_one_second_to_a_minute(failures: int, dice: float) -> None:
    assert RESTART_S <= backoff_s(failures, dice) <= BACKOFF_MAX_S


def test_three_missed_beats_are_a_stack_dump_and_then_a_kill() -> None:
    life = make_ready(100.0)
    life, _ = advance(life, Event.BEAT, 103.0, grace_s=GRACE_S, dice=0.5)
    assert life.deadline == 103.0 + SILENCE_S
    life, effects = advance(life, Event.DUE, life.deadline, grace_s=GRACE_S, dice=0.5)
    assert (life.state, effects, life.deadline) == (State.STUCK, (Effect.DUMP,), 103.0 + SILENCE_S + DUMP_S)
    life, effects = advance(life, Event.BEAT, 109.5, grace_s=GRACE_S, dice=0.5)
    assert (life.state, effects) == (State.STUCK, ())  # a late beat saves nobody
    life, effects = advance(life, Event.DUE, life.deadline, grace_s=GRACE_S, dice=0.5)
    assert (life.state, effects) == (State.KILLED, (Effect.KILL,))


def test_a_start_may_take_a_minute_and_longer_while_it_beats() -> None:
    life = after(Life(), Event.START, Event.DUE)
    assert life.deadline == 100.0 + START_S
    assert after(life, Event.BEAT, now=150.0).deadline == 150.0 + START_S
    assert after(life, Event.DUE).state is State.STUCK


def test_bad_configuration_is_not_tried_again_until_a_person_asks() -> None:
    life = after(Life(), Event.START, Event.DUE, Event.MISCONFIGURED)
    assert (life.state, life.deadline) == (State.FAILED, NEVER)
    assert after(life, Event.REPLACE).state is State.BACKOFF


def test_who_stays_too_long_is_killed_and_nothing_follows() -> None:
    life, effects = advance(make_ready(), Event.DRAIN, 200.0, grace_s=GRACE_S, dice=0.5)
    assert (life.state, effects, life.deadline) == (State.DRAINING, (Effect.TERMINATE,), 200.0 + GRACE_S)
    life, effects = advance(life, Event.DUE, 220.0, grace_s=GRACE_S, dice=0.5)
    assert (effects, life.deadline) == ((Effect.KILL,), NEVER)
    assert after(life, Event.EXITED).state is State.STOPPED


def test_who_is_replaced_is_followed_by_another_without_blame() -> None:
    life = after(Life(), Event.START, Event.DUE, Event.REPLACE, Event.EXITED)
    assert (life.state, life.failures) == (State.BACKOFF, 0)


def test_one_more_is_wanted_while_one_leaves() -> None:
    assert after(make_ready(), Event.DRAIN, Event.START, Event.EXITED).state is State.BACKOFF


def test_a_machine_that_stood_still_is_no_silence() -> None:
    assert excuse(make_ready(100.0), 300.0).deadline == 100.0 + 300.0 + SILENCE_S


@given(steps=st.lists(st.tuples(st.sampled_from(Event), st.floats(0, 90), st.floats(0, 1)), max_size=60))
def test_no_history_breaks_a_promise(steps: list[tuple[Event, float, float]]) -> None:
    """Never two starts within a second, no wait over a minute, a living child always has a deadline or was killed."""
    life, now, starts = Life(), 1000.0, []
    for event, passed, dice in steps:
        now += passed
        if event is Event.DUE and now < life.deadline:
            continue
        try:
            after_it, effects = advance(life, event, now, grace_s=GRACE_S, dice=dice)
        except Unknown:
            assert (life.state, event) not in TABLE
            continue
        if Effect.SPAWN in effects:
            starts.append(now)
        assert (Effect.SPAWN in effects) == (
            after_it.state is State.STARTING and life.state is not State.STARTING
        )
        if after_it.state is State.BACKOFF:
            assert after_it.deadline <= now + BACKOFF_MAX_S
        if after_it.state in ALIVE and after_it.deadline == NEVER:
            assert after_it.state is State.KILLED or (after_it.state in LEAVING)
        life = after_it
    assert all(later - earlier >= RESTART_S for earlier, later in pairwise(starts))
    assert life.starts == len(starts)


@given(ends=st.lists(st.tuples(st.booleans(), st.floats(0, 100)), min_size=1, max_size=200))
def test_it_is_tried_for_ever(ends: list[tuple[bool, float]]) -> None:
    """However often it has ended, ready or not, the next start has a date."""
    life = after(Life(), Event.START)
    for was_ready, lived_s in ends:
        life = after(life, Event.DUE, now=life.deadline)
        if was_ready:
            life = after(life, Event.READIED, now=life.started_at)
        life = after(life, Event.EXITED, now=life.started_at + lived_s)
        assert life.state is State.BACKOFF
        assert life.deadline < NEVER


def test_the_table_in_the_documentation_is_the_table() -> None:
    page = (Path(__file__).parents[3] / "docs" / "master.md").read_text("utf-8")
    rows = re.findall(r"^\| (\w+) \| (\w+) \| (\w+) \| ([\w, ]*?) *\|$", page, re.MULTILINE)
    told = {
        (State(at), Event(event)): (State(to), tuple(Effect(each) for each in effects.split(", ") if each))
        for at, event, to, effects in rows
        if at in set(State)
    }
    assert told == TABLE
