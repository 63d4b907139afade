"""What becomes of one child: pure, the clock and the dice are arguments.

Strategy, what it prevents, and its proof (tests/unit/master/test_policy.py):

- A child that was ready is started again at once, yet at most once a second: a crash costs no mail, a crash loop no machine.
- Only exits before READY make the back-off grow (1 to 60 s, with jitter): a bad build does not burn the CPU, and
  processes that fail together do not come back together.
- For ever: a limit on restarts would turn five bad minutes of a disk into a lost night.
- Exit 78 is not tried again: bad configuration does not heal by itself.
- A child is stuck when its beats stop, or when it neither beats nor is ready for a minute: stack dump first, then SIGKILL.
- What is told to leave and does not is killed when its time is over: a stop always ends.

What does not belong here: processes, pipes, signals (children.py), which children there should be (plan.py).
"""

import enum

from msgspec import Struct

from config.child import BEAT_S

MISSED_BEATS = 3  # DESIGN P8; ZeroMQ's Paranoid Pirate and JetStream's consumers count three as well
SILENCE_S = MISSED_BEATS * BEAT_S
START_S = 60.0  # without READY or a beat; systemd's TimeoutStartSec is 90, Postfix waits for ever
DUMP_S = 1.0  # for writing the stacks down, between SIGUSR2 and SIGKILL
RESTART_S = 1.0  # between two starts of one child; s6 and runit wait the same
BACKOFF_MAX_S = 60.0  # Postfix throttles a failing service for 60 s
NEVER = float("inf")


class State(enum.StrEnum):
    """Where one child is in its life; docs/master.md has the table for people."""

    STOPPED = "stopped"  # no process, and none is wanted
    BACKOFF = "backoff"  # no process; started when the deadline comes, which may be now
    STARTING = "starting"
    READY = "ready"
    STUCK = "stuck"  # asked for its stacks; killed at the deadline
    KILLED = "killed"  # SIGKILL was sent; another is started when it is reaped
    DRAINING = "draining"  # told to end; nothing follows
    REPLACING = "replacing"  # told to end; another is started when it is reaped
    FAILED = "failed"  # exited 78; waits for a person


class Event(enum.StrEnum):
    """What can happen to it."""

    START = "start"  # a child is wanted where none was, or where one is leaving
    DRAIN = "drain"  # it is wanted no longer
    REPLACE = "replace"  # a new one is wanted in its place
    READIED = "readied"
    BEAT = "beat"
    EXITED = "exited"
    MISCONFIGURED = "misconfigured"  # it exited 78
    LOST = "lost"  # the bus has not heard it for three beats
    DUE = "due"  # its deadline has come


class Effect(enum.StrEnum):
    """What the shell has to do about it."""

    SPAWN = "spawn"
    TERMINATE = "terminate"  # SIGTERM
    DUMP = "dump"  # SIGUSR2
    KILL = "kill"  # SIGKILL


class Life(Struct, frozen=True):
    """All that is known of one child."""

    state: State = State.STOPPED
    deadline: float = NEVER  # monotonic; when DUE is fed
    started_at: float = -NEVER  # monotonic; of the last process
    starts: int = 0
    failures: int = 0  # exits before READY, in a row
    was_ready: bool = False  # the last process reached READY


class Unknown(Exception):
    """No such pair in the table: a bug of the caller's; nothing was changed."""

    def __init__(self, state: State, event: Event) -> None:
        super().__init__(f"{event} cannot happen in {state}")


_S, _E, _F = State, Event, Effect

