"""What is due in the list store becomes items: a warning, the end of a vacation, a request that nobody answered.

Nothing is kept but in the store, so a step survives every restart and follows a clock that was set. An item's id comes from what it is about and when
that was due, so several processes that look at once, and one that looks again, publish one item. Whether the step is still to be taken is decided
by the handler inside its transaction; the store goes on listing it until then.

The handler takes the time at which its item was made for past (time_of): each process reads its clock for itself, and a clock may be put back. A handler
whose clock was behind would find nothing to do, and that would be stored as the outcome of this step for good.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from msgspec import Raw, msgpack

from bus.client import PublishRefused, publish_now
from bus.messages import Item
from config.clock import Clock
from config.failpoints import fail
from config.names import ItemId, Queue, id_about
from lists.records import Due, DueKind
from runners.outcome import Ack
from runners.site import Site

LOOK_S: Final = 2.0  # seconds between two looks; a look that finds nothing costs half a millisecond
MAX_KNOWN: Final = 10_000  # ids remembered, so that what waits for its handler is not published at every look
NOTHING: Final = b""  # the content of such an item


class Timekeeper:
    """Looks for what is due in some kinds, for one queue."""

    def __init__(self, site: Site, queue: Queue, kinds: Sequence[DueKind]) -> None:
        self._site = site
        self._queue = queue
        self._kinds = kinds
        self._known: OrderedDict[ItemId, None] = OrderedDict()

    async def look(self) -> int:
        """Publish what is due and was not published by us; returns how many. Raises StoreAway, Away, BusError."""
        count = 0
        for kind in self._kinds:
            for due in await self._site.store.due(kind, self._site.clock.now()):
                item = self._make_item(due)
                if item.id in self._known:
                    continue
                fail("timer.publish.before")
                try:
                    await asyncio.to_thread(publish_now, self._site.settings, (item,), NOTHING, released=True)
                except (
                    PublishRefused
                ) as error:  # a full queue, perhaps of this item's alone: the others are due too
                    self._site.log.warning("timer.delayed", error=str(error))
                    continue
                fail("timer.publish.after")
                self._known[item.id] = None
                count += 1
        while len(self._known) > MAX_KNOWN:
            self._known.popitem(last=False)
        if count:
            self._site.log.info("timer.published", queue=self._queue, count=count)
        return count

    def _make_item(self, due: Due) -> Item:
        at_ms = int(due.at.timestamp() * 1000)
        item_id = id_about(f"due:{due.kind}:{due.key}:{at_ms}:{due.set_at_ms}")
        return Item(
            id=item_id,
            root_id=item_id,
            queue=self._queue,
            list_id=due.list_id,
            recipient=due.address,
            reverse_path="",
            accepted_at=self._site.clock.now(),
            args={"due": packed(due.kind), "key": packed(due.key)},
        )


def time_of(item: Item, clock: Clock) -> datetime:
    """Return the time at which an item is handled: never before it was made."""
    return max(clock.now(), item.accepted_at)


def drop_due(site: Site, item: Item) -> Ack:
    """End a step whose list was removed meanwhile: nobody is left whom it could be about."""
    site.log.info("timer.dropped", recipient=item.recipient, why="the list was removed")
    return Ack(reason="dropped: the list was removed")


def packed(value: Any) -> Raw:
    """Encode one of an item's args."""
    return Raw(msgpack.encode(value))
