"""Joining and leaving as one table: what a request is waiting for, what happens to it, and what is to be done. Pure.

A request is for one address, one list, and one of join and leave; there is at most one of each at a time. Nothing lives outside TABLE: a pair that is not in
it raises Impossible and changes nothing. docs/states.md shows the table, and a test holds the page to it. Who may ask and what mail says are the
runner's; whether mail may be sent at all is the gate's.

Strategy, harm, proof (tests/unit/lists/test_subscription.py holds all to a model):
- an address joins or leaves only after its owner confirmed, where the policy says so: a forged request changes nothing;
- asking again makes no second request: a thousand requests are one, and one token;
- what comes late (a token used or expired, an approval after a withdrawal) finds no request and changes nothing;
- moderators see only what its address has confirmed, where both are asked for: strangers cannot fill their queue in others' names.
"""

from enum import Enum
from typing import Final, Literal

from msgspec import Struct

Policy = Literal["open", "confirm", "moderate", "confirm_then_moderate"]
Kind = Literal["join", "leave"]


class State(Enum):
    """What a request waits for; NONE: there is no request."""

    NONE = "none"
    CONFIRMING = "confirming"  # for the address to confirm
    MODERATING = "moderating"  # for an owner or moderator


class Event(Enum):
    """What happened. REQUESTED comes from the way a list is asked (first_event); all else is about a request that should be there."""

    REQUESTED_OPEN = "requested, nobody need agree"
    REQUESTED_CONFIRM = "requested, the address must confirm"
    REQUESTED_MODERATE = "requested, a moderator must agree"
    CONFIRMED = "the address confirmed"
    CONFIRMED_FIRST = "the address confirmed, a moderator must agree too"
    APPROVED = "a moderator agreed"
    REFUSED = "a moderator said no"
    WITHDRAWN = "the address or an owner took it back, or did it by a command"
    EXPIRED = "nobody answered in time"


class Effect(Enum):
    """What is to be done, in this order."""

    OPEN = "keep the request"
    MOVE = "keep what it waits for now"
    CLOSE = "forget the request and its tokens"
    ACT = "join or leave"
    ASK_ADDRESS = "send the address a token"
    ASK_AGAIN = "send the same token again, within the budget"
    ASK_MODERATORS = "tell owners and moderators"
    TELL_DONE = "welcome or goodbye"
    TELL_WAITING = "tell the address that a moderator decides"
    TELL_REFUSED = "tell the address that a moderator said no"
    TELL_TOO_LATE = "tell who asked that there is nothing to confirm or decide (any more)"


class Step(Struct, frozen=True):
    """One row: where the request is then, and what is to be done."""

    state: State
    effects: tuple[Effect, ...] = ()


class Impossible(Exception):
    """An event that cannot happen in this state: a bug of the caller's; nothing was changed."""


_E = Effect
TABLE: Final[dict[tuple[State, Event], Step]] = {
    (State.NONE, Event.REQUESTED_OPEN): Step(State.NONE, (_E.ACT, _E.TELL_DONE)),
    (State.NONE, Event.REQUESTED_CONFIRM): Step(State.CONFIRMING, (_E.OPEN, _E.ASK_ADDRESS)),
    (State.NONE, Event.REQUESTED_MODERATE): Step(
        State.MODERATING, (_E.OPEN, _E.ASK_MODERATORS, _E.TELL_WAITING)
    ),
    (State.NONE, Event.CONFIRMED): Step(State.NONE, (_E.TELL_TOO_LATE,)),
    (State.NONE, Event.CONFIRMED_FIRST): Step(State.NONE, (_E.TELL_TOO_LATE,)),
    (State.NONE, Event.APPROVED): Step(State.NONE, (_E.TELL_TOO_LATE,)),
    (State.NONE, Event.REFUSED): Step(State.NONE, (_E.TELL_TOO_LATE,)),
    (State.NONE, Event.WITHDRAWN): Step(State.NONE),
    (State.NONE, Event.EXPIRED): Step(State.NONE),
    # An address that has not confirmed may be anybody's: asking in another way does not get round it.
    (State.CONFIRMING, Event.REQUESTED_OPEN): Step(State.CONFIRMING, (_E.ASK_AGAIN,)),
    (State.CONFIRMING, Event.REQUESTED_CONFIRM): Step(State.CONFIRMING, (_E.ASK_AGAIN,)),
    (State.CONFIRMING, Event.REQUESTED_MODERATE): Step(State.CONFIRMING, (_E.ASK_AGAIN,)),
    (State.CONFIRMING, Event.CONFIRMED): Step(State.NONE, (_E.CLOSE, _E.ACT, _E.TELL_DONE)),
    (State.CONFIRMING, Event.CONFIRMED_FIRST): Step(
        State.MODERATING, (_E.MOVE, _E.ASK_MODERATORS, _E.TELL_WAITING)
    ),
    (State.CONFIRMING, Event.APPROVED): Step(State.NONE, (_E.CLOSE, _E.ACT, _E.TELL_DONE)),
    (State.CONFIRMING, Event.REFUSED): Step(State.NONE, (_E.CLOSE,)),  # a stranger's name on it: no mail
    (State.CONFIRMING, Event.WITHDRAWN): Step(State.NONE, (_E.CLOSE,)),
    (State.CONFIRMING, Event.EXPIRED): Step(State.NONE, (_E.CLOSE,)),
    (State.MODERATING, Event.REQUESTED_OPEN): Step(State.NONE, (_E.CLOSE, _E.ACT, _E.TELL_DONE)),
    (State.MODERATING, Event.REQUESTED_CONFIRM): Step(State.MODERATING, (_E.TELL_WAITING,)),
    (State.MODERATING, Event.REQUESTED_MODERATE): Step(State.MODERATING, (_E.TELL_WAITING,)),
    (State.MODERATING, Event.CONFIRMED): Step(State.MODERATING, (_E.TELL_WAITING,)),
    (State.MODERATING, Event.CONFIRMED_FIRST): Step(State.MODERATING, (_E.TELL_WAITING,)),
    (State.MODERATING, Event.APPROVED): Step(State.NONE, (_E.CLOSE, _E.ACT, _E.TELL_DONE)),
    (State.MODERATING, Event.REFUSED): Step(State.NONE, (_E.CLOSE, _E.TELL_REFUSED)),
    (State.MODERATING, Event.WITHDRAWN): Step(State.NONE, (_E.CLOSE,)),
    (State.MODERATING, Event.EXPIRED): Step(State.NONE, (_E.CLOSE,)),
}


def next_step(state: State, event: Event) -> Step:
    """Return where a request goes and what is to be done; raises Impossible for a pair that is not in TABLE."""
    step = TABLE.get((state, event))
    if step is None:
        raise Impossible(f"{event} of a request that is {state}")
    return step


def request_event(policy: Policy, *, is_sender: bool) -> Event:
    """Say how a list is asked. `is_sender`: the address asks for itself; who names another's address gets nothing without that one's confirmation."""
    if policy in ("confirm", "confirm_then_moderate") or not is_sender:
        return Event.REQUESTED_CONFIRM
    return Event.REQUESTED_MODERATE if policy == "moderate" else Event.REQUESTED_OPEN


def confirm_event(policy: Policy) -> Event:
    """Say what a good token means under the policy as it is now; one that asks less than before lets it through."""
    return Event.CONFIRMED_FIRST if policy in ("moderate", "confirm_then_moderate") else Event.CONFIRMED
