"""The main loop: gathers what happened to the children, asks policy.py, and does what it says.

One thread, callbacks of one event loop; nothing here blocks. Which children there should be is plan.py's, what a client
of the control socket may ask is control.py's.
"""

import asyncio
import contextlib
import random
import signal
import time
from collections.abc import Iterable
from functools import partial
from typing import Protocol

import structlog

from config.names import EX_CONFIG, Instance
from config.settings import Settings
from master import plan
from master.children import Process, reap_strays
from master.nursery import Nursery
from master.plan import Place
from master.policy import LEAVING, NEVER, Effect, Event, Life, State, advance, excuse

SPAWN_AGAIN_S = 1.0  # after the system refused another process
STOOD_STILL_S = 1.0  # a loop this late was not running; what it did not hear meanwhile is nobody's fault
SETTLE_S = 60.0  # a restart or a scale waits this long for processes to be ready, on top of their grace

SETTLED = frozenset({State.READY, State.STOPPED, State.FAILED})

_SIGNALS = {Effect.TERMINATE: signal.SIGTERM, Effect.DUMP: signal.SIGUSR2, Effect.KILL: signal.SIGKILL}


# What a state's own effect would have said to a process that was not there yet.
_MISSED = {
    State.DRAINING: Effect.TERMINATE,
    State.REPLACING: Effect.TERMINATE,
    State.STUCK: Effect.DUMP,
    State.KILLED: Effect.KILL,
}


class Reaped(Protocol):
    """Whoever must know that processes are gone: the bus, through bus.client.Overseer."""

    def gone(self, instances: tuple[Instance, ...], crashed: bool) -> None:
        """These have been reaped; `crashed` ones are to blame for what they had in hand."""


class Stopping(Exception):
    """Master ends; what was asked is not finished."""


