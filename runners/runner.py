"""The class that every runner is, and the site that it works for."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Protocol

from bus.messages import Item, Note
from config.names import Queue
from runners.outcome import Ack, Outcome

if TYPE_CHECKING:
    from runners.site import Site


class Lent(Protocol):
    """What `work` may use of a lease; settling it belongs to the loop."""

    item: Item
    content: bytes
    attempt: int
    notes: tuple[Note, ...]
    is_first: bool  # nobody has worked on it before: it cannot have had an effect
    lost: bool

    async def progress(self, note: Note) -> bool:
        """Write a note down durably; False: the item is not ours any more."""


class Runner:
    """One queue's work. A subclass writes `handle`; leases, beats, deadlines, retries, shutdown and logs belong to loop.py."""

    slots: ClassVar[int] = 1  # items handled at a time by one process; `[runners.QUEUE] slots` wins
    run: ClassVar[int] = (
        1  # consecutive items of one list handled together: before its effect on the store a handler only reads
    )
    stops_anywhere: ClassVar[bool] = (
        True  # may be cancelled at any await when its item is somebody else's now
    )

    tick_s: ClassVar[float] = 0.0  # seconds between two calls of `tick`; 0: none

    def __init__(self, site: Site) -> None:
        self.site = site

    def max_runtime_s(self, queue: Queue) -> float:
        """Return after how many seconds a handler is taken for stuck; the process ends then, and its item is blamed."""
        return self.site.settings.runner(queue).max_runtime_s

    async def open(self) -> None:
        """Get what is needed before the first item: connections, files."""

    async def close(self) -> None:
        """Let go of it; called when the last item is settled."""

    async def tick(self) -> None:
        """Look for what is due, every `tick_s` seconds while the process works. An error is logged, and it is called again."""

    async def handle(self, item: Item, content: bytes) -> Outcome:
        """Do the work of one item. May run twice for the same one, so an effect on the store goes through `site.store.apply_once`."""
        raise NotImplementedError

    async def work(self, lease: Lent) -> Outcome:
        """Do the work of one lease; for runners that look at attempts or write notes, as outgoing does."""
        return await self.handle(lease.item, lease.content)

    def at_once(self, lease: Lent) -> Ack | None:
        """Say what becomes of an item where that needs no waiting and no effect on the store; None: `work` is asked.

        For what comes by the thousand: it saves the item a task, a timer and a turn of the loop. It must only read, from memory, and takes the
        loop's time: what computes for long belongs into `work`. What it raises is logged, and `work` is asked.
        """
        return None
