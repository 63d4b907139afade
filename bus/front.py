"""The front-end's side of the bus: publish, and know when it is durable.

An item published is sent again under the same id every 3 s, and at once to a bus that has just started, for at most 30 s
(DESIGN, "Decided on top of bus.md"); the bus stores it once. After that nobody knows whether it is stored, and the MTA is told to come again.
"""

import asyncio
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

from msgspec import Struct

from bus import messages
from bus.connection import Away, Connection
from bus.messages import (
    Bye,
    Confirmed,
    Flow,
    FlowChanged,
    FromBus,
    Hello,
    Item,
    Publish,
    Refused,
    Replied,
    Welcome,
)
from config import logs
from config.clock import Clock
from config.failpoints import fail
from config.names import Instance, ItemId
from config.settings import Settings

AGAIN_S = 3.0  # between two sendings of one publish
GIVE_UP_S = 30.0
FRONT_BEAT_S = 1.0  # so that `connected` can be said of the last 3 s
CONNECTED_S = 3.0
REPLIED_BATCH = 200  # ids noted as replied are sent when there are so many, or at the next tick
REPLIED_KEPT = 10_000  # while the bus is away; what is lost costs one suppressed re-sending within 24 h


class PublishRefused(Exception):
    """The bus stored nothing of this; `kind` is full, busy, size or bad, as in messages.Refused."""

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(f"{kind}: {reason}")
        self.kind = kind
        self.reason = reason


# The ids under which the items are stored; PublishRefused: nothing is; Away: nobody knows.
Outcome = tuple[ItemId, ...] | PublishRefused | Away
# Told the outcome; what it returns is called when all who are told in this step have been told, and what they logged is written.
Then = Callable[[], None]
Done = Callable[[Outcome], Then | None]


class _Pending(Struct):
    """One publish that is not confirmed."""

    frames: tuple[bytes, ...]
    done: Done
    started: float
    sent: float


