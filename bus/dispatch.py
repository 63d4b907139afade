"""Who gets which item when, and what becomes of the items of a process that died. Pure: no socket, file, clock or random.

Events go in as method calls, decisions come out as values: `Grant` (give this to that worker), journal operations (`Blame`,
`Shunt`, ...) that the caller makes durable, and the names of those concerned. An item moves on here only when the journal
has said that the move is durable, except for leases, which are of this life of the bus alone.

| strategy | what it prevents | proof |
| --- | --- | --- |
| leases are fenced by number and holder | a zombie's settlement has an effect | test_dispatch_machine.py |
| a lease never ends by a clock; only master's Gone frees it | two processes work on one item | test_dispatch_machine.py |
| only a worker with one item in hand is a witness against it | a neighbour is blamed | test_dispatch.py |
| an item begun by an instance waits for that instance or its end | a second copy by SMTP | test_dispatch.py |
| after a start, leasing waits for those that live, at most 1 s | two handlers at one list after a restart | test_dispatch.py |

What does not belong here: sockets and peers (broker.py), order within a queue (order.py), pauses (retry.py), marks (flow.py).
"""

import heapq
from collections.abc import Callable, Collection, Iterable, Sequence

from bus.journal.api import Blame, Defer, Row, Shunt, State
from bus.leases import Ended, Grant, Lease, Standing, Worker
from bus.messages import Retry
from bus.order import Entry, QueueOrder, Where
from bus.retry import JUMP_MS, judge_retry, sane_due
from config.names import CONFIRM, MEMBERSHIP, Instance, ItemId, ListId, Queue

STRICT_QUEUES = frozenset(
    {CONFIRM, MEMBERSHIP}
)  # a retry keeps its place: join, then leave, is not leave, then join
GRACE_MS = 1000  # after a start: how long those that live may take to say what they have in hand


