"""What bounces mean for one membership: the score, and the table of what follows from it. Pure; the day and the time are arguments.

One score for a member and a day: ten failures on one day say no more than one. A score that is not renewed is stale and counts no more. How much a failure
counts depends on its class: a full mailbox may be emptied, and a refusal for policy is about what we send. Only permanent failures come here.
Nothing lives outside TABLE. docs/states.md shows it, and a test holds the page to it.

Strategy, harm, proof (tests/unit/bounces/test_scoring.py):
- no one bounce disables anybody: forged or odd ones must come on several days;
- before delivery is turned off a probe goes to the address alone, where the list wants it: what bounced may have been a post;
- a step's time that comes late, or comes for a state that has ended, changes nothing: timers are items and may be repeated;
- whoever is disabled hears of it before being removed, by mail to that address, at intervals.
"""

from datetime import date, timedelta
from enum import Enum
from typing import Final

from msgspec import Struct

from lists.bounces.failure import BounceClass

WEIGHTS: Final[dict[BounceClass, float]] = {
    "bad-mailbox": 1.0,
    "full": 0.5,  # many are emptied within a week; twice the days to the threshold
    "other": 0.5,
    "policy": 0.25,  # says that our mail is not wanted, not that the mailbox is gone; the brake looks at these
}


class Rules(Struct, frozen=True):
    """A list's own numbers; the defaults are those that Mailman's owners know."""

    threshold: float = 5.0  # score at which something happens
    stale_after_days: int = 7
    probes: bool = True
    warnings: int = 3  # mails to a disabled member before removal
    warning_interval_days: int = 7
    probe_days: int = 4  # a bounce of the probe that has not come by then will not come: most MTAs give up after 5 days, refusals come at once


class Score(Struct, frozen=True):
    """What a membership's bounces add up to."""

    value: float = 0.0
    day: date | None = None  # of the last failure that counted
    day_weight: float = 0.0  # what that day has counted so far

    def after(self, bounce_class: BounceClass, day: date, rules: Rules) -> "Score":
        """Return the score after a permanent failure on `day` (UTC); one from before the last counted day changes nothing."""
        weight = WEIGHTS[bounce_class]
        if self.day is not None and day < self.day:
            return self
        if self.day == day:
            more = max(0.0, weight - self.day_weight)
            return Score(self.value + more, day, self.day_weight + more)
        return Score(self.current(day, rules) + weight, day, weight)

    def current(self, day: date, rules: Rules) -> float:
        """Return what the score is worth on a day: nothing when it is stale."""
        is_fresh = self.day is not None and day - self.day <= timedelta(days=rules.stale_after_days)
        return self.value if is_fresh else 0.0


class State(Enum):
    """Where a membership is."""

    COUNTING = "counting"  # gets posts
    PROBING = "probing"  # gets posts; a probe is on its way
    DISABLED = "disabled"  # gets no posts, by bounces
    REMOVED = "removed"


class Event(Enum):
    """What happened."""

    SCORED = "a failure counted, below the threshold"
    REACHED = "a failure counted, the threshold is reached"
    PROBE_FAILED = "the probe came back"
    PROBE_ENDED = "the time in which it could come back is over"
    WARNING_DUE = "time for the next warning"
    REMOVAL_DUE = "time after the last warning is over"
    ENABLED = "the member or an owner turned delivery on"
    LEFT = "the membership ended, or somebody else turned delivery off"


class Effect(Enum):
    """What is to be done, in this order."""

    COUNT = "keep the score"
    RESET = "forget score and warnings"
    PROBE = "send a probe and note when its time ends"
    DISABLE = "turn delivery off, by bounces"
    ENABLE = "turn delivery on"
    WARN = "warn the member and note when the next step is due"
    REMOVE = "end the membership"
    TELL_REMOVED = "tell the address that it was removed"
    TELL_OWNERS = "tell the owners, where the list wants it"


