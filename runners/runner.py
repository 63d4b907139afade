"""The class that every runner is, and the site that it works for."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from bus.messages import Item
from runners.outcome import Outcome

if TYPE_CHECKING:
    from runners.site import Site


class Runner:
    """One queue's work. A subclass writes `handle`; leases, beats, deadlines, retries, shutdown and logs belong to loop.py."""

    slots: ClassVar[int] = 1  # items handled at a time by one process; `[runners.QUEUE] slots` wins

    def __init__(self, site: Site) -> None:
        self.site = site

    async def open(self) -> None:
        """Get what is needed before the first item: connections, files."""

    async def close(self) -> None:
        """Let go of it; called when the last item is settled."""

    async def handle(self, item: Item, content: bytes) -> Outcome:
        """Do the work of one item. May run twice for the same one, so an effect on the store goes through `site.store.apply_once`."""
        raise NotImplementedError
