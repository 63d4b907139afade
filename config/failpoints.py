"""Named places where a test may make a process die, stall or fail.

A place is one line, `fail("bus.commit.before")`. Off (always, but in tests) it costs the call of an empty function. `POSTROOM_FAILPOINTS`
in the environment of a process turns places on at its start: "NAME=ACTION[@N][,...]", where ACTION is kill (SIGKILL to itself),
exit (status 70), error (raises Failpoint), full (raises OSError ENOSPC), sleep:SECONDS or stop (SIGSTOP to itself), and @N means from the N-th passage
on, once for kill and exit, each time else. Names are registered in PLACES, so that a test for a place that is gone fails.
"""

import errno
import os
import signal
import time
from collections.abc import Callable

PLACES = frozenset(
    {
        "bus.publish.received",  # a publish was read, nothing is durable
        "bus.commit.before",  # in the committer, a batch is decided, nothing of it is written
        "bus.commit.after",  # durable, nobody has been told
        "bus.flush.before",  # the database is told what the log has: written, not committed
        "bus.flush.after",  # committed, the log is not begun anew
        "bus.confirm.before",  # before CONFIRMED or SETTLED is sent
        "bus.confirm.after",
        "bus.job.before",  # before a lease is sent
        "bus.job.after",
        "bus.spill.before",  # before a large body's file gets its name
        "bus.spill.after",
        "front.publish.before",  # in a client, around sending
        "front.publish.after",
        "lmtp.reply.before",  # a confirmation arrived, the 250 is not written
        "lmtp.reply.after",
        "runner.handle.before",
        "runner.handle.after",
        "runner.ack.before",
        "runner.ack.after",
        "runner.settled.before",  # the bus's answer to an ack was read, the runner has not acted on it
        "store.commit.before",
        "store.commit.after",
        "outgoing.begun.before",
        "outgoing.begun.after",
        "outgoing.data.before",  # before the final dot
        "outgoing.data.after",  # the MTA's reply was read, nothing is noted
        "outgoing.done.after",
        "maildir.link.before",
        "maildir.link.after",
        "timer.publish.before",  # something is due, and no item says so yet
        "timer.publish.after",
    }
)


class Failpoint(Exception):
    """Raised by the action "error"."""


class UnknownPlace(ValueError):
    """POSTROOM_FAILPOINTS names a place or an action that does not exist."""


def _off(place: str) -> None:
    """Do nothing: no failpoint is set in this process."""


def make_fail(plan: str) -> Callable[[str], None]:
    """Build the function that acts at the places of `plan`; raises UnknownPlace."""
    actions: dict[str, tuple[str, int]] = {}
    for entry in filter(None, (part.strip() for part in plan.split(","))):
        place, _, action = entry.partition("=")
        action, _, number = action.partition("@")
        kind = action.partition(":")[0]
        if place not in PLACES or kind not in ("kill", "exit", "error", "full", "sleep", "stop"):
            raise UnknownPlace(f"POSTROOM_FAILPOINTS: {entry!r} names no known place and action")
        actions[place] = (action, int(number or 1))
    if not actions:
        return _off
    passages: dict[str, int] = {}

    def fail(place: str) -> None:
        if place in actions:
            passages[place] = passages.get(place, 0) + 1
            action, number = actions[place]
            if passages[place] >= number:
                _act(place, action)

    return fail


def _act(place: str, action: str) -> None:
    kind, _, argument = action.partition(":")
    match kind:
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "stop":
            os.kill(os.getpid(), signal.SIGSTOP)
        case "exit":
            os._exit(70)
        case "sleep":
            time.sleep(float(argument))
        case "full":
            raise OSError(errno.ENOSPC, f"failpoint {place}")
        case _:
            raise Failpoint(place)


fail = make_fail(os.environ.get("POSTROOM_FAILPOINTS", ""))
IS_ARMED = fail is not _off  # for a place that takes more than a call to be at
