"""The front-end's side of the bus: publish, and know when it is durable.

An item published is sent again under the same id every 3 s, and at once to a bus that has just started, for at most 30 s
(DESIGN, "Decided on top of bus.md"); the bus stores it once. After that nobody knows whether it is stored, and the MTA is told to come again.
"""

import asyncio
import os
import time
from collections.abc import Iterable, Sequence
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


class _Pending(Struct):
    """One publish that is not confirmed."""

    frames: tuple[bytes, ...]
    done: asyncio.Future[tuple[ItemId, ...]]
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
        for pending in self._pending.values():
            if not pending.done.done():
                pending.done.set_exception(Away("this process ends"))
        self._pending.clear()

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
        first = items[0].id
        known = self._pending.get(first)
        if known is not None and not known.done.cancelled():
            return known.done
        message = Publish(items=tuple(items), content_keys=tuple(content_keys))
        if not self._replied_keys.isdisjoint(content_keys):
            self._send_replied()  # wanted again: the bus must not take it for a re-sending
        now = time.monotonic()
        pending = _Pending(
            frames=(messages.encode(message), content),
            done=asyncio.get_running_loop().create_future(),
            started=now,
            sent=float("-inf"),
        )
        self._pending[first] = pending
        self._send(pending, now)
        return pending.done

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
                for first, ids in message.results.items():
                    self._finish(first, ids)
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

    def _finish(self, first: ItemId, result: tuple[ItemId, ...] | Exception) -> None:
        pending = self._pending.pop(first, None)
        if pending is None or pending.done.done():
            return
        if isinstance(result, Exception):
            pending.done.set_exception(result)
        else:
            pending.done.set_result(result)

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
            if pending.done.cancelled():
                del self._pending[first]
            elif now - pending.started >= GIVE_UP_S:
                self._finish(first, Away(f"no answer within {GIVE_UP_S:.0f} s"))
            elif now - pending.sent >= AGAIN_S:
                self._send(pending, now)
