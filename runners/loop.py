"""Lease, handle, settle: the loop that all runners share.

Takes leases from the bus as fast as slots are free, runs each handler in a task of its own, turns what it says (or raises) into a
settlement, and writes one line about it. Trusts the bus to lend an item to one process at a time, and no handler: it may raise, hang,
kill its process or give nonsense. Leaves to others what work is (the runner), what an ack holds (placing.py), who starts us again (master).

Strategy, harm, proof (tests/processes/test_runner_own.py, test_runner_outgoing.py):
- an exception is a counted Retry, and the bus shunts after five: a poisoned item cannot stop its neighbours or be lost;
- what stands behind it in a run goes back before it is settled: nothing of its list overtakes it;
- StoreAway and ConnectionError count no attempt: an hour without the store does not shunt the mail of that hour;
- a handler over its time ends the process (status 75): nothing else stops a thread, and the bus then blames this item alone;
- at SIGTERM what is in hand has `stop_grace_s`; the rest is given back without blame: a restart shunts nothing.
"""

import asyncio
import os
import time
import traceback
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Final, assert_never

import structlog
from msgspec import Struct

from bus.client import Lease, Worker
from bus.messages import Item
from config.failpoints import fail
from config.logs import speak_about
from config.names import BUILT_IN_QUEUES, ListId, Queue
from lists.errors import StoreAway
from runners.outcome import Ack, Outcome, Retry, Shunt
from runners.placing import BadOutput, HopLimit, Placement, lists_without_reverse_path, place
from runners.runner import Runner
from runners.site import Site

if TYPE_CHECKING:
    from runners.together import Together

EX_TEMPFAIL = 75  # sysexits.h: master starts another at once, the bus blames what was in hand
LOST_CHECK_S = 1.0  # how soon a handler whose item is somebody else's now is told
MAX_DETAIL = 8000  # characters of a shunt's detail; the bus allows 8 KiB
LARGE = (
    256 * 1024
)  # octets of an ack's bodies, 10,000 recipients: of a run only one such is on its way at a time
MAX_REASON = 500  # characters of an error in a reason
NOBODY: Final[Mapping[ListId, str]] = {}  # is asked for: every output says its reverse-path

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()


