"""Lease, handle, settle: the loop that all runners share.

Takes leases from the bus as fast as slots are free, runs each handler in a task of its own, turns what it says (or raises) into a
settlement, and writes one line about it. Trusts the bus to lend an item to one process at a time, and no handler: it may raise, hang,
kill its process or give nonsense. Leaves to others what work is (the runner), what an ack holds (placing.py), who starts us again (master).

Strategy, harm, proof (tests/processes/test_runner_own.py, test_runner_outgoing.py):
- an exception is a counted Retry, and the bus shunts after five: a poisoned item cannot stop its neighbours or be lost;
- StoreAway and ConnectionError count no attempt: an hour without the store does not shunt the mail of that hour;
- a handler over its time ends the process (status 75): nothing else stops a thread, and the bus then blames this item alone;
- at SIGTERM what is in hand has `stop_grace_s`; the rest is given back without blame: a restart shunts nothing.
"""

import asyncio
import os
import time
import traceback
from typing import assert_never

import structlog
from msgspec import Struct

from bus.client import Lease, Worker
from bus.messages import Item
from config.failpoints import fail
from config.logs import speak_about
from config.names import BUILT_IN_QUEUES, Queue
from lists.errors import StoreAway
from runners.outcome import Ack, Outcome, Retry, Shunt
from runners.placing import BadOutput, HopLimit, Placement, lists_without_reverse_path, place
from runners.runner import Runner
from runners.site import Site

EX_TEMPFAIL = 75  # sysexits.h: master starts another at once, the bus blames what was in hand
LOST_CHECK_S = 1.0  # how soon a handler whose item is somebody else's now is told
MAX_DETAIL = 8000  # characters of a shunt's detail; the bus allows 8 KiB
MAX_REASON = 500  # characters of an error in a reason

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()


class Loop:
    """One runner process at work."""

    def __init__(self, worker: Worker, runner: Runner, site: Site, queue: Queue) -> None:
        self._worker = worker
        self._runner = runner
        self._site = site
        self._queue = queue
        self._queues = frozenset((*BUILT_IN_QUEUES, *site.settings.runners))
        self._in_hand: dict[asyncio.Task[None], Lease] = {}
        self.is_abandoned = False  # something did not end in its grace: threads may still run

    async def run(self, stopping: asyncio.Event) -> None:
        """Work until `stopping` is set and everything in hand is settled or given back."""
        async with asyncio.TaskGroup() as tasks:
            watch = tasks.create_task(self._watch(), name="watch")
            stop = tasks.create_task(self._stop(stopping), name="stop")
            async for lease in self._worker:
                task = tasks.create_task(self._work(lease), name=f"item {lease.item.id}")
                self._in_hand[task] = lease
                task.add_done_callback(self._in_hand.pop)
            while self._in_hand:
                await asyncio.wait(self._in_hand)
            watch.cancel()
            stop.cancel()

    async def _stop(self, stopping: asyncio.Event) -> None:
        """Take no more when asked to stop; give back what is still in hand when the grace is over."""
        await stopping.wait()
        log.info("process.stopping", in_hand=len(self._in_hand))
        self._worker.stop()
        await asyncio.sleep(self._site.settings.runner(self._queue).stop_grace_s)
        self.is_abandoned = bool(self._in_hand)
        for task in list(self._in_hand):
            task.cancel("stop")

    async def _watch(self) -> None:
        """Stop working on what the bus has given to somebody else."""
        while True:
            await asyncio.sleep(LOST_CHECK_S)
            for task, lease in list(self._in_hand.items()):
                if lease.lost and self._runner.stops_anywhere:
                    task.cancel("lost")

    async def _work(self, lease: Lease) -> None:
        """Handle and settle one item."""
        item = lease.item
        speak_about(
            {
                "item_id": item.id,
                "root_id": item.root_id,
                "list_id": item.list_id,
                "queue": item.queue,
                "attempt": lease.attempt,
            }
        )
        began = time.monotonic()
        wait_ms = self._age_ms(item)
        try:
            told = await self._prepare(lease, await self._handle(lease))
            settled = await _tell(lease, told)
        except asyncio.CancelledError:
            if not lease.lost:
                lease.give_back()
            raise
        self._site.log.info(
            "item.handled",
            outcome=told.name,
            outputs=len(told.placement.outputs),
            reason=told.outcome.reason,
            message_id=item.message_id,
            settled=settled,
            wait_ms=wait_ms,
            duration_ms=round((time.monotonic() - began) * 1000, 1),
            transit_ms=self._age_ms(item),
        )

    async def _handle(self, lease: Lease) -> "Outcome | Failed":
        """Run the handler; whatever it raises or returns becomes a value of ours."""
        limit = self._runner.max_runtime_s(self._queue)
        overrun = asyncio.get_running_loop().call_later(limit, _end_process, lease.item, limit)
        fail("runner.handle.before")
        try:
            outcome: object = await self._runner.work(lease)
        except (StoreAway, ConnectionError) as error:
            log.warning("item.failed", error=_told(error), exc_info=error)
            return Retry(f"away: {_told(error)}", away=True)
        except Exception as error:  # around handle: retry, then shunt (STYLE, Errors)
            log.error("item.failed", error=_told(error), exc_info=error)
            return Failed(f"handler-error: {_told(error)}")
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
            return Told(
                outcome,
                place(lease.item, len(lease.content), outcome, queues=self._queues, bounces=bounces),
            )
        except BadOutput as error:
            return Told(Shunt("bad-output", str(error)))
        except HopLimit as error:
            return Told(Shunt("hop-limit", str(error)))
        except StoreAway as error:
            return Told(Retry(f"away: {_told(error)}", away=True))

    def _age_ms(self, item: Item) -> int:
        """Return how long ago the mail was accepted."""
        return max(0, self._site.clock.time_ms() - int(item.accepted_at.timestamp() * 1000))


class Failed(Struct, frozen=True):
    """The handler raised: a Retry that counts towards five."""

    reason: str


class Told(Struct, frozen=True):
    """What the bus is told of an item."""

    outcome: Outcome | Failed
    placement: Placement = Placement()

    @property
    def name(self) -> str:
        """Return the outcome's name for the log."""
        return type(self.outcome).__name__.lower()


async def _tell(lease: Lease, told: Told) -> bool:
    """Settle a lease; True when that is durable, False when the item was not ours any more."""
    match told.outcome:
        case Ack() as ack:
            placement = told.placement
            done = await lease.ack(
                placement.outputs, placement.bodies, held=ack.held, note=ack.note, reason=ack.reason
            )
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
