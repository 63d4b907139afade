"""Dispatch on a journal in memory, driven at random and held against a model that knows only the promises.

The model: every item is in one place; of one list one item is in hand, the first that waits, or a run of the first ones with one runner that
takes runs; nobody has more than its slots; a suspect has its runner to itself; what a process has in hand is nobody else's until it lets go or is gone, also over a
restart of the bus when it had begun; lists take turns; the books balance.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from bus.books import imbalance
from bus.dispatch import GRACE_MS, Dispatch
from bus.journal.api import (
    Blame,
    Counters,
    Defer,
    Drop,
    Row,
    Settle,
    SettledRow,
    Shunt,
    Store,
    Stored,
    Unshunt,
    Write,
)
from bus.journal.memory import MemoryJournal
from bus.leases import Lease
from bus.messages import LeaseToken, Note, Retry
from bus.order import HOLD_MS, Entry
from config.names import Instance, ListId, Queue, new_item_id
from tests.support.bus_process import make_item, make_output

QUEUES = (Queue("incoming"), Queue("outgoing"))
START_MS = 1_800_000_000_000
lists = st.sampled_from(["a", "b", "c", ""])
picks = st.integers(0, 10**6)


class Live:
    """What the model knows of one runner process, which outlives the bus."""

    def __init__(self, instance: Instance, queue: Queue, slots: int, run: int) -> None:
        self.instance = instance
        self.queue = queue
        self.slots = slots
        self.run = run
        self.turns: dict[int, int] = {}  # lease number -> that of the first of its run
        self.in_hand: dict[int, int] = {}  # row -> lease number of this life of the bus; 0 of an earlier one
        self.is_open = True


class DispatchMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.journal = MemoryJournal()
        self.now_ms = self.latest_ms = START_MS
        self.rows: dict[int, Row] = {}  # as the model thinks that they are
        self.fixed: set[int] = set()  # being settled
        self.unlent: set[int] = set()  # became durable in this life of the bus, and nobody has had them
        self.live: dict[Instance, Live] = {}
        self.begun: dict[int, Instance] = {}
        self.pending: list[tuple[Any, Callable[[Any], None]]] = []
        self.passed: dict[tuple[Queue, str], set[str]] = {}
        self.count = 0

    @initialize(slots=st.lists(st.integers(1, 3), min_size=1, max_size=3), names=st.lists(lists, max_size=8))
    def start(self, slots: list[int], names: list[str]) -> None:
        """Most runs begin with work in hand: from nothing, random steps take long to get anywhere."""
        self._start()
        for number in slots:
            self.come(QUEUES[0], number)
        for name in names:
            self.publish(name, 1, QUEUES[0], False)
        while self.pending:
            self.commit(5)
        self.grant()

    def _start(self) -> None:
        self.epoch = self.journal.open()
        self.dispatch = Dispatch(3, lambda: 0.5)
        self.dispatch.recover(self.journal.recover(), self.now_ms)
        self.passed.clear()
        self.unlent.clear()

    # Mail comes in ------------------------------------------------------------------------------------------------------

    @rule(list_id=lists, copies=st.integers(1, 3), queue=st.sampled_from(QUEUES), due=st.booleans())
    def publish(self, list_id: str, copies: int, queue: Queue, due: bool) -> None:
        due_at = datetime.fromtimestamp(self.now_ms / 1000 + 5, UTC) if due else None
        items = tuple(
            make_item(queue, list_id, id=new_item_id(self.now_ms), due_at=due_at) for _ in range(copies)
        )
        self._submit(Store(items=items, content=b"x"), self._stored)

    def _stored(self, result: Stored | SettledRow) -> None:
        for row in result.rows:
            self.rows[row.row] = row
            self.dispatch.add(row, self.now_ms, is_new=True)
            self.unlent.add(row.row)

    def _submit(self, operation: Any, then: Callable[[Any], None]) -> None:
        self.pending.append((operation, then))

    @precondition(lambda self: self.pending)
    @rule(part=st.integers(1, 5))
    def commit(self, part: int) -> None:
        batch, self.pending = self.pending[:part], self.pending[part:]
        results = self.journal.apply([operation for operation, _ in batch], self.now_ms)
        for (_, then), result in zip(batch, results, strict=True):
            then(result)

    # Runners ------------------------------------------------------------------------------------------------------------

    @precondition(lambda self: len(self.live) < 4)
    @rule(queue=st.sampled_from(QUEUES), slots=st.integers(1, 3), run=st.sampled_from([1, 1, 2, 5]))
    def come(self, queue: Queue, slots: int, run: int = 1) -> None:
        self.count += 1
        instance = Instance(f"runner:{self.count}")
        self.live[instance] = Live(instance, queue, slots, run)
        self.dispatch.hello(instance, queue, slots, (), run=run)

    @precondition(lambda self: self.live)
    @rule(pick=picks, loses=st.booleans())
    def say_hello_again(self, pick: int, loses: bool) -> None:
        """A new connection, or a new bus; `loses`: one lease never reached it."""
        live = self._pick(pick)
        claimed = dict(live.in_hand)
        if loses and claimed:
            row = max(claimed)
            del claimed[row], live.in_hand[row]
        for row, owner in list(self.begun.items()):
            if owner == live.instance and row not in claimed:
                del self.begun[row]
        ids = {self.rows[row].id: row for row in claimed if row in self.rows}
        adopted = self.dispatch.hello(live.instance, live.queue, live.slots, list(ids), run=live.run)
        for item_id, row in ids.items():
            if item_id in adopted:
                live.in_hand[row] = adopted[item_id]
                live.turns[adopted[item_id]] = self._lease(live, row).turn
                assert self.rows[row].row not in self._held_elsewhere(live)
            else:
                assert self.begun.get(row) != live.instance, "what it has begun was given to another"
                del live.in_hand[row]
        live.is_open = True

    @precondition(lambda self: self.live)
    @rule(pick=picks)
    def fall_silent(self, pick: int) -> None:
        live = self._pick(pick)
        live.is_open = False
        self.dispatch.hush(live.instance)

    @precondition(lambda self: self.live)
    @rule(pick=picks, crashed=st.booleans(), follows=st.booleans())
    def die(self, pick: int, crashed: bool, follows: bool) -> None:
        """A process ends; `follows`: master starts another at once."""
        self._die(pick, crashed)
        if follows:
            self.come(QUEUES[pick % 2], 1 + pick % 3)
            self.grant()

    def _die(self, pick: int, crashed: bool) -> None:
        live = self._pick(pick)
        del self.live[live.instance]
        held = [row for row, number in live.in_hand.items() if number]
        held += [row for row, owner in self.begun.items() if owner == live.instance and row not in held]
        before = {row: self.rows[row].crashes for row in held if row in self.rows}
        pairs = self.dispatch.gone(live.instance, crashed=crashed)
        accused = {operation.row: operation for _, operation in pairs if isinstance(operation, Blame)}
        assert set(accused) == (set(before) if crashed else set())
        for row, blame in accused.items():
            assert blame.crashes == before[row] + (len(before) == 1)
            assert blame.suspect == (len(before) > 1)
        for entry, operation in pairs:
            if isinstance(operation, Blame):
                self._submit(operation, lambda _: None)
            else:
                assert self.rows[operation.row].crashes >= 3
                self.fixed.add(operation.row)
                self._submit(operation, self._then_shunted(entry))
        for row in held:
            self.begun.pop(row, None)

    def _pick(self, pick: int) -> Live:
        return list(self.live.values())[pick % len(self.live)]

    def _held_elsewhere(self, live: Live) -> set[int]:
        return {
            row
            for other in self.live.values()
            if other is not live
            for row in other.in_hand
            if other.in_hand[row]
        }

    # Leases -------------------------------------------------------------------------------------------------------------

    @rule()
    def grant(self) -> None:
        granted: dict[int, set[int]] = {}  # turn -> rows
        for grant in self.dispatch.grant():
            live, row = self.live[grant.instance], self.rows[grant.row]
            run = granted.setdefault(grant.turn, set())
            self._check_grant(live, row, run)
            run.add(row.row)
            live.in_hand[row.row] = grant.number
            live.turns[grant.number] = grant.turn
            lease = self._lease(live, row.row)
            assert lease.turn == grant.turn
            assert lease.is_first == (row.row in self.unlent), (
                "an effect of an earlier run would be done again"
            )
            self.unlent.discard(row.row)
            if len(run) == 1:
                self._check_turn(row)
            current = [one for one, number in live.in_hand.items() if number]
            assert len({live.turns[live.in_hand[one]] for one in current}) <= live.slots
            if len(current) > 1:
                assert not any(self.rows[one].suspect or self.rows[one].crashes for one in current)
        for run in granted.values():
            assert len(run) == 1 or not any(self.rows[row].attempts for row in run), "it failed before"

    def _lease(self, live: Live, row: int) -> Lease:
        lease = self.dispatch.lease(live.instance, live.in_hand[row])
        assert isinstance(lease, Lease), "a lease in hand is valid until it is settled"
        return lease

    def _check_grant(self, live: Live, row: Row, run: set[int]) -> None:
        """`run`: what of the same run was granted just before."""
        assert len(run) < live.run
        assert live.is_open
        assert live.queue == row.queue
        assert row.row not in self.fixed
        assert row.row not in self._held_elsewhere(live)
        assert self.begun.get(row.row) is None
        if row.list_id:
            mates = [
                one
                for one in self.rows.values()
                if (one.queue, one.list_id) == (row.queue, row.list_id) and one.row not in {row.row, *run}
            ]
            in_hand = {one for other in self.live.values() for one in other.in_hand if other.in_hand[one]}
            for mate in mates:
                assert mate.row not in in_hand, "two of one list in hand"
                assert mate.row not in self.fixed, "the one before it is not durable"
                if mate.state == 0:
                    assert (mate.place, mate.row) > (row.place, row.row), "not the first of its list"

    def _check_turn(self, row: Row) -> None:
        """A list that could have had its turn is passed at most once by each other."""
        if not row.list_id:
            return
        self.passed.pop((row.queue, row.list_id), None)
        for (queue, list_id), passers in self.passed.items():
            if queue == row.queue and self._could_run(queue, list_id):
                assert row.list_id not in passers, f"{row.list_id} had two turns before {list_id} had one"
                passers.add(row.list_id)

    def _could_run(self, queue: Queue, list_id: str) -> bool:
        mates = [one for one in self.rows.values() if (one.queue, one.list_id) == (queue, list_id)]
        busy = self.fixed | self.begun.keys() | {one for live in self.live.values() for one in live.in_hand}
        waiting = [one for one in mates if one.state == 0]
        return (
            bool(waiting)
            and not any(one.row in busy for one in mates)
            and not any(one.suspect or one.crashes for one in waiting)
            and not any(one.state == 1 and one.first_retry_ms + HOLD_MS > self.now_ms for one in mates)
        )

    @invariant()
    def forget_turns_of_lists_that_cannot_run(self) -> None:
        names = {(row.queue, row.list_id) for row in self.rows.values() if row.list_id}
        self.passed = {name: self.passed.get(name, set()) for name in names if self._could_run(*name)}

    def _a_lease(self, pick: int) -> tuple[Live, Lease] | None:
        self.grant()
        held = [(live, row) for live in self.live.values() for row, number in live.in_hand.items() if number]
        if not held:
            return None
        live, row = held[pick % len(held)]
        return live, self._lease(live, row)

    def _end(self, live: Live, lease: Lease) -> Entry:
        row = lease.entry.row.row
        del live.in_hand[row]
        self.begun.pop(row, None)
        self.fixed.add(row)
        entry = self.dispatch.settle(lease)
        assert not isinstance(self.dispatch.lease(live.instance, lease.number), Lease)
        return entry

    @rule(pick=picks, follows=st.sampled_from(["", "outgoing", "incoming"]))
    def ack(self, pick: int, follows: str) -> None:
        if found := self._a_lease(pick):
            row = found[1].entry.row
            item = self.journal.fetch([row.row])[0].item
            outputs = (make_output(item, follows),) if follows and item.hop < 4 else ()
            entry = self._end(*found)
            self._submit(Settle(row=row.row, outputs=outputs), self._then_removed(entry))

    def _then_removed(self, entry: Entry) -> Callable[[SettledRow], None]:
        def then(result: SettledRow) -> None:
            assert result.done
            self.dispatch.remove(entry)
            del self.rows[entry.row.row]
            self.fixed.discard(entry.row.row)
            self._stored(result)

        return then

    @rule(pick=picks, counts=st.booleans(), declared=st.booleans())
    def retry(self, pick: int, counts: bool, declared: bool) -> None:
        if found := self._a_lease(pick):
            message = Retry(lease=LeaseToken("", 0), reason="r", counts=counts, declared=declared)
            operations = self.dispatch.judge_retry(found[1], message, self.now_ms)
            entry = self._end(*found)
            for operation in operations:
                match operation:
                    case Blame():
                        self._submit(operation, lambda _: None)
                    case Defer():
                        self._submit(operation, self._then_put_off(entry, operation))
                    case Shunt():
                        self._submit(operation, self._then_shunted(entry))

    def _then_put_off(self, entry: Entry, operation: Defer) -> Callable[[Any], None]:
        def then(_: Any) -> None:
            self.dispatch.put_off(entry, operation)
            self.fixed.discard(entry.row.row)

        return then

    def _then_shunted(self, entry: Entry) -> Callable[[Any], None]:
        def then(_: Any) -> None:
            self.dispatch.shunt(entry)
            self.fixed.discard(entry.row.row)

        return then

    @rule(pick=picks)
    def set_aside(self, pick: int) -> None:
        if found := self._a_lease(pick):
            entry = self._end(*found)
            self._submit(Shunt(row=entry.row.row, reason="r"), self._then_shunted(entry))

    @rule(pick=picks)
    def give_back(self, pick: int) -> None:
        if found := self._a_lease(pick):
            live, lease = found
            del live.in_hand[lease.entry.row.row]
            self.begun.pop(lease.entry.row.row, None)
            self.dispatch.give_back(lease)

    @rule(pick=picks)
    def begin(self, pick: int) -> None:
        """Note the beginning of an SMTP transaction; only what is durable counts."""
        if found := self._a_lease(pick):
            live, lease = found
            row = lease.entry.row.row
            note = Note(number=0, part=(0, 1), instance=live.instance)

            def then(_: Any) -> None:
                if row in live.in_hand and live.instance in self.live:
                    self.begun[row] = live.instance

            self._submit(Write(row=row, note=note), then)

    # People -------------------------------------------------------------------------------------------------------------

    @rule(drops=st.booleans(), list_id=lists)
    def clear_shunted(self, drops: bool, list_id: str) -> None:
        entries = self.dispatch.pick_shunted(None, None, ListId(list_id))
        rows = tuple(entry.row.row for entry in entries)
        if not rows:
            return

        def dropped(_: Any) -> None:
            for entry in entries:
                self.dispatch.remove(entry)
                del self.rows[entry.row.row]

        def released(result: tuple[Row, ...]) -> None:
            assert len(result) == len(entries)
            for entry, row in zip(entries, result, strict=True):
                self.rows[row.row] = row
                self.dispatch.unshunt(entry, row)

        if drops:
            self._submit(Drop(rows=rows), dropped)
        else:
            self._submit(Unshunt(rows=rows), released)

    # Time and death -----------------------------------------------------------------------------------------------------

    @rule(seconds=st.sampled_from([0.1, 2, 10, 31, 4000]))
    def pass_time(self, seconds: float) -> None:
        self.now_ms += int(seconds * 1000)
        self.latest_ms = max(self.latest_ms, self.now_ms)
        self.dispatch.tick(self.now_ms)

    @rule()
    def set_clock_back(self) -> None:
        self.now_ms -= 86_400_000
        self.dispatch.tick(self.now_ms)

    @rule(knows=st.booleans())
    def kill_the_bus(self, knows: bool) -> None:
        """What was not durable is gone; runners live on and have in hand what they had. `knows`: master says who lives."""
        self.pending.clear()
        self.fixed.clear()
        self.journal.crash()
        self._start()
        self.rows = {row.row: row for row in self._entries_rows()}
        for live in self.live.values():
            live.in_hand = {row: 0 for row in live.in_hand if row in self.rows}
            live.is_open = False
        self.begun = {
            row.row: row.begun_by
            for row in self.rows.values()
            if row.begun_by is not None
            and row.begun_by in self.live  # also when its settlement was under way
            and row.state == 0
        }
        if knows:
            self.dispatch.living(list(self.live))

    def _entries_rows(self) -> list[Row]:
        return [
            entry.row
            for order in self.dispatch.queues.values()
            for entries in (order.live, order.shunted)
            for entry in entries.values()
        ]

    # Always -------------------------------------------------------------------------------------------------------------

    @invariant()
    def every_item_is_in_one_place(self) -> None:
        places = [row.row for row in self._entries_rows()]
        assert len(places) == len(set(places))
        assert set(places) == set(self.rows)

    @invariant()
    def a_list_is_in_one_run(self) -> None:
        turns: dict[tuple[Queue, str], set[int]] = {}
        for live in self.live.values():
            for row, number in live.in_hand.items():
                if number and self.rows[row].list_id:
                    of_list = turns.setdefault((live.queue, self.rows[row].list_id), set())
                    of_list.add(live.turns[number])
        assert all(len(found) == 1 for found in turns.values())

    @invariant()
    def the_books_balance(self) -> None:
        if not self.pending:
            counters = self.journal.counters()
            for queue in QUEUES:
                items = sum(self.dispatch.order_of(queue).gauges().values())
                assert imbalance(counters.get(queue, Counters()), items) == 0

    def teardown(self) -> None:
        """With nobody crashing any more everything is handled: nothing is stuck."""
        if not self.live and not self.rows:
            return
        self.now_ms = self.latest_ms
        while self.pending:
            self.commit(5)
        for live in list(self.live.values()):
            self.dispatch.gone(live.instance, crashed=False)
        self.live.clear()
        self.begun.clear()
        self.dispatch.living([])
        for number, queue in enumerate(QUEUES):
            instance = Instance(f"last:{number}")
            self.live[instance] = Live(instance, queue, 2, 3)
            self.dispatch.hello(instance, queue, 2, (), run=3)
        for _ in range(40 + 4 * len(self.rows)):
            self.now_ms += 6_000_000 + GRACE_MS
            self.dispatch.tick(self.now_ms)
            self.grant()
            while self._a_lease(0):
                self.ack(0, "")
            while self.pending:
                self.commit(5)
        stuck = [row for row in self.rows.values() if row.state != 2]
        assert not stuck, stuck


DispatchMachine.TestCase.settings = settings(max_examples=200, stateful_step_count=50, deadline=None)
TestDispatch = pytest.mark.slow(DispatchMachine.TestCase)