class Loop:
    """One runner process at work."""

    def __init__(self, worker: Worker, runner: Runner, site: Site, queue: Queue) -> None:
        self._worker = worker
        self._runner = runner
        self._site = site
        self._queue = queue
        self._queues = frozenset((*BUILT_IN_QUEUES, *site.settings.runners))
        self._in_hand: dict[asyncio.Task[None], tuple[Lease, ...]] = {}
        self.is_abandoned = False  # something did not end in its grace: threads may still run

    async def run(self, stopping: asyncio.Event) -> None:
        """Work until `stopping` is set and everything in hand is settled or given back."""
        async with asyncio.TaskGroup() as tasks:
            watch = tasks.create_task(self._watch(), name="watch")
            stop = tasks.create_task(self._stop(stopping), name="stop")
            async for lease in self._worker:
                run = (lease, *self._worker.rest_of(lease))
                task = tasks.create_task(self._work_run(run), name=f"item {lease.item.id}")
                self._in_hand[task] = run
                task.add_done_callback(self._in_hand.pop)
            while self._in_hand:
                await asyncio.wait(self._in_hand)
            watch.cancel()
            stop.cancel()

    async def _stop(self, stopping: asyncio.Event) -> None:
        """Take no more when asked to stop; give back what is still in hand when the grace is over."""
        await stopping.wait()
        log.info("process.stopping", in_hand=sum(map(len, self._in_hand.values())))
        self._worker.stop()
        await asyncio.sleep(self._site.settings.runner(self._queue).stop_grace_s)
        self.is_abandoned = bool(self._in_hand)
        for task in list(self._in_hand):
            task.cancel("stop")

    async def _watch(self) -> None:
        """Stop working on what the bus has given to somebody else."""
        while True:
            await asyncio.sleep(LOST_CHECK_S)
            for task, run in list(self._in_hand.items()):
                if all(lease.lost for lease in run) and self._runner.stops_anywhere:
                    task.cancel("lost")

    async def _work_run(self, run: Sequence[Lease]) -> None:
        """Handle one item, or a run: at once if that can be, else together, else one by one until one has to come again."""
        leases = run
        try:
            run = await self._work_at_once(leases)
            if len(run) > 1 and await self._work_together(run):
                return
            for number, lease in enumerate(run):
                if not lease.lost:
                    await self._work(lease, behind=run[number + 1 :])
        except asyncio.CancelledError:
            for lease in leases:
                if not lease.lost:
                    lease.give_back()
            raise

    async def _work_at_once(self, run: Sequence[Lease]) -> Sequence[Lease]:
        """Handle and settle, from a run's beginning on, what need not wait for anything; returns the rest."""
        sent: list[tuple[Begun, Told, asyncio.Future[bool]]] = []
        for number, lease in enumerate(run):
            begun = self._begin(lease)
            said = self._tell_at_once(lease)
            if said is None:
                await self._hear(sent)
                return run[number:]
            told, done = said
            sent.append((begun, told, done))
            if told.is_large:
                await self._hear(sent)
        await self._hear(sent)
        return ()

    async def _hear(self, sent: "list[tuple[Begun, Told, asyncio.Future[bool]]]") -> None:
        """Wait for the answers to what was sent, in their order, and let go of it."""
        while sent:
            begun, told, done = sent.pop(0)
            settled = await _acked(done)
            speak_about(begun.facts)
            self._say_handled(begun, told, settled=settled)

    def _tell_at_once(self, lease: Lease) -> "tuple[Told, asyncio.Future[bool]] | None":
        """Settle what the runner can say at once, the answer is the future's; None: nothing, or nothing that can be sent at once."""
        try:
            outcome: object = self._runner.at_once(lease)
        except Exception as error:  # around handle (STYLE, Errors): told, and `work` is asked
            log.error("item.failed", error=_told(error), exc_info=error)
            return None
        if not isinstance(outcome, Ack) or lists_without_reverse_path(lease.item, outcome):
            return None
        try:
            told = Told(outcome, self._place(lease, outcome))
        except (BadOutput, HopLimit):  # `work` is asked, and what it says is set aside
            return None
        fail("runner.handle.before")  # it has only read
        fail("runner.handle.after")
        return told, _send_ack(lease, outcome, told.placement)

    async def _work_together(self, run: Sequence[Lease]) -> bool:
        """Handle and settle all of a run with one commit; False: nothing was done."""
        with self._site.store.together([lease.item.id for lease in run]) as together:
            async with asyncio.TaskGroup() as tasks:
                for lease in run:
                    tasks.create_task(self._work(lease, together), name=f"item {lease.item.id}")
        return together.is_done

    async def _work(
        self, lease: Lease, together: "Together | None" = None, behind: Sequence[Lease] = ()
    ) -> None:
        """Handle and settle one item; `behind` waits for it, and goes back if it has to come again."""
        begun = self._begin(lease)
        outcome = await self._handle(lease, together)
        if together is not None and not await together.stands(lease.item.id, is_ack=isinstance(outcome, Ack)):
            return
        async with together.turn if together is not None else nullcontext():
            told = await self._prepare(lease, outcome)
            if isinstance(told.outcome, Retry | Failed):
                for other in behind:  # first, so that the list waits for this one alone
                    other.give_back()
            settled = await _tell(lease, told) if told.is_large else False
        if not told.is_large:  # sent before anybody else has the turn, awaited beside the others
            settled = await _tell(lease, told)
        self._say_handled(begun, told, settled=settled)

    def _begin(self, lease: Lease) -> "Begun":
        """Have all lines that follow say what they are about; returns what the last one says."""
        item = lease.item
        facts = {
            "item_id": item.id,
            "root_id": item.root_id,
            "list_id": item.list_id,
            "queue": item.queue,
            "attempt": lease.attempt,
        }
        speak_about(facts)
        accepted_ms = int(item.accepted_at.timestamp() * 1000)
        return Begun(
            facts,
            item.message_id,
            time.monotonic(),
            accepted_ms,
            max(0, self._site.clock.time_ms() - accepted_ms),
        )

    def _say_handled(self, begun: "Begun", told: "Told", *, settled: bool) -> None:
        self._site.log.info(
            "item.handled",
            outcome=told.name,
            outputs=len(told.placement.outputs),
            reason=told.outcome.reason,
            message_id=begun.message_id,
            settled=settled,
            wait_ms=begun.wait_ms,
            duration_ms=round((time.monotonic() - begun.at_s) * 1000, 1),
            transit_ms=max(0, self._site.clock.time_ms() - begun.accepted_ms),
        )

    async def _handle(self, lease: Lease, together: "Together | None") -> "Outcome | Failed":
        """Run the handler; whatever it raises or returns becomes a value of ours. What fails together is told of when it fails alone."""
        limit = self._runner.max_runtime_s(self._queue)
        overrun = asyncio.get_running_loop().call_later(limit, _end_process, lease.item, limit)
        fail("runner.handle.before")
        try:
            outcome: object = await self._runner.work(lease)
        except Exception as error:  # around handle: retry, then shunt (STYLE, Errors)
            return UNDONE if together is not None and not together.is_done else _failed(error)
        finally:
            overrun.cancel()
        fail("runner.handle.after")
        if isinstance(outcome, Ack | Retry | Shunt):
            return outcome
        return Shunt("bad-output", f"handle returned {type(outcome).__name__}, not Ack, Retry or Shunt")

    async def _prepare(self, lease: Lease, outcome: "Outcome | Failed") -> "Told":
        """Make the items of an ack; what cannot be made is set aside for a person."""
        if not isinstance(outcome, Ack) or not outcome.outputs:
            return Told(outcome)
        try:
            bounces = {
                list_id: await self._site.lists.bounces_address(list_id)
                for list_id in lists_without_reverse_path(lease.item, outcome)
            }
            return Told(outcome, self._place(lease, outcome, bounces))
        except BadOutput as error:
            return Told(Shunt("bad-output", str(error)))
        except HopLimit as error:
            return Told(Shunt("hop-limit", str(error)))
        except StoreAway as error:
            return Told(Retry(f"away: {_told(error)}", away=True))

    def _place(self, lease: Lease, ack: Ack, bounces: Mapping[ListId, str] = NOBODY) -> Placement:
        return place(lease.item, len(lease.content), ack, queues=self._queues, bounces=bounces)