class Child:
    """One place, and who fills it at the moment."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.life = Life()
        self.process: Process | None = None


class Supervisor:
    """Keeps the children of one site."""

    def __init__(self, settings: Settings, nursery: Nursery, scaled: dict[str, int]) -> None:
        self.settings = settings
        self.nursery = nursery
        self.scaled = scaled
        self.children: dict[str, Child] = {}
        self.reaped: Reaped | None = None
        self._log = structlog.get_logger()
        self._changed = asyncio.Event()  # set and cleared at once: wakes who waits for a state
        self._next = NEVER
        self._stopping = False
        self._hurried = False

    # What others may ask ------------------------------------------------------------------------------------------------

    def living(self) -> tuple[Instance, ...]:
        """Return the instances that have a process; a starting bus is told them."""
        return tuple(child.process.instance for child in self.children.values() if child.process)

    def lost(self, instances: tuple[Instance, ...]) -> None:
        """The bus does not hear these: end them. It is told at once of those that are gone already."""
        ours = {child.process.instance: child for child in self.children.values() if child.process}
        for instance in instances:
            if child := ours.get(instance):
                self.feed(child, Event.LOST)
        if self.reaped and (strangers := tuple(each for each in instances if each not in ours)):
            self.reaped.gone(strangers, crashed=False)

    def is_ready(self) -> bool:
        """Say whether every process that should be there does its work."""
        wanted = {place.name for place in plan.places(self.settings, self.scaled)}
        return all(name in self.children and self._state(name) is State.READY for name in wanted)

    def is_bus_ready(self) -> bool:
        """Say whether the bus can be asked."""
        return _all_in(self._with_role("bus"), State.READY)

    async def until_ready(self) -> None:
        """Wait, for ever if need be, until every process that should be there does its work."""
        while not self.is_ready():
            await self._changed.wait()

    def start(self) -> None:
        """Start every child at once: each waits for what it needs, so the longest start is all it takes."""
        self._want(plan.places(self.settings, self.scaled))

    async def scale(self, what: str, number: int) -> None:
        """Change the number of processes; returns when all are as wanted, or failed. Raises CannotScale, TimeoutError, Stopping."""
        plan.check_scale(self.settings, what, number)
        self.scaled = {**self.scaled, what: number}
        if plan.configured(self.settings)[what] == number:
            del self.scaled[what]
        wanted = {place.name for place in plan.places(self.settings, self.scaled)}
        grace = 0.0
        for child in list(self.children.values()):
            if child.place.name not in wanted and child.life.state is not State.STOPPED:
                self.feed(child, Event.DRAIN)
                grace = max(grace, child.place.grace_s)
        self._want(plan.places(self.settings, self.scaled))
        self._log.info("master.scaled", what=what, processes=number)
        await self._settle(list(self.children.values()), grace + SETTLE_S)

    async def replace_all(self) -> None:
        """Replace every child, role by role, front-ends one by one; returns when all are ready, or failed.

        Raises TimeoutError when some are not in time (they are tried on), Stopping.
        """
        self._log.info("master.restarting")
        await self.nursery.renew()
        for role in plan.START_ORDER:
            group = [child for child in self._with_role(role) if self._is_wanted(child.place)]
            for batch in [[child] for child in group] if role == "lmtp" else [group]:
                for child in batch:
                    self.feed(child, Event.REPLACE)
                grace = max((child.place.grace_s for child in batch), default=0.0)
                await self._settle(batch, grace + SETTLE_S)

    async def stop(self) -> None:
        """End every child, front-ends first and the bus last; those that stay too long are killed."""
        self._stopping = True
        self._wake()
        for role in plan.STOP_ORDER:
            group = self._with_role(role)
            for child in group:
                self.feed(child, Event.DRAIN)
            if self._hurried:
                self.hurry()
            while not _all_in(group, State.STOPPED):
                await self._changed.wait()

    def hurry(self) -> None:
        """Kill those that are told to leave, now and for the rest of this stop: nothing durable is lost by it."""
        self._hurried = True
        for child in self.children.values():
            if child.life.state in LEAVING:
                self._do(child, Effect.KILL)

    async def watch(self) -> None:
        """Feed deadlines as they come; runs until it is cancelled."""
        while True:
            self._next = min((child.life.deadline for child in self.children.values()), default=NEVER)
            slept_until = min(self._next, time.monotonic() + STOOD_STILL_S)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, slept_until - time.monotonic())):
                    await self._changed.wait()
            late = time.monotonic() - slept_until
            if late > STOOD_STILL_S:
                self._excuse_all(late)
            now = time.monotonic()
            for child in list(self.children.values()):
                if child.life.deadline <= now:
                    self.feed(child, Event.DUE)

    # What happens to one child ------------------------------------------------------------------------------------------

    def feed(self, child: Child, event: Event) -> None:
        """Advance one child and do what follows."""
        before, grace_s = child.life, child.place.grace_s
        child.life, effects = advance(before, event, time.monotonic(), grace_s=grace_s, dice=random.random())
        self._tell(child, before, event)
        for effect in effects:
            self._do(child, effect)
        if child.life.state is State.STOPPED and not self._is_wanted(child.place):
            self.children.pop(child.place.name, None)
        if child.life.state is not before.state or child.life.deadline < self._next:
            self._wake()

    def _do(self, child: Child, effect: Effect) -> None:
        if effect is Effect.SPAWN:
            self._spawn(child)
        elif child.process is not None:
            child.process.send(_SIGNALS[effect])

    def _spawn(self, child: Child) -> None:
        self.nursery.spawn(child.place, partial(self._take, child))

    def _take(self, child: Child, process: Process | OSError) -> None:
        """Have the process of a child that was spawned; what it was told before it was there, it is told now."""
        if isinstance(process, OSError):  # no process, no descriptor, no memory: as an exit before READY
            self._log.error("child.exited", child=child.place.name, error=str(process))
            self.feed(child, Event.EXITED)
            return
        child.process = process
        loop = asyncio.get_running_loop()
        loop.add_reader(process.notice_fd, self._hear, child, process)
        loop.add_reader(process.pidfd, self._reap, child, process)
        self._log.info(
            "child.started",
            child=child.place.name,
            instance=process.instance,
            pid=process.pid,
            start=child.life.starts,
        )
        if effect := _MISSED.get(child.life.state):
            self._do(child, Effect.KILL if self._hurried else effect)

    def _hear(self, child: Child, process: Process) -> None:
        said, more = process.read_notices()
        if not more:
            asyncio.get_running_loop().remove_reader(process.notice_fd)
        for ready in said:
            if child.process is process:
                self.feed(child, Event.READIED if ready else Event.BEAT)

    def _reap(self, child: Child, process: Process) -> None:
        code = process.reap()
        if code is None:
            return
        self._hear(child, process)  # what it said last came before its end
        loop = asyncio.get_running_loop()
        loop.remove_reader(process.pidfd)
        loop.remove_reader(process.notice_fd)
        process.close()
        child.process = None
        told = child.life.state in LEAVING
        say = self._log.info if told or code == 0 else self._log.error
        say(
            "child.exited",
            child=child.place.name,
            instance=process.instance,
            pid=process.pid,
            **_spell_exit(code),
            state=child.life.state,
        )
        if self.reaped:
            # Whoever was told to leave and had to be killed is slow, which is nobody's blame.
            self.reaped.gone((process.instance,), crashed=code != 0 and not told)
        self.feed(child, Event.MISCONFIGURED if code == EX_CONFIG else Event.EXITED)
        self.reap_strays()

    def reap_strays(self) -> None:
        """Reap whom nobody waits for; a handler of SIGCHLD."""
        ours = {child.process.pid for child in self.children.values() if child.process}
        if self.nursery.pid:
            ours.add(self.nursery.pid)
        reap_strays(ours)

    def _tell(self, child: Child, before: Life, event: Event) -> None:
        """Log what a person wants to know of a step."""
        after, name = child.life, child.place.name
        if after.state is before.state:
            return
        match after.state:
            case State.READY:
                took = int((time.monotonic() - after.started_at) * 1000)
                self._log.info("child.ready", child=name, duration_ms=took)
            case State.STUCK:
                why = {Event.LOST: "the bus does not hear it"}.get(event, "no beat, or not ready in time")
                self._log.error("child.stuck", child=name, reason=why)
            case State.BACKOFF if after.failures:
                delay = round(after.deadline - time.monotonic(), 1)
                self._log.warning("child.delayed", child=name, delay_s=delay, failures=after.failures)
            case State.FAILED:
                self._log.error("child.failed", child=name, reason="its configuration is bad (exit 78)")

    # The rest -----------------------------------------------------------------------------------------------------------

    def _want(self, places: Iterable[Place]) -> None:
        for place in places:
            child = self.children.setdefault(place.name, Child(place))
            if child.life.state in (State.STOPPED, State.DRAINING):
                self.feed(child, Event.START)
        self._wake()

    def _is_wanted(self, place: Place) -> bool:
        return any(each.name == place.name for each in plan.places(self.settings, self.scaled))

    def _with_role(self, role: plan.Role) -> list[Child]:
        return [child for child in self.children.values() if child.place.role == role]

    def _state(self, name: str) -> State:
        return self.children[name].life.state

    def _excuse_all(self, late_s: float) -> None:
        for child in self.children.values():
            child.life = excuse(child.life, late_s)

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def _settle(self, children: list[Child], timeout_s: float) -> None:
        """Wait until each of them is ready, gone for good, or failed, which no waiting mends."""
        async with asyncio.timeout(timeout_s):
            while not self._stopping and any(child.life.state not in SETTLED for child in children):
                await self._changed.wait()
        if self._stopping:
            raise Stopping


def _all_in(children: list[Child], state: State) -> bool:
    return all(child.life.state is state for child in children)


def _spell_exit(code: int) -> dict[str, int | str]:
    if code >= 0:
        return {"code": code}
    with contextlib.suppress(ValueError):
        return {"signal": signal.Signals(-code).name}
    return {"signal": str(-code)}
