"""Joining and leaving: the table against a model, and what must hold on every way through it."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lists.subscription import (
    TABLE,
    Effect,
    Event,
    Impossible,
    Policy,
    State,
    Step,
    confirm_event,
    next_step,
    request_event,
)

POLICIES: tuple[Policy, ...] = ("open", "confirm", "moderate", "confirm_then_moderate")
REQUESTS = (Event.REQUESTED_OPEN, Event.REQUESTED_CONFIRM, Event.REQUESTED_MODERATE)


def test_every_pair_is_in_the_table() -> None:
    assert set(TABLE) == set(itertools.product(State, Event))


def test_a_pair_outside_the_table_raises() -> None:
    with pytest.raises(Impossible, match="CONFIRMED"):
        next_step("confirming", Event.CONFIRMED)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("policy", "is_sender", "event"),
    [
        ("open", True, Event.REQUESTED_OPEN),
        ("open", False, Event.REQUESTED_CONFIRM),
        ("confirm", True, Event.REQUESTED_CONFIRM),
        ("moderate", True, Event.REQUESTED_MODERATE),
        ("moderate", False, Event.REQUESTED_CONFIRM),
        ("confirm_then_moderate", True, Event.REQUESTED_CONFIRM),
    ],
)
def test_the_policy_says_who_must_agree(policy: Policy, is_sender: bool, event: Event) -> None:
    assert request_event(policy, is_sender=is_sender) is event


class Model:
    """The same said in other words: who has agreed, and who must."""

    def __init__(self) -> None:
        self.needed: set[str] | None = None  # None: no request

    def take(self, event: Event) -> bool:
        """Take an event; True: the address joins or leaves now."""
        if event in REQUESTS:
            return self._request(event)
        if self.needed is None:
            return False
        match event:
            case Event.APPROVED:
                return self._end(acts=True)
            case Event.REFUSED | Event.WITHDRAWN | Event.EXPIRED:
                return self._end(acts=False)
            case _ if "address" in self.needed:
                self.needed = {"moderator"} if event is Event.CONFIRMED_FIRST else set()
                return self._end(acts=True) if not self.needed else False
        return False

    def _request(self, event: Event) -> bool:
        if self.needed is None:
            wanted = {Event.REQUESTED_CONFIRM: {"address"}, Event.REQUESTED_MODERATE: {"moderator"}}
            self.needed = wanted.get(event)
            return self.needed is None
        return (
            self._end(acts=True) if event is Event.REQUESTED_OPEN and "address" not in self.needed else False
        )

    def _end(self, *, acts: bool) -> bool:
        self.needed = None
        return acts

    @property
    def state(self) -> State:
        if self.needed is None:
            return State.NONE
        return State.CONFIRMING if "address" in self.needed else State.MODERATING


@given(st.lists(st.sampled_from(list(Event)), max_size=30))
def test_the_table_does_what_the_model_does(events: list[Event]) -> None:
    model, state = Model(), State.NONE
    for event in events:
        step = next_step(state, event)
        acts = model.take(event)
        assert (Effect.ACT in step.effects) == acts
        assert step.state is model.state
        state = step.state


@given(st.sampled_from(POLICIES), st.booleans(), st.lists(st.sampled_from(list(Event)), max_size=20))
def test_nobody_joins_whom_the_policy_does_not_let(
    policy: Policy, is_sender: bool, events: list[Event]
) -> None:
    """Whatever comes in between: without the address's token or a moderator's word nothing happens."""
    state = next_step(State.NONE, request_event(policy, is_sender=is_sender)).state
    for event in events:
        if event in (*REQUESTS, Event.CONFIRMED, Event.CONFIRMED_FIRST, Event.APPROVED):
            continue
        step = next_step(state, event)
        assert Effect.ACT not in step.effects
        state = step.state


@pytest.mark.parametrize("policy", POLICIES)
def test_confirming_under_a_moderated_policy_never_joins_by_itself(policy: Policy) -> None:
    step = next_step(State.CONFIRMING, confirm_event(policy))
    assert (Effect.ACT in step.effects) == (policy in ("open", "confirm"))


@pytest.mark.parametrize(("pair", "step"), TABLE.items())
def test_a_request_is_kept_while_it_waits_and_forgotten_when_it_does_not(
    pair: tuple[State, Event], step: Step
) -> None:
    before, _ = pair
    assert (Effect.OPEN in step.effects) == (before is State.NONE and step.state is not State.NONE)
    assert (Effect.CLOSE in step.effects) == (before is not State.NONE and step.state is State.NONE)
    assert (Effect.MOVE in step.effects) == (
        State.NONE not in (before, step.state) and before is not step.state
    )


@pytest.mark.parametrize("event", list(Event))
def test_asking_again_asks_nobody_else(event: Event) -> None:
    """A thousand requests are one request: one token, one mail to the moderators."""
    for state in (State.CONFIRMING, State.MODERATING):
        step = next_step(state, event)
        assert Effect.ASK_ADDRESS not in step.effects
        if event in REQUESTS:
            assert Effect.ASK_MODERATORS not in step.effects