class Begun(Struct, frozen=True):
    """What is known of an item when its handling begins."""

    facts: Mapping[str, object]  # that every line about it says
    message_id: str
    at_s: float  # monotonic
    accepted_ms: int  # since 1970
    wait_ms: int  # since it was accepted


class Failed(Struct, frozen=True):
    """The handler raised: a Retry that counts towards five."""

    reason: str


UNDONE: Final = Failed("undone")  # with the run that it was in; to be handled alone


class Told(Struct, frozen=True):
    """What the bus is told of an item."""

    outcome: Outcome | Failed
    placement: Placement = Placement()

    @property
    def name(self) -> str:
        """Return the outcome's name for the log."""
        return type(self.outcome).__name__.lower()

    @property
    def is_large(self) -> bool:
        """Whether few such acks may be in memory at a time."""
        return sum(map(len, self.placement.bodies)) > LARGE


def _failed(error: Exception) -> Retry | Failed:
    """Log what a handler raised, and say what becomes of its item."""
    if isinstance(error, StoreAway | ConnectionError):
        log.warning("item.failed", error=_told(error), exc_info=error)
        return Retry(f"away: {_told(error)}", away=True)
    log.error("item.failed", error=_told(error), exc_info=error)
    return Failed(f"handler-error: {_told(error)}")


def _send_ack(lease: Lease, ack: Ack, placement: Placement) -> asyncio.Future[bool]:
    """Settle a lease as done, without waiting for the answer."""
    return lease.ack(placement.outputs, placement.bodies, held=ack.held, note=ack.note, reason=ack.reason)


async def _acked(done: asyncio.Future[bool]) -> bool:
    """Wait for the answer to an ack."""
    settled = await done
    fail("runner.settled.before")
    fail("runner.ack.after")
    return settled


async def _tell(lease: Lease, told: Told) -> bool:
    """Settle a lease; True when that is durable, False when the item was not ours any more."""
    match told.outcome:
        case Ack() as ack:
            done = await _acked(_send_ack(lease, ack, told.placement))
        case Retry() as retry:
            done = await lease.retry(retry.reason, retry.delay_s, counts=not retry.away, declared=True)
        case Shunt() as shunt:
            done = await lease.shunt(shunt.reason, shunt.detail[:MAX_DETAIL])
        case Failed() as failed:
            done = await lease.retry(failed.reason)
        case _:
            assert_never(told.outcome)
    return done


def _end_process(item: Item, limit_s: float) -> None:
    """End this process, since its handler does not end; the bus will blame the item."""
    log.error("item.failed", error=f"not done after {limit_s:g} s, ending this process", **_names(item))
    os._exit(EX_TEMPFAIL)


def _names(item: Item) -> dict[str, str]:
    return {"item_id": item.id, "root_id": item.root_id, "list_id": item.list_id, "queue": item.queue}


def _told(error: BaseException) -> str:
    """Describe an error for a person in one line, with the place where it was raised."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({os.path.basename(frames[-1].filename)}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:MAX_REASON]}{place}"
