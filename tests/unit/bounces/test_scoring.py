"""Scores, the table of what follows from them, and the brake."""

import itertools
from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lists.bounces.brake import ALWAYS_MEMBERS, MIN_MEMBERS, Topic, is_incident, same_words, topics_of
from lists.bounces.failure import BounceClass, make_failure
from lists.bounces.scoring import (
    TABLE,
    WEIGHTS,
    Effect,
    Event,
    Impossible,
    Rules,
    Score,
    State,
    due_event,
    next_step,
    score_event,
)

JAN_1 = date(2026, 1, 1)
RULES = Rules()
CLASSES = st.sampled_from(list(WEIGHTS))


@given(st.lists(st.integers(0, 7), max_size=30))
def test_many_bounces_in_one_day_count_once(days: list[int]) -> None:
    """Ten failures on one day say no more about an address than one failure."""
    score = Score()
    for day in sorted(days):
        score = score.after("bad-mailbox", JAN_1 + timedelta(days=day), RULES)
    assert score.value == len(set(days))


@given(st.lists(CLASSES, min_size=1, max_size=10))
def test_the_worst_class_of_a_day_counts(classes: list[BounceClass]) -> None:
    score = Score()
    for each in classes:
        score = score.after(each, JAN_1, RULES)
    assert score.value == max(WEIGHTS[each] for each in classes)


def test_a_stale_score_counts_no_more() -> None:
    score = Score().after("bad-mailbox", JAN_1, RULES)
    assert score.current(JAN_1 + timedelta(days=7), RULES) == 1.0
    assert score.current(JAN_1 + timedelta(days=8), RULES) == 0.0
    assert score.after("full", JAN_1 + timedelta(days=8), RULES).value == 0.5


def test_a_bounce_that_comes_late_changes_nothing() -> None:
    """Items of one list come in order; one that was retried may not."""
    score = Score().after("bad-mailbox", JAN_1, RULES)
    assert score.after("bad-mailbox", JAN_1 - timedelta(days=1), RULES) == score


@given(st.lists(st.tuples(CLASSES, st.integers(0, 3)), max_size=60))
def test_a_score_never_grows_by_more_than_one_a_day(bounces: list[tuple[BounceClass, int]]) -> None:
    score, day, days = Score(), JAN_1, set[date]()
    for each, step in bounces:
        day += timedelta(days=step)
        days.add(day)
        score = score.after(each, day, RULES)
        assert 0 < score.value <= len(days)


# The table ------------------------------------------------------------------------------------------------------------


def test_every_pair_is_in_the_table() -> None:
    assert set(TABLE) == set(itertools.product(State, Event))
    with pytest.raises(Impossible):
        next_step("counting", Event.SCORED, RULES)  # type: ignore[arg-type]


@given(st.booleans(), st.lists(st.sampled_from(list(Event)), max_size=40))
def test_nobody_is_removed_unwarned_or_disabled_without_the_threshold(
    probes: bool, events: list[Event]
) -> None:
    rules = Rules(probes=probes)
    state, seen = State.COUNTING, set[Effect]()
    for event in events:
        step = next_step(state, event, rules)
        if Effect.DISABLE in step.effects:
            assert event is (Event.PROBE_FAILED if probes else Event.REACHED)
            assert Effect.WARN in step.effects
            assert not probes or Effect.PROBE in seen
        if Effect.REMOVE in step.effects:
            assert state is State.DISABLED
        if Effect.RESET in step.effects:
            seen.clear()
        seen |= set(step.effects)
        state = step.state


@pytest.mark.parametrize(
    ("event", "home"),
    [
        (Event.PROBE_ENDED, State.PROBING),
        (Event.WARNING_DUE, State.DISABLED),
        (Event.REMOVAL_DUE, State.DISABLED),
    ],
)
def test_a_timer_of_another_state_changes_nothing(event: Event, home: State) -> None:
    for state in set(State) - {home}:
        step = next_step(state, event, RULES)
        assert (step.state, step.effects) == (state, ())


def test_sixty_days_of_bounces_end_in_removal() -> None:
    """Five days to the threshold, the probe comes back, three warnings a week apart, then removal."""
    score, state, warned, told = Score(), State.COUNTING, 0, list[str]()
    for number in range(5):
        day = JAN_1 + timedelta(days=number)
        score = score.after("bad-mailbox", day, RULES)
        state = next_step(state, score_event(state, score, day, RULES), RULES).state
    assert state is State.PROBING
    events = [Event.PROBE_FAILED]
    while state is not State.REMOVED:
        step = next_step(state, events.pop(), RULES)
        state = step.state
        warned += Effect.WARN in step.effects
        told += [effect.name for effect in step.effects]
        events.append(due_event(warned, RULES))
    assert told == [
        "DISABLE", "WARN", "TELL_OWNERS", "WARN", "WARN", "REMOVE", "TELL_REMOVED", "TELL_OWNERS",
    ]  # fmt: skip


# The brake ------------------------------------------------------------------------------------------------------------


def test_one_refusal_is_known_again_in_other_words_of_the_same() -> None:
    said = [
        "550 5.7.1 <anne@example.net> Message 1A2B3C4D5E rejected as spam (12.5) see http://example.net/x?1",
        "550 5.7.1 <bart@example.net> Message FF00AA1122 rejected as spam (7.25) see http://example.net/x?2",
    ]
    words = {same_words(make_failure(("x@y",), "5.7.1", each, permanent=True)) for each in said}
    assert len(words) == 1


def test_only_policy_is_counted_by_its_words() -> None:
    unknown = make_failure(("anne@example.net",), "5.1.1", "550 no such user", permanent=True)
    refused = make_failure(("anne@example.net",), "5.7.1", "550 blocked", permanent=True)
    assert [topic.name for topic in topics_of("Anne@Example.net", unknown)] == ["domain:example.net"]
    assert len(topics_of("anne@example.net", refused)) == 2


@pytest.mark.parametrize(
    ("failing", "members", "expected"),
    [
        (
            MIN_MEMBERS - 1,
            MIN_MEMBERS - 1,
            False,
        ),  # a domain of four, all gone: coincidence, or their own affair
        (MIN_MEMBERS, 10, True),
        (MIN_MEMBERS, 1000, False),
        (ALWAYS_MEMBERS, 100_000, True),
    ],
)
def test_an_incident_is_many_members_of_a_domain(failing: int, members: int, expected: bool) -> None:
    assert is_incident(Topic("domain:example.net"), failing, members) is expected
    assert is_incident(Topic("text:x", is_text=True), failing, members) is (failing >= MIN_MEMBERS)