class Dispatch:
    """The state of all queues; one object for one life of the bus."""

    def __init__(self, crashes_before_shunt: int, chance: Callable[[], float]) -> None:
        self.queues: dict[Queue, QueueOrder] = {}
        self.paused: set[Queue] = set()
        self.workers: dict[Instance, Worker] = {}
        self._crashes_before_shunt = crashes_before_shunt
        self._chance = chance
        self._number = 0
        self._ended = Ended()
        self._reserved: dict[Queue, Instance] = {}  # gets nothing new until it is empty-handed, for a suspect
        self._timers: list[tuple[int, int, Entry]] = []
        self._now_ms = 0
        self._closed_until_ms = 0
        self._awaited: set[Instance] | None = (
            None  # those that live and have not said hello; None: not told yet
        )

    # What the journal holds --------------------------------------------------------------------------------------------

    def recover(self, rows: Iterable[Row], now_ms: int) -> int:
        """Take in what an earlier life of the bus left; returns how many items that are. Call once, first."""
        self._now_ms = now_ms
        count = 0
        for row in rows:
            entry = self.add(row, now_ms)
            if row.begun_by is not None and row.state is State.READY:  # deferred: its lease had ended
                self._expect(entry, row.begun_by)
            count += entry.where is not Where.SHUNTED
        if count:
            self._closed_until_ms = now_ms + GRACE_MS
        return count

    def add(self, row: Row, now_ms: int, *, is_new: bool = False) -> Entry:
        """Take in an item that is durable now; `is_new`: since just now, so that nobody can have worked on it."""
        entry = self.order_of(row.queue).add(row, now_ms)
        entry.is_new = is_new
        self._set_timer(entry)
        return entry

    def order_of(self, queue: Queue) -> QueueOrder:
        """Return a queue, made when it is first named."""
        order = self.queues.get(queue)
        if order is None:
            order = self.queues[queue] = QueueOrder(queue, is_strict=queue in STRICT_QUEUES)
        return order

    def _expect(self, entry: Entry, instance: Instance) -> None:
        """Keep an item for the process that had begun it; its hello or its end decides."""
        worker = self.workers.get(instance)
        if worker is None:
            worker = self.workers[instance] = Worker(instance, entry.row.queue, 0)
            worker.is_open = False
        order = self.order_of(entry.row.queue)
        order.fix(entry)
        entry.where = Where.LEASED
        self._lend(entry, worker)

    # Workers -----------------------------------------------------------------------------------------------------------

    def hello(
        self,
        instance: Instance,
        queue: Queue,
        slots: int,
        claims: Sequence[ItemId],
        *,
        run: int = 1,
        is_known_connection: bool = False,
    ) -> dict[ItemId, int]:
        """Let a runner in, for the first time or again; returns the lease numbers of those claims that are its own.

        What it held here and does not claim never reached it: others may have it. Unless the connection is the one over which
        it was leased: then it is on its way, crossed this hello, and is returned among the claims.
        """
        self.arrived(instance)
        worker = self.workers.setdefault(instance, Worker(instance, queue, slots))
        worker.queue, worker.slots, worker.run, worker.is_open = queue, slots, run, True
        held = {lease.entry.row.id: lease for lease in worker.in_hand.values()}
        settled = self._ended.numbers_of(instance) if claims else {}
        adopted: dict[ItemId, int] = {}
        for item_id in claims:
            if item_id in held:
                adopted[item_id] = held.pop(item_id).number
            elif item_id in settled:
                adopted[item_id] = settled[item_id]
        for lease in held.values():
            if is_known_connection:
                adopted[lease.entry.row.id] = lease.number
            else:
                self._release(worker, lease)
        for entry in self._claimed(queue, [item_id for item_id in claims if item_id not in adopted]):
            number = self._adopt(worker, entry)
            if number is not None:
                adopted[entry.row.id] = number
        return adopted

    def may_have(self, instance: Instance) -> bool:
        """Whether a worker is still to get what was granted to it."""
        worker = self.workers.get(instance)
        return worker is not None and worker.is_open

    def arrived(self, instance: Instance) -> None:
        """Note that a process of any kind has said hello to this life of the bus."""
        if self._awaited is not None:
            self._awaited.discard(instance)

    def hush(self, instance: Instance) -> None:
        """Lease nothing more to a worker: it is silent, cannot be reached, or leaves."""
        worker = self.workers.get(instance)
        if worker is not None:
            worker.is_open = False
            if not worker.in_hand:
                del self.workers[instance]

    def gone(self, instance: Instance, *, crashed: bool) -> list[tuple[Entry, Blame | Shunt]]:
        """Free what a dead process had in hand; the one item of a crashed one is blamed, of several each is suspect."""
        self.arrived(instance)
        worker = self.workers.pop(instance, None)
        if worker is None:
            return []
        leases = list(worker.in_hand.values())
        operations: list[tuple[Entry, Blame | Shunt]] = []
        for lease in leases:
            if not crashed:
                self._release(worker, lease)
            else:
                operations += self._accuse(worker, lease, is_certain=len(leases) == 1)
        return operations

    def living(self, instances: Collection[Instance]) -> None:
        """Hear from master which processes live: others that had begun something, and were not heard of, are gone."""
        for instance, worker in list(self.workers.items()):
            if not worker.is_open and instance not in instances:
                self.gone(instance, crashed=False)
        heard = {instance for instance, worker in self.workers.items() if worker.is_open}
        self._awaited = set(instances) - heard

    def _claimed(self, queue: Queue, claims: Sequence[ItemId]) -> list[Entry]:
        """Find these items, in their order: what comes after one of the same list in a run needs it."""
        wanted = set(claims)
        live = self.order_of(queue).live.values() if wanted else ()
        found = {entry.row.id: entry for entry in live if entry.row.id in wanted}
        return [found[item_id] for item_id in claims if item_id in found]

    def _adopt(self, worker: Worker, entry: Entry) -> int | None:
        """Give a worker the lease of what it had in hand in the last life of the bus, alone or as the rest of a run."""
        run = [lease for lease in worker.in_hand.values() if lease.entry.lane is entry.lane]
        may_join = len(run) < worker.run
        if not self.order_of(worker.queue).claim(entry, len(run) if may_join else 0):
            return None
        return self._lend(entry, worker, run[0].turn if run else 0).number

    def _accuse(self, worker: Worker, lease: Lease, *, is_certain: bool) -> list[tuple[Entry, Blame | Shunt]]:
        row = lease.entry.row
        row.crashes += is_certain
        row.suspect = not is_certain
        blame = Blame(row=row.row, crashes=row.crashes, suspect=row.suspect)
        if row.crashes < self._crashes_before_shunt:
            self._release(worker, lease)
            return [(lease.entry, blame)]
        self.order_of(row.queue).fix(lease.entry)
        self._forget(worker, lease.number)
        detail = f"its runner died {row.crashes} times while it was in hand"
        shunt = Shunt(row=row.row, reason="crash-loop", detail=detail)
        return [(lease.entry, blame), (lease.entry, shunt)]

    # Leases ------------------------------------------------------------------------------------------------------------

    def grant(self, *, stopped: Collection[Queue] = ()) -> list[Grant]:
        """Hand out whatever can be handed out now; queues in `stopped` rest."""
        if self._now_ms < self._closed_until_ms and (self._awaited is None or self._awaited):
            return []
        by_queue: dict[Queue, list[Worker]] = {}
        for worker in self.workers.values():
            if worker.is_open:
                by_queue.setdefault(worker.queue, []).append(worker)
        grants: list[Grant] = []
        for queue, workers in by_queue.items():
            order = self.queues.get(queue)
            if order and (order.turns or order.apart) and queue not in self.paused and queue not in stopped:
                self._grant_queue(order, workers, grants)
        return grants

    def _grant_queue(self, order: QueueOrder, workers: list[Worker], grants: list[Grant]) -> None:
        able = [worker for worker in workers if worker.free > 0]
        while able:
            reserved = self._grant_apart(order, workers, grants)
            able = [worker for worker in able if worker is not reserved and worker.free > 0]
            if not able:
                return
            lane = order.next_lane()
            if lane is None:
                if order.apart and reserved is None and not any(worker.alone for worker in workers):
                    continue
                return
            worker = max(able, key=lambda worker: worker.free)
            grants += self._grant(order.take_run(lane, worker.run), worker)

    def _grant_apart(self, order: QueueOrder, workers: list[Worker], grants: list[Grant]) -> Worker | None:
        """Give the next suspect to an empty-handed worker; else returns the worker that is to become empty-handed.

        One suspect of a queue is out at a time, so that with two workers other mail goes on.
        """
        lane = order.next_apart()
        if lane is None or any(worker.alone for worker in workers):
            return None
        kept = self.workers.get(self._reserved.get(order.queue, Instance("")))
        worker = (
            kept if kept in workers and kept is not None else min(workers, key=lambda one: len(one.in_hand))
        )
        self._reserved[order.queue] = worker.instance
        if worker.in_hand or worker.slots < 1:
            return worker
        del self._reserved[order.queue]
        [grant] = self._grant([order.take(lane)], worker)
        worker.alone = grant.number
        grants.append(grant)
        return None

    def _grant(self, run: Sequence[Entry], worker: Worker) -> list[Grant]:
        turn, grants = 0, []
        for entry in run:
            lease = self._lend(entry, worker, turn)
            turn = lease.turn
            grants.append(Grant(lease.number, entry.row.row, worker.instance, turn))
        return grants

    def lease(self, instance: Instance, number: int) -> Lease | Standing:
        """Return a lease that this worker holds, or what its number means otherwise."""
        worker = self.workers.get(instance)
        lease = worker.in_hand.get(number) if worker else None
        return lease if lease is not None else self._ended.standing(number, instance)

    def give_back(self, lease: Lease) -> None:
        """End a lease without a settlement and without blame: the item is ready at once."""
        self._release(self.workers[lease.instance], lease)

    def settle(self, lease: Lease) -> Entry:
        """End a lease by a settlement; the item stays still until `done`, `put_off` or `shunt` says that it is durable."""
        self.order_of(lease.entry.row.queue).fix(lease.entry)
        self._forget(self.workers[lease.instance], lease.number)
        self._ended.add(lease)
        return lease.entry

    def judge_retry(self, lease: Lease, retry: Retry, now_ms: int) -> list[Blame | Defer | Shunt]:
        """Say what is to be written for a Retry; what was handled alone and came back is no suspect any more."""
        row = lease.entry.row
        operations: list[Blame | Defer | Shunt] = [judge_retry(row, retry, now_ms, self._chance())]
        if row.suspect:
            row.suspect = False
            operations.insert(0, Blame(row=row.row, crashes=row.crashes, suspect=False))
        return operations

    # What is durable ---------------------------------------------------------------------------------------------------

    def finished(self, number: int) -> None:
        """The settlement under this lease number is durable."""
        self._ended.finish(number)

    def remove(self, entry: Entry) -> None:
        """The item has left its queue for ever."""
        self.order_of(entry.row.queue).remove(entry)

    def put_off(self, entry: Entry, defer: Defer) -> None:
        """The item waits for a retry."""
        order = self.order_of(entry.row.queue)
        order.put_off(entry, defer.due_ms, defer.attempts, defer.first_retry_ms, self._now_ms)
        self._set_timer(entry)

    def shunt(self, entry: Entry) -> None:
        """The item is set aside."""
        self.order_of(entry.row.queue).shunt(entry)

    def unshunt(self, entry: Entry, row: Row) -> None:
        """A person put the item back; `row` is as the journal has it now."""
        self.order_of(entry.row.queue).remove(entry)
        self.add(row, self._now_ms)

    def withdraw(self, entry: Entry) -> None:
        """Take an item out of the line for what the bus itself found wrong with it."""
        self.order_of(entry.row.queue).fix(entry)

    def pick_shunted(
        self, ids: Collection[ItemId] | None, queue: Queue | None, list_id: ListId | None
    ) -> list[Entry]:
        """Return the shunted items that all of the given conditions name; they are out of reach of a second pick."""
        picked = [
            entry
            for order in self.queues.values()
            if queue is None or order.queue == queue
            for entry in order.shunted.values()
            if (ids is None or entry.row.id in ids)
            and (list_id is None or entry.row.list_id == list_id)
            and entry.where is Where.SHUNTED
        ]
        for entry in picked:
            entry.where = Where.LEAVING
        return picked

    # Time --------------------------------------------------------------------------------------------------------------

    def tick(self, now_ms: int) -> None:
        """Let time pass: what is due becomes ready, what has kept its list waiting long enough steps aside."""
        if now_ms < self._now_ms - JUMP_MS:
            self._set_back(now_ms)
        self._now_ms = now_ms
        while self._timers and self._timers[0][0] <= now_ms:
            at_ms, _, entry = heapq.heappop(self._timers)
            if entry.wake_ms == at_ms and entry.where in (Where.HELD, Where.ASIDE):
                self.order_of(entry.row.queue).wake(entry, now_ms)
                self._set_timer(entry)

    def next_ms(self) -> int | None:
        """Return when tick has something to do next."""
        return self._timers[0][0] if self._timers else None

    def _set_back(self, now_ms: int) -> None:
        """The clock was set back: no retry waits longer for that."""
        self._closed_until_ms = min(self._closed_until_ms, now_ms + GRACE_MS)
        waiting = {id(entry): entry for _, _, entry in self._timers}
        self._timers.clear()
        for entry in waiting.values():
            if entry.where in (Where.HELD, Where.ASIDE):
                due_ms = sane_due(entry.row, entry.due_ms, now_ms)
                if due_ms != entry.due_ms:
                    self.order_of(entry.row.queue).put_nearer(entry, due_ms, now_ms)
                self._set_timer(entry)

    # Parts -------------------------------------------------------------------------------------------------------------

    def _lend(self, entry: Entry, worker: Worker, turn: int = 0) -> Lease:
        """Lease an item; `turn`: in the run that began with this lease, 0 for a new one."""
        self._number += 1
        lease = Lease(self._number, entry, worker.instance, entry.is_new, turn or self._number)
        entry.is_new = False  # even if it never reaches the worker: too seldom is safe, too often is not
        worker.take(lease)
        return lease

    def _release(self, worker: Worker, lease: Lease) -> None:
        self._forget(worker, lease.number)
        self.order_of(lease.entry.row.queue).give_back(lease.entry)

    def _forget(self, worker: Worker, number: int) -> None:
        worker.drop(number)
        if not worker.is_open and not worker.in_hand and self.workers.get(worker.instance) is worker:
            del self.workers[worker.instance]

    def _set_timer(self, entry: Entry) -> None:
        if entry.where in (Where.HELD, Where.ASIDE):
            heapq.heappush(self._timers, (entry.wake_ms, entry.row.row, entry))
