"""The runner's side of the bus: leases come in, settlements go out, and both survive a restart of the bus.

What is in hand is claimed in every hello. A claim that the bus adopts has a new token, under which a settlement not yet
answered is sent again; one that it does not adopt is somebody else's, so that its settlement has no effect and says False.
A settlement that is not answered is sent again, more and more seldom; the bus obeys it once.
"""

import asyncio
import os
import time
from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec
import structlog
from msgspec import Struct

from bus import messages
from bus.connection import Connection
from bus.messages import (
    SLICE,
    Ack,
    Acks,
    Bye,
    FromBus,
    FromClient,
    Hello,
    Item,
    Job,
    Jobs,
    LeaseToken,
    Note,
    Placed,
    Progress,
    Retry,
    Return,
    SetAside,
    Settled,
    Welcome,
)
from config.failpoints import fail
from config.names import Instance, ItemId, Queue
from config.settings import Settings

AGAIN_S = 5.0  # before a settlement is sent again for the first time
AGAIN_MOST_S = 40.0
TOGETHER = 64 * 1024  # octets of bodies; an ack with more leaves alone, others of one turn as one message
MAX_RETURNED = 1000  # tokens that were returned without a job; far more than slots

DONE = "done"  # the answer to what ends a lease

Build = Callable[[LeaseToken], FromClient]  # a settlement under the token that counts now


class _Settlement(Struct):
    """One settlement or note that is not answered."""

    build: Build
    bodies: Sequence[bytes]
    done: asyncio.Future[bool]
    answer: str = DONE  # what the bus says when it is durable
    sent: float = float("-inf")
    pause_s: float = AGAIN_S


class Lease:
    """One item in hand. Every method that ends it, or notes something, returns whether that is durable: False means that it is not ours."""

    def __init__(
        self, worker: "Worker", job: Job, item: Item, content: bytes, turn: LeaseToken | None = None
    ) -> None:
        self.item = item
        self.content = content
        self.attempt = job.attempt
        self.crashes = job.crashes
        self.notes = job.notes
        self.is_first = job.first  # nobody has worked on it before, so no effect of it can be stored
        self.lost = False  # somebody else has it: stop at the next safe place
        self.token = job.lease
        self.turn = turn or job.lease  # the same for what was leased together, in its order
        self.settlements: deque[_Settlement] = deque()
        self._worker = worker

    @property
    def recipient_count(self) -> int:
        """How many recipients this item is for."""
        part = self.item.part
        return part[1] - part[0] if part else int(bool(self.item.recipient))

    def ack(
        self,
        outputs: Sequence[Placed] = (),
        bodies: Sequence[bytes] = (),
        *,
        held: bool = False,
        note: Note | None = None,
        reason: str = "",
    ) -> asyncio.Future[bool]:
        """Say that it is done, and what follows from it, in one transaction. It is on its way at once: many may be, in their order."""
        fail("runner.ack.before")
        return self._worker.send(
            self,
            lambda token: Ack(lease=token, outputs=tuple(outputs), held=held, note=note, reason=reason),
            bodies,
        )

    async def retry(
        self, reason: str, delay_s: float | None = None, *, counts: bool = True, declared: bool = False
    ) -> bool:
        """Ask for it again later, at most an hour from now; an output with `due_at` waits longer."""
        return await self._worker.settle(
            self,
            lambda token: Retry(
                lease=token, reason=reason, delay_s=delay_s, counts=counts, declared=declared
            ),
        )

    async def shunt(self, reason: str, detail: str = "") -> bool:
        """Set it aside for a person."""
        return await self._worker.settle(
            self, lambda token: SetAside(lease=token, reason=reason, detail=detail)
        )

    async def progress(self, note: Note) -> bool:
        """Write a note down; the lease goes on."""
        return await self._worker.settle(
            self, lambda token: Progress(token, note), answer=messages.noted(note)
        )

    def give_back(self) -> None:
        """Let another have it at once: not begun, or stopped at a safe place."""
        self._worker.give_back(self)


