"""A run of items of one list, handled together: their effects on the list store are one transaction, in their order, or none is done.

Each handler of a run says what it wants to store (`apply`) or that it has come to its end (`stands`), and waits for the others. When all have spoken,
and each is an Ack so far, the transaction is made, and each goes on with its own outcome. If any of them raises, or says Retry or Shunt, nothing is stored
for any: each hears Undone, and the loop handles them one by one, as if they had never been together.

| strategy | what it prevents | proof |
| --- | --- | --- |
| all or none | one overtakes another of its list that has to come again | test_together.py |
| each outcome is stored under its own item, in the same transaction | an effect done twice after a crash | test_together.py, tests/processes/test_runner_runs.py |
| who settles has the turn, and keeps it while its ack is a large one | overtaking; sixteen lists of recipients in memory at once | test_runner_incoming.py |
| nobody settles before all stand | an item is done, and the one before it is not | test_together.py |

What happens in a handler before `apply` happens for all of a run at about the same time: it must only read, and wait for none of the others.
"""

import asyncio
from collections.abc import Sequence

from config.names import ItemId
from lists.changes import Decision
from lists.roster import Roster
from runners.effects import Decide, Effects


class Undone(Exception):
    """Nothing of this run was stored; each of it is to be handled alone."""


class Together:
    """The effects of one run; all methods belong to the loop."""

    def __init__(self, effects: Effects, item_ids: Sequence[ItemId]) -> None:
        self._effects = effects
        self._waiting: dict[ItemId, asyncio.Future[bytes]] = {}
        self._decides: dict[ItemId, Decide] = {}
        self._item_ids = tuple(item_ids)
        self._silent = set(item_ids)  # have not spoken
        self._transaction: asyncio.Future[tuple[bytes, ...]] | None = None
        self._is_refused = self._is_over = False
        self.is_done = False  # all of them stand
        self.turn = asyncio.Lock()  # who settles next, in their order

    async def apply(self, item_id: ItemId, decide: Decide) -> bytes:
        """Do what `Effects.apply` does, with all of the run; raises Undone."""
        self._decides[item_id] = decide
        return await self._wait(item_id)

    async def stands(self, item_id: ItemId, *, is_ack: bool) -> bool:
        """Say that a handler has come to its end; False: nothing of the run was done, and this one is not to be settled."""
        if self.is_done:
            return True  # what it says after its effect is durable is its own matter
        self._is_refused |= not is_ack
        try:
            await self._wait(item_id)
        except Undone:
            return False
        return True

    async def _wait(self, item_id: ItemId) -> bytes:
        """Wait until all have spoken; raises Undone."""
        if self._is_over:
            raise Undone
        spoken = self._waiting[item_id] = asyncio.get_running_loop().create_future()
        self._silent.discard(item_id)
        if not self._silent:
            self._go()
        try:
            outcome: bytes = await spoken
        except asyncio.CancelledError:  # with it all of the run
            if self._transaction is not None:
                self._transaction.cancel()
            raise
        return outcome

    def _go(self) -> None:
        """Do what all want, now that all have spoken."""
        wanted = [
            (item_id, _strict(self._decides[item_id]))
            for item_id in self._item_ids
            if item_id in self._decides
        ]
        if self._is_refused:
            self._end(None)
        elif not wanted:  # not now: who spoke last would go on first
            asyncio.get_running_loop().call_soon(self._end, ())
        else:
            self._transaction = self._effects.begin(wanted)
            self._transaction.add_done_callback(self._stored)

    def _stored(self, stored: "asyncio.Future[tuple[bytes, ...]]") -> None:
        """Hear what became of the transaction. Why it was not made, each hears when it is handled alone."""
        failed = stored.cancelled() or stored.exception() is not None
        self._end(None if failed else stored.result())

    def _end(self, outcomes: Sequence[bytes] | None) -> None:
        """Let all go on, in their order; None: nothing was done."""
        self.is_done, self._is_over = outcomes is not None, True
        with_effect = iter(outcomes or ())
        for item_id in self._item_ids:
            spoken = self._waiting[item_id]
            outcome = next(with_effect, b"") if item_id in self._decides else b""
            if spoken.done():  # its task was cancelled
                continue
            if self.is_done:
                spoken.set_result(outcome)
            else:
                spoken.set_exception(Undone())


def _strict(decide: Decide) -> Decide:
    """Make a decision that stores nothing undo all of the transaction."""

    def decide_to_keep(roster: Roster) -> Decision:
        decision = decide(roster)
        if not decision.keep:
            raise Undone
        return decision

    return decide_to_keep