class Step(Struct, frozen=True):
    """One row: where the membership is then, and what is to be done."""

    state: State
    effects: tuple[Effect, ...] = ()


_E = Effect
_OFF = Step(State.DISABLED, (_E.DISABLE, _E.WARN, _E.TELL_OWNERS))
_GONE = Step(State.REMOVED)
TABLE: Final[dict[tuple[State, Event], Step]] = {
    (State.COUNTING, Event.SCORED): Step(State.COUNTING, (_E.COUNT,)),
    (State.COUNTING, Event.REACHED): Step(
        State.PROBING, (_E.COUNT, _E.PROBE)
    ),  # without probes: see next_step
    (State.COUNTING, Event.PROBE_FAILED): Step(State.COUNTING),  # it was answered by a person meanwhile
    (State.COUNTING, Event.PROBE_ENDED): Step(State.COUNTING),
    (State.COUNTING, Event.WARNING_DUE): Step(State.COUNTING),
    (State.COUNTING, Event.REMOVAL_DUE): Step(State.COUNTING),
    (State.COUNTING, Event.ENABLED): Step(State.COUNTING, (_E.RESET,)),
    (State.PROBING, Event.SCORED): Step(State.PROBING),
    (State.PROBING, Event.REACHED): Step(State.PROBING),
    (State.PROBING, Event.PROBE_FAILED): _OFF,
    (State.PROBING, Event.PROBE_ENDED): Step(State.COUNTING, (_E.RESET,)),
    (State.PROBING, Event.WARNING_DUE): Step(State.PROBING),
    (State.PROBING, Event.REMOVAL_DUE): Step(State.PROBING),
    (State.PROBING, Event.ENABLED): Step(State.COUNTING, (_E.RESET,)),
    (State.DISABLED, Event.SCORED): Step(State.DISABLED),
    (State.DISABLED, Event.REACHED): Step(State.DISABLED),
    (State.DISABLED, Event.PROBE_FAILED): Step(State.DISABLED),
    (State.DISABLED, Event.PROBE_ENDED): Step(State.DISABLED),
    (State.DISABLED, Event.WARNING_DUE): Step(State.DISABLED, (_E.WARN,)),
    (State.DISABLED, Event.REMOVAL_DUE): Step(State.REMOVED, (_E.REMOVE, _E.TELL_REMOVED, _E.TELL_OWNERS)),
    (State.DISABLED, Event.ENABLED): Step(State.COUNTING, (_E.RESET, _E.ENABLE)),
    (State.COUNTING, Event.LEFT): Step(State.COUNTING, (_E.RESET,)),
    (State.PROBING, Event.LEFT): Step(State.COUNTING, (_E.RESET,)),
    (State.DISABLED, Event.LEFT): Step(State.COUNTING, (_E.RESET,)),
    **{(State.REMOVED, event): _GONE for event in Event},
}


class Impossible(Exception):
    """An event that cannot happen in this state: a bug of the caller's; nothing was changed."""


def next_step(state: State, event: Event, rules: Rules) -> Step:
    """Return where a membership goes and what is to be done; raises Impossible for a pair that is not in TABLE."""
    step = TABLE.get((state, event))
    if step is None:
        raise Impossible(f"{event} of a membership that is {state}")
    if Effect.PROBE in step.effects and not rules.probes:
        return Step(_OFF.state, (_E.COUNT, *_OFF.effects))
    return step


def score_event(before: State, score: Score, day: date, rules: Rules) -> Event:
    """Say what a counted failure is for the table."""
    reached = before is State.COUNTING and score.current(day, rules) >= rules.threshold
    return Event.REACHED if reached else Event.SCORED


def due_event(warnings_sent: int, rules: Rules) -> Event:
    """Say what it is time for when a disabled member's next step is due."""
    return Event.WARNING_DUE if warnings_sent < rules.warnings else Event.REMOVAL_DUE
