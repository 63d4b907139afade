"""What the parts of the broker share: the state of the queues, who is connected, the journal's thread, the log.

The helpers here are the ways in which an item changes for a reason of the bus's own; what clients ask for is in requests.py.
"""

import random
from collections.abc import Collection, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from bus.committer import Committer
from bus.dispatch import Dispatch
from bus.flow import FlowGauge, Marks
from bus.fresh import Fresh
from bus.journal.api import Row, Shunt, Work
from bus.messages import MAX_HOP, FlowChanged, Item
from bus.order import Entry
from bus.peers import Peers
from bus.post import Post
from bus.writer import Log
from config.clock import Clock
from config.names import BUILT_IN_QUEUES, OUTGOING, ItemId, Queue
from config.settings import Settings


class Hub:
    """One life of the bus."""

    def __init__(
        self, settings: Settings, epoch: str, committer: Committer, sockets: dict[bytes, Any], log: Log
    ) -> None:
        self.settings = settings
        self.epoch = epoch
        self.committer = committer
        self.log = log
        self.clock = make_clock(settings)
        self.peers = Peers()
        self.post = Post(self.peers, sockets)
        self.dispatch = Dispatch(settings.bus.crashes_before_shunt, random.random)
        self.flow = FlowGauge(make_marks(settings))
        self._closed: tuple[str, str, tuple[Queue, ...]] = ("ok", "", ())  # what the log was told last
        self.fresh = Fresh()

    def add(self, rows: Iterable[Row], items: Iterable[Item], works: Mapping[ItemId, Work]) -> None:
        """Take in items that are durable now; those that have been going round in a circle are set aside.

        `works` has what their first lease needs, for those of which all is at hand.
        """
        circling = {item.id: item.hop for item in items if item.hop > MAX_HOP}
        now_ms = self.clock.time_ms()
        for row in rows:
            entry = self.dispatch.add(row, now_ms, is_new=True)
            if row.id in works:
                self.fresh.put(row.row, works[row.id])
            if row.id in circling:
                self.dispatch.withdraw(entry)
                detail = f"{circling[row.id]} handlers in a row made it"
                self.shunt(entry, Shunt(row=row.row, reason="hop-limit", detail=detail))

    def shunt(self, entry: Entry, operation: Shunt) -> None:
        """Set aside an item that is held still."""
        self.committer.submit(operation, partial(self._shunted, entry, operation))

    def _shunted(self, entry: Entry, operation: Shunt, _: None) -> None:
        self.dispatch.shunt(entry)
        self.say_shunted(entry.row, operation)

    def say_shunted(self, row: Row, operation: Shunt) -> None:
        """Log that an item was set aside."""
        self.log.warning(
            "item.shunted",
            item_id=row.id,
            queue=row.queue,
            list_id=row.list_id,
            reason=operation.reason,
            attempt=row.attempts,
            crashes=row.crashes,
        )

    def tell_flow(self) -> None:
        """Tell front-ends and the log what may come in from now on."""
        flow = self.flow.flow
        closed = (flow.state, flow.reason, flow.full)
        if closed != self._closed:
            self._closed = closed
            self.log.warning("flow.changed", state=flow.state, reason=flow.reason, full=list(flow.full))
        else:
            self.log.debug("flow.changed", delay_ms=flow.delay_ms, fronts=flow.fronts)
        self.post.tell(self.peers.of_role("front"), FlowChanged(flow))

    def queues(self) -> list[Queue]:
        """Return every queue that is to be listed: the built-in, the configured, and any that has had an item."""
        names = (*BUILT_IN_QUEUES, *map(Queue, self.settings.runners), *self.dispatch.queues)
        return list(dict.fromkeys(names))


def make_marks(settings: Settings) -> Marks:
    """Read the flow marks; a queue of the site's own is addressed when its table names addresses."""
    own = {Queue(name) for name, runner in settings.runners.items() if runner.addresses}
    built_in: Collection[Queue] = set(BUILT_IN_QUEUES) - {OUTGOING}
    return Marks(
        max_items=settings.bus.max_items,
        max_bytes=settings.bus.max_bytes,
        min_free=settings.bus.min_free,
        min_memory=settings.bus.min_memory,
        addressed=frozenset(own.union(built_in)),
    )


def make_clock(settings: Settings) -> Clock:
    """Make a clock of this site; each thread has its own."""
    return Clock(Path(settings.site.clock_file) if settings.site.clock_file else None)
