"""Effects that come at the same time share one transaction of the list store, as the bus's commits do: one commit, many items.

A commit is what an effect costs most: SQLite's fsyncs, while nobody else writes. So whatever came while one commit was on its way is the
next one. There is no timer: an effect that comes alone goes alone, at once. What a decision means is the handler's, that it happens once
is the store's.

Strategy, harm, proof (tests/unit/runners/test_effects.py):
- a decision that raises undoes the transaction that it shares; then each goes alone, and its neighbours never hear of it;
- a store that is away is so for all: nobody is tried again alone, which would be one time-out for each;
- an item that nobody waits for any more before its turn is left out; once begun it is done, and found again by its id.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice

from msgspec import Struct

from config.names import ItemId
from lists.changes import Decision
from lists.errors import StoreAway
from lists.roster import Roster
from lists.store import Store

TOGETHER = 32  # effects of one commit: at 0.6 ms (a bounce) to 2 ms (a letter) each, no other writer waits for more than a tenth of a second

Decide = Callable[[Roster], Decision]


class _Wanted(Struct, frozen=True):
    """Effects that are done in this order or not at all, mostly one, and who waits for them."""

    effects: Sequence[tuple[ItemId, Decide]]
    stored: asyncio.Future[tuple[bytes, ...]]


class Effects:
    """The effects of one process's handlers; `opened` gives the store, in a thread. All methods belong to the loop."""

    def __init__(self, opened: Callable[[], Store]) -> None:
        self._opened = opened
        self._waiting: deque[_Wanted] = deque()
        self._alone: deque[_Wanted] = deque()  # were undone by a neighbour
        self._is_busy = False

    async def apply(self, item_id: ItemId, decide: Decide) -> bytes:
        """Do `Store.apply_once`, together with others if there are; raises what it raises.

        `decide` may be called twice: what it did in a transaction that was undone does not count.
        """
        return (await self.begin([(item_id, decide)]))[0]

    def begin(self, effects: Sequence[tuple[ItemId, Decide]]) -> "asyncio.Future[tuple[bytes, ...]]":
        """Do `Store.apply_once` for several items in one transaction, in this order: all or none, perhaps together with others."""
        wanted = _Wanted(effects, asyncio.get_running_loop().create_future())
        self._waiting.append(wanted)
        if not self._is_busy:
            self._begin()
        return wanted.stored

    def _begin(self) -> None:
        """Hand over what waits; its end begins the next."""
        batch = self._next()
        self._is_busy = bool(batch)
        if batch:
            work = asyncio.get_running_loop().run_in_executor(None, self._work, batch)
            work.add_done_callback(lambda done: self._end(batch, done))

    def _next(self) -> list[_Wanted]:
        """Take the next one that has to go alone, else as many as may go together."""
        source, room = (self._alone, 1) if self._alone else (self._waiting, TOGETHER)
        batch: list[_Wanted] = []
        while source and (not batch or len(source[0].effects) <= room):
            wanted = source.popleft()
            if not wanted.stored.done():
                batch.append(wanted)
                room -= len(wanted.effects)
        return batch or (self._next() if self._waiting else [])

    def _work(self, batch: Sequence[_Wanted]) -> tuple[bytes, ...]:
        """Do all in one transaction; in a thread."""
        return self._opened().apply_many(effect for each in batch for effect in each.effects)

    def _end(self, batch: Sequence[_Wanted], done: "asyncio.Future[tuple[bytes, ...]]") -> None:
        """Tell each who waits, or let them go one by one; back in the loop."""
        if not done.cancelled() and (failure := done.exception()) is not None:
            if len(batch) > 1 and not isinstance(failure, StoreAway):
                self._alone.extend(batch)
            else:
                for wanted in batch:
                    if not wanted.stored.done():
                        wanted.stored.set_exception(failure)
        elif not done.cancelled():
            outcomes = iter(done.result())
            for wanted in batch:
                its = tuple(islice(outcomes, len(wanted.effects)))
                if not wanted.stored.done():
                    wanted.stored.set_result(its)
        self._begin()