class Worker:
    """One runner process on the bus; used as `async with Worker(...) as worker`, on one event loop."""

    def __init__(
        self,
        settings: Settings,
        name: str,
        instance: Instance,
        queue: Queue,
        slots: int,
        max_runtime_s: float,
        run: int = 1,
    ) -> None:
        self._me = Hello(
            role="runner",
            name=name,
            instance=instance,
            pid=os.getpid(),
            queue=queue,
            slots=slots,
            max_runtime_s=max_runtime_s,
            run=run,
        )
        path = Path(settings.site.run) / "work.sock"
        self._connection = Connection(path, self._hello, self._take, self._tick)
        self._in_hand: dict[LeaseToken, Lease] = {}
        self._arrived: deque[Lease] = deque()
        self._acks: list[tuple[Ack, Sequence[bytes]]] = []  # leave with the next turn of the loop
        self._returned: dict[LeaseToken, None] = {}  # of late; their jobs may still come
        self._news = asyncio.Event()
        self._is_stopping = False

    async def __aenter__(self) -> Self:
        self._connection.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        self._flush()
        self._connection.close()
        for lease in self._in_hand.values():
            self._lose(lease)
        self._in_hand.clear()

    @property
    def connected(self) -> bool:
        """Whether the bus that is there knows us."""
        return self._connection.is_welcome

    def stop(self) -> None:
        """Take no more: the iteration ends, what nobody has begun goes back, what is in hand can still be settled."""
        if self._is_stopping:
            return
        self._is_stopping = True
        self._say(Bye())
        while self._arrived:
            self.give_back(self._arrived[0])
        self._news.set()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Lease:
        while not self._is_stopping:
            if self._arrived:
                return self._arrived.popleft()
            self._news.clear()
            await self._news.wait()
        raise StopAsyncIteration

    def rest_of(self, lease: Lease) -> tuple[Lease, ...]:
        """Take what was leased in one run with this one and is still ours: it is settled after it, in this order."""
        rest = []
        while self._arrived and self._arrived[0].turn == lease.turn:
            rest.append(self._arrived.popleft())
        return tuple(rest)

    # For Lease ---------------------------------------------------------------------------------------------------------

    async def settle(
        self, lease: Lease, build: Build, bodies: Sequence[bytes] = (), *, answer: str = DONE
    ) -> bool:
        """Send a settlement until it is answered; False when the lease is somebody else's."""
        result = await self.send(lease, build, bodies, answer=answer)
        fail("runner.settled.before")
        return result

    def send(
        self, lease: Lease, build: Build, bodies: Sequence[bytes] = (), *, answer: str = DONE
    ) -> asyncio.Future[bool]:
        """Do what `settle` does; the answer is the future's."""
        done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        if lease.lost or self._in_hand.get(lease.token) is not lease:
            done.set_result(False)
            return done
        lease.settlements.append(_Settlement(build=build, bodies=bodies, done=done, answer=answer))
        if len(lease.settlements) == 1:
            self._send(lease, time.monotonic())
        return done

    def give_back(self, lease: Lease) -> None:
        """Return a lease; without a connection it is simply not claimed any more."""
        if self._in_hand.pop(lease.token, None) is None:
            return
        if lease in self._arrived:
            self._arrived.remove(lease)
        if self._connection.is_welcome:
            self._say(Return(lease.token))
        self._lose(lease)

    # What the bus says -------------------------------------------------------------------------------------------------

    def _hello(self) -> Hello:
        claims: tuple[ItemId, ...] = tuple(lease.item.id for lease in self._in_hand.values())
        return msgspec.structs.replace(self._me, claims=claims)

    def _take(self, message: FromBus, bodies: Sequence[bytes]) -> None:
        match message:
            case Job():
                self._receive(message, bodies)
            case Jobs():
                frames = iter(bodies)
                for job in message.jobs:
                    self._receive(
                        job, tuple(islice(frames, 1 if job.item.part is None else 2)), message.jobs[0]
                    )
            case Settled():
                for token, result in message.results:
                    self._settled(token, result)
            case Welcome():
                self._sort(message)
            case _:
                pass

    def _receive(self, job: Job, bodies: Sequence[bytes], first: Job | None = None) -> None:
        """Take one lease; `first` is the one with which its run begins."""
        if job.lease in self._returned:
            return
        if self._is_stopping:
            self._say(Return(job.lease))
            return
        try:
            item = _with_recipients(job.item, bodies)
        except (msgspec.MsgspecError, IndexError) as error:
            detail = f"the recipients cannot be read: {error}"
            self._say(SetAside(lease=job.lease, reason="corrupt-body", detail=detail))
            return
        lease = Lease(self, job, item, bodies[0], first.lease if first else None)
        self._in_hand[job.lease] = lease
        self._arrived.append(lease)
        self._news.set()

    def _settled(self, token: LeaseToken, result: str) -> None:
        lease = self._in_hand.get(token)
        if lease is None or not lease.settlements:
            return
        if result not in (lease.settlements[0].answer, "stale", "refused"):
            return  # the second answer to something that was sent twice
        settlement = lease.settlements.popleft()
        if result != settlement.answer:
            structlog.get_logger().warning(
                "bus.problem", code=result, text="a settlement had no effect", item_id=lease.item.id
            )
        if settlement.answer == DONE or result == "stale":
            del self._in_hand[token]
        if not settlement.done.done():
            settlement.done.set_result(result == settlement.answer)
        if result == "stale":
            self._lose(lease)
        elif lease.settlements:
            self._send(lease, time.monotonic())

    def _sort(self, welcome: Welcome) -> None:
        """Keep what the bus lets us have, give up the rest, send again what was not answered."""
        leases, self._in_hand = list(self._in_hand.values()), {}
        now = time.monotonic()
        for lease in leases:
            token = welcome.adopted.get(lease.item.id)
            if token is None:
                if lease in self._arrived:
                    self._arrived.remove(lease)
                self._lose(lease)
            else:
                lease.token = token
                self._in_hand[token] = lease
                self._send(lease, now)
        for token in welcome.adopted.values():
            if (
                token not in self._in_hand
            ):  # given back while we were not known, so that nobody heard it; or on its way
                self._say(Return(token))
                self._returned[token] = None
                while len(self._returned) > MAX_RETURNED:
                    del self._returned[next(iter(self._returned))]
        if self._is_stopping:
            self._say(Bye())

    def _lose(self, lease: Lease) -> None:
        lease.lost = True
        while lease.settlements:
            settlement = lease.settlements.popleft()
            if not settlement.done.done():
                settlement.done.set_result(False)

    def _send(self, lease: Lease, now: float) -> None:
        """Send the first settlement of a lease that has no answer; one at a time, since their answers look alike."""
        if lease.settlements and self._connection.is_welcome:
            settlement = lease.settlements[0]
            message = settlement.build(lease.token)
            if isinstance(message, Ack) and sum(map(len, settlement.bodies)) <= TOGETHER:
                self._gather(message, settlement.bodies)
            else:
                self._say(message, settlement.bodies)
            settlement.sent = now

    def _gather(self, ack: Ack, bodies: Sequence[bytes]) -> None:
        """Let the acks of one turn of the loop leave as one message: what was lent in one run is often done at once."""
        if not self._acks:
            asyncio.get_running_loop().call_soon(self._flush)
        self._acks.append((ack, bodies))

    def _flush(self) -> None:
        """Send the acks that wait. Those of an earlier connection are forgotten: the Welcome of this one has them sent again."""
        acks, self._acks = self._acks, []
        if not acks or not self._connection.is_welcome:
            return
        if len(acks) == 1:
            self._connection.send(*acks[0])
            return
        message = Acks(tuple((ack, len(bodies)) for ack, bodies in acks))
        self._connection.send(message, [body for _, bodies in acks for body in bodies])

    def _say(self, message: FromClient, bodies: Sequence[bytes] = ()) -> None:
        """Send a message, behind the acks that were said before it."""
        self._flush()
        self._connection.send(message, bodies)

    def _tick(self, now: float) -> None:
        for lease in self._in_hand.values():
            if lease.settlements:
                settlement = lease.settlements[0]
                if now - settlement.sent >= settlement.pause_s:
                    settlement.pause_s = min(AGAIN_MOST_S, settlement.pause_s * 2)
                    self._send(lease, now)


def _with_recipients(item: Item, bodies: Sequence[bytes]) -> Item:
    """Fill a slice's recipients from their frame; a range keeps none, since its runner only cuts it."""
    if item.part is None:
        return item
    first, last = item.part
    if last - first > SLICE:
        return item
    everybody = messages.decode_recipients(bodies[1])
    addresses, memberships = everybody.addresses[first:last], everybody.memberships[first:last]
    if len(addresses) != last - first or (memberships and len(memberships) != len(addresses)):
        raise msgspec.ValidationError("fewer recipients than the part counts")
    return msgspec.structs.replace(item, recipients=addresses, memberships=memberships)