TABLE: dict[tuple[State, Event], tuple[State, tuple[Effect, ...]]] = {
    (_S.STOPPED, _E.START): (_S.BACKOFF, ()),
    (_S.STOPPED, _E.DRAIN): (_S.STOPPED, ()),
    (_S.BACKOFF, _E.DUE): (_S.STARTING, (_F.SPAWN,)),
    (_S.BACKOFF, _E.DRAIN): (_S.STOPPED, ()),
    (_S.BACKOFF, _E.REPLACE): (_S.BACKOFF, ()),
    (_S.STARTING, _E.READIED): (_S.READY, ()),
    (_S.STARTING, _E.BEAT): (_S.STARTING, ()),
    (_S.STARTING, _E.EXITED): (_S.BACKOFF, ()),
    (_S.STARTING, _E.MISCONFIGURED): (_S.FAILED, ()),
    (_S.STARTING, _E.LOST): (_S.STUCK, (_F.DUMP,)),
    (_S.STARTING, _E.DUE): (_S.STUCK, (_F.DUMP,)),
    (_S.STARTING, _E.DRAIN): (_S.DRAINING, (_F.TERMINATE,)),
    (_S.STARTING, _E.REPLACE): (_S.REPLACING, (_F.TERMINATE,)),
    (_S.READY, _E.READIED): (_S.READY, ()),
    (_S.READY, _E.BEAT): (_S.READY, ()),
    (_S.READY, _E.EXITED): (_S.BACKOFF, ()),
    (_S.READY, _E.MISCONFIGURED): (_S.FAILED, ()),
    (_S.READY, _E.LOST): (_S.STUCK, (_F.DUMP,)),
    (_S.READY, _E.DUE): (_S.STUCK, (_F.DUMP,)),
    (_S.READY, _E.DRAIN): (_S.DRAINING, (_F.TERMINATE,)),
    (_S.READY, _E.REPLACE): (_S.REPLACING, (_F.TERMINATE,)),
    (_S.STUCK, _E.READIED): (_S.STUCK, ()),  # too late: half of what it does may be lost already
    (_S.STUCK, _E.BEAT): (_S.STUCK, ()),
    (_S.STUCK, _E.EXITED): (_S.BACKOFF, ()),
    (_S.STUCK, _E.MISCONFIGURED): (_S.FAILED, ()),
    (_S.STUCK, _E.LOST): (_S.STUCK, ()),
    (_S.STUCK, _E.DUE): (_S.KILLED, (_F.KILL,)),
    (_S.STUCK, _E.DRAIN): (_S.DRAINING, (_F.KILL,)),
    (_S.STUCK, _E.REPLACE): (_S.REPLACING, (_F.KILL,)),
    (_S.KILLED, _E.READIED): (_S.KILLED, ()),
    (_S.KILLED, _E.BEAT): (_S.KILLED, ()),
    (_S.KILLED, _E.EXITED): (_S.BACKOFF, ()),
    (_S.KILLED, _E.MISCONFIGURED): (_S.FAILED, ()),
    (_S.KILLED, _E.LOST): (_S.KILLED, ()),
    (_S.KILLED, _E.DRAIN): (_S.DRAINING, ()),
    (_S.KILLED, _E.REPLACE): (_S.REPLACING, ()),
    (_S.DRAINING, _E.START): (_S.REPLACING, ()),
    (_S.DRAINING, _E.READIED): (_S.DRAINING, ()),
    (_S.DRAINING, _E.BEAT): (_S.DRAINING, ()),
    (_S.DRAINING, _E.EXITED): (_S.STOPPED, ()),
    (_S.DRAINING, _E.MISCONFIGURED): (_S.STOPPED, ()),
    (_S.DRAINING, _E.LOST): (_S.DRAINING, ()),
    (_S.DRAINING, _E.DUE): (_S.DRAINING, (_F.KILL,)),
    (_S.DRAINING, _E.DRAIN): (_S.DRAINING, ()),
    (_S.DRAINING, _E.REPLACE): (_S.DRAINING, ()),
    (_S.REPLACING, _E.READIED): (_S.REPLACING, ()),
    (_S.REPLACING, _E.BEAT): (_S.REPLACING, ()),
    (_S.REPLACING, _E.EXITED): (_S.BACKOFF, ()),
    (_S.REPLACING, _E.MISCONFIGURED): (_S.BACKOFF, ()),
    (_S.REPLACING, _E.LOST): (_S.REPLACING, ()),
    (_S.REPLACING, _E.DUE): (_S.REPLACING, (_F.KILL,)),
    (_S.REPLACING, _E.DRAIN): (_S.DRAINING, ()),
    (_S.REPLACING, _E.REPLACE): (_S.REPLACING, ()),
    (_S.FAILED, _E.DRAIN): (_S.STOPPED, ()),
    (_S.FAILED, _E.REPLACE): (_S.BACKOFF, ()),
}

ALIVE = frozenset({_S.STARTING, _S.READY, _S.STUCK, _S.KILLED, _S.DRAINING, _S.REPLACING})  # has a process
LEAVING = frozenset({_S.DRAINING, _S.REPLACING})  # was told to


def advance(
    life: Life, event: Event, now: float, *, grace_s: float, dice: float
) -> tuple[Life, tuple[Effect, ...]]:
    """Say what a child is after `event`, and what is to be done.

    `grace_s` is what a child that is told to leave may take; `dice` is a random number from 0 to 1.
    Raises Unknown for what cannot happen.
    """
    if (life.state, event) not in TABLE:
        raise Unknown(life.state, event)
    state, effects = TABLE[life.state, event]
    failures = _count_failures(life, event)
    return Life(
        state=state,
        deadline=_deadline(life, event, state, failures, now, grace_s, dice),
        started_at=now if Effect.SPAWN in effects else life.started_at,
        starts=life.starts + (Effect.SPAWN in effects),
        failures=failures,
        was_ready=Effect.SPAWN not in effects and (life.was_ready or state is State.READY),
    ), effects


def _count_failures(life: Life, event: Event) -> int:
    if event in (Event.READIED, Event.REPLACE, Event.START):  # it works, or a person wants another try
        return 0
    if event is Event.EXITED and life.state not in LEAVING and not life.was_ready:
        return life.failures + 1
    return life.failures


def _deadline(
    life: Life, event: Event, state: State, failures: int, now: float, grace_s: float, dice: float
) -> float:
    """When the state that was just entered, or entered anew, ends by itself."""
    match state:
        case State.BACKOFF:
            if life.state is State.BACKOFF and event is not Event.REPLACE:
                return life.deadline
            return max(now + backoff_s(failures, dice), life.started_at + RESTART_S)
        case State.STARTING:
            return now + START_S
        case State.READY:
            return now + SILENCE_S
        case State.STUCK:
            return life.deadline if life.state is State.STUCK else now + DUMP_S
        case State.DRAINING | State.REPLACING:
            if event is Event.DUE:  # killed; nothing more can be done but wait
                return NEVER
            return life.deadline if life.state in LEAVING else now + grace_s
        case _:
            return NEVER


def backoff_s(failures: int, dice: float) -> float:
    """How long to wait after so many exits before READY in a row: none, 1-2 s, 2-4 s, ... 30-60 s."""
    if failures == 0:
        return 0.0
    return min(BACKOFF_MAX_S, 2.0 ** min(failures, 10)) * (0.5 + 0.5 * dice)


def excuse(life: Life, stood_still_s: float) -> Life:
    """Give a child the time back in which this machine, or master, stood still: nobody could have heard a beat."""
    return Life(
        state=life.state,
        deadline=life.deadline + stood_still_s,
        started_at=life.started_at,
        starts=life.starts,
        failures=life.failures,
        was_ready=life.was_ready,
    )