class Front:
    """Publishes mail; used as `async with Front(...) as front`, on one event loop."""

    def __init__(self, settings: Settings, name: str, instance: Instance, clock: Clock) -> None:
        self.flow = Flow()
        self.clock = clock
        self._name = name
        self._instance = instance
        path = Path(settings.site.run) / "pub.sock"
        self._connection = Connection(path, self._hello, self._take, self._tick, FRONT_BEAT_S)
        self._pending: dict[ItemId, _Pending] = {}
        self._replied: list[ItemId] = []
        self._replied_keys: set[bytes] = set()  # content keys of these, as far as they have one

    async def __aenter__(self) -> Self:
        self._connection.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._send_replied()
        self._connection.send(Bye())
        self._connection.close()
        for first in list(self._pending):
            self._finish(first, Away("this process ends"))

    @property
    def connected(self) -> bool:
        """Whether the bus was heard of within 3 s."""
        return time.monotonic() - self._connection.heard <= CONNECTED_S

    def publish(
        self, items: Sequence[Item], content: bytes, content_keys: Sequence[bytes] = ()
    ) -> asyncio.Future[tuple[ItemId, ...]]:
        """Store items that share one content: all of them, durably, when the future is done.

        Its result is the id under which each is stored, the first copy's where the same mail was there already. It
        raises PublishRefused when nothing is stored, and Away when nobody knows.
        """
        future: asyncio.Future[tuple[ItemId, ...]] = asyncio.get_running_loop().create_future()
        self.submit(items, content, content_keys, partial(_settle, future))
        future.add_done_callback(partial(self._forget_cancelled, items[0].id))
        return future

    def submit(
        self, items: Sequence[Item], content: bytes, content_keys: Sequence[bytes], done: Done
    ) -> None:
        """Do what publish does, and call `done` when it is known what became of it.

        What the bus says in one message is told in one step of the loop: first everybody's `done`, then one append with all that these
        logged, then what they returned. A future and its callback cost as much as the rest.
        """
        first = items[0].id
        known = self._pending.get(first)
        if known is not None:
            known.done = partial(_tell_both, known.done, done)
            return
        message = Publish(items=tuple(items), content_keys=tuple(content_keys))
        if not self._replied_keys.isdisjoint(content_keys):
            self._send_replied()  # wanted again: the bus must not take it for a re-sending
        now = time.monotonic()
        pending = _Pending((messages.encode(message), content), done, now, float("-inf"))
        self._pending[first] = pending
        try:
            self._send(pending, now)
        except BaseException:
            del self._pending[first]  # whoever asked learns it now, and must not be told once more
            raise

    def note_replied(self, ids: Iterable[ItemId], content_keys: Iterable[bytes] = ()) -> None:
        """Note that the client has read our 250 for these: the same mail again is wanted again.

        Lazy, in batches, but before a later publish of this process with one of the same keys.
        """
        self._replied.extend(ids)
        self._replied_keys.update(content_keys)
        if len(self._replied) >= REPLIED_BATCH:
            self._send_replied()

    def _hello(self) -> Hello:
        return Hello(role="front", name=self._name, instance=self._instance, pid=os.getpid())

    def _take(self, message: FromBus, _: Sequence[bytes]) -> None:
        match message:
            case Confirmed():
                asyncio.get_running_loop().call_soon(self._confirm, iter(message.results.items()))
            case Refused():
                self._finish(message.id, PublishRefused(message.kind, message.reason))
            case FlowChanged():
                self.flow = message.flow
            case Welcome():
                self.flow = message.flow
                self._send_replied()  # before what is wanted again
                now = time.monotonic()
                for pending in self._pending.values():
                    self._send(pending, now)
            case _:
                pass

    def _confirm(self, results: Iterator[tuple[ItemId, tuple[ItemId, ...]]]) -> None:
        """Tell everybody; whoever raises keeps nobody else from being told."""
        told: list[Then] = []
        try:
            with logs.together():
                for first, ids in results:
                    then = self._settle(first, ids)
                    if then is not None:
                        told.append(then)
        except BaseException:
            asyncio.get_running_loop().call_soon(self._confirm, results)
            raise
        finally:
            self._go_on(iter(told))

    def _go_on(self, told: Iterator[Then]) -> None:
        try:
            for then in told:
                then()
        except BaseException:
            asyncio.get_running_loop().call_soon(self._go_on, told)
            raise

    def _settle(self, first: ItemId, outcome: Outcome) -> Then | None:
        pending = self._pending.pop(first, None)
        return None if pending is None else pending.done(outcome)

    def _finish(self, first: ItemId, outcome: Outcome) -> None:
        then = self._settle(first, outcome)
        if then is not None:
            then()

    def _forget_cancelled(self, first: ItemId, future: asyncio.Future[tuple[ItemId, ...]]) -> None:
        if future.cancelled():
            self._pending.pop(first, None)

    def _send(self, pending: _Pending, now: float) -> None:
        if self._connection.is_welcome:
            fail("front.publish.before")
            self._connection.send_frames(pending.frames)
            fail("front.publish.after")
            pending.sent = now

    def _send_replied(self) -> None:
        if not self._replied:
            return
        if self._connection.is_welcome and self._connection.send(Replied(tuple(self._replied))):
            self._replied.clear()
            self._replied_keys.clear()
        del self._replied[:-REPLIED_KEPT]

    def _tick(self, now: float) -> None:
        self._send_replied()
        for first, pending in list(self._pending.items()):
            if now - pending.started >= GIVE_UP_S:
                self._finish(first, Away(f"no answer within {GIVE_UP_S:.0f} s"))
            elif now - pending.sent >= AGAIN_S:
                self._send(pending, now)


def _settle(future: asyncio.Future[tuple[ItemId, ...]], outcome: Outcome) -> None:
    if future.done():
        return
    if isinstance(outcome, Exception):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)


def _tell_both(first: Done, second: Done, outcome: Outcome) -> None:
    for done in (first, second):
        then = done(outcome)
        if then is not None:
            then()
