"""Which processes a site has: pure, from settings and what was scaled at run time to a list of places."""

from collections.abc import Mapping
from typing import Literal

from msgspec import Struct

from config.names import (
    BOUNCES,
    BUILT_IN_QUEUES,
    CONFIRM,
    INCOMING,
    MEMBERSHIP,
    OUTGOING,
    OWNER,
    REQUEST,
    Queue,
)
from config.settings import Settings

BUILT_IN_RUNNERS = (
    INCOMING,
    BOUNCES,
    CONFIRM,
    MEMBERSHIP,
    OWNER,
    REQUEST,
    OUTGOING,
)  # queues whose runner class comes with Postroom
LMTP_GRACE_S = 20.0  # transactions in hand end; Postfix's LMTP client takes the 421 that all others get
BUS_GRACE_S = 10.0  # the last commit and a checkpoint
RUNNER_EXTRA_S = 2.0  # above stop_grace_s, within which a runner gives back what it has not finished
MAX_PROCESSES = 64  # as config.settings.Processes

Role = Literal["bus", "lmtp", "runner"]
START_ORDER: tuple[Role, ...] = ("bus", "runner", "lmtp")  # all at once at a start, one by one at a restart
STOP_ORDER: tuple[Role, ...] = ("lmtp", "runner", "bus")


class Place(Struct, frozen=True):
    """One process that should be there, whoever fills it at the moment."""

    name: str  # "incoming-1"
    role: Role
    module: str  # started as python -m
    queue: Queue | None = None
    nice: int = 0
    grace_s: float = BUS_GRACE_S  # from SIGTERM to SIGKILL


class CannotScale(Exception):
    """There is nothing of this name, or not that many; str() is for a person."""


def queues(settings: Settings) -> tuple[Queue, ...]:
    """Return every queue there is, the built-in ones first."""
    own = sorted(set(settings.runners) - set(BUILT_IN_QUEUES))
    return (*BUILT_IN_QUEUES, *map(Queue, own))


def queues_with_runner(settings: Settings) -> tuple[Queue, ...]:
    """Return the queues that have a runner class; mail of the others waits."""
    return tuple(
        queue for queue in queues(settings) if queue in BUILT_IN_RUNNERS or settings.runner(queue).class_
    )


def configured(settings: Settings) -> dict[str, int]:
    """Return what can be scaled, "lmtp" and queues, and how many processes the configuration gives each."""
    return {
        "lmtp": settings.lmtp.processes,
        **{queue: settings.runner(queue).processes for queue in queues_with_runner(settings)},
    }


def places(settings: Settings, scaled: Mapping[str, int]) -> tuple[Place, ...]:
    """Return the processes that should be there; `scaled` wins over the configuration."""
    numbers = {**configured(settings), **scaled}
    made = [Place("bus", "bus", "bus.broker")]
    made += [  # before the runners: on a small machine who comes first is ready first
        Place(f"lmtp-{number}", "lmtp", "lmtp.main", grace_s=LMTP_GRACE_S)
        for number in range(1, numbers["lmtp"] + 1)
    ]
    for queue in queues_with_runner(settings):
        runner = settings.runner(queue)
        grace_s = runner.stop_grace_s + RUNNER_EXTRA_S
        made += [
            Place(f"{queue}-{number}", "runner", "runners.main", queue, runner.nice, grace_s)
            for number in range(1, numbers[queue] + 1)
        ]
    return tuple(made)


def check_scale(settings: Settings, what: str, number: int) -> None:
    """Raise CannotScale when `scale WHAT NUMBER` makes no sense."""
    known = configured(settings)
    if what not in known:
        if what in queues(settings):
            raise CannotScale(f"{what} has no runner class, so it has no processes; its mail waits")
        raise CannotScale(f"there is no {what!r} to scale; there are {', '.join(known)}")
    if not 0 <= number <= MAX_PROCESSES:
        raise CannotScale(f"{number} processes: 0 to {MAX_PROCESSES} are possible")
