"""The order of one queue: lanes, turns, and who waits for what. Pure; the clock is an argument.

Items of one list form a lane and are handled one at a time in order of (place, row); lanes take turns, one item each, so a
list that floods delays nobody else by more than one item a turn. A runner may take a short run of consecutive items in one turn: it
handles them in that order, and the lane waits until all are settled. An item without a list is a lane of its own.

| strategy | what it prevents | proof |
| --- | --- | --- |
| one in hand per lane, or one run | two runners at one list, overtaking | test_order.py, test_dispatch_machine.py |
| lanes take turns | a flooding list starves the others | test_order.py, test_dispatch_machine.py |
| what has failed or is suspect is in no run | it undoes its neighbours' work again and again | test_order.py |
| what waits for a retry keeps its lane for 30 s, then steps aside | overtaking; a list blocked for hours | test_order.py |
| a suspect stands apart until a runner is empty-handed | neighbours blamed for its crash | test_dispatch_machine.py |

All of a queue's items are in memory as small rows, about half a KiB each; the flow marks (flow.py) bound their number.
What does not belong here: leases and workers (dispatch.py), pauses between attempts (retry.py), anything on disk.
"""

import enum
import heapq
from collections import Counter, deque

from bus.journal.api import Row, State
from bus.retry import sane_due
from config.names import Queue

HOLD_MS = 30_000  # how long an item that waits for a retry keeps its list waiting (DESIGN P5)
RUN_OCTETS = 2**20  # of contents in one run; a larger item is alone


class Where(enum.Enum):
    """Where one item is, as this life of the bus knows it."""

    WAITING = enum.auto()  # in its lane
    HELD = enum.auto()  # waits for a retry, and its lane waits with it
    ASIDE = enum.auto()  # waits out of its lane
    LEASED = enum.auto()
    BUSY = enum.auto()  # what becomes of it is being written down
    SHUNTED = enum.auto()
    LEAVING = enum.auto()  # shunted, and being released or dropped


_NAMES = {
    Where.WAITING: "ready",
    Where.LEASED: "leased",
    Where.BUSY: "leased",
    Where.HELD: "deferred",
    Where.ASIDE: "deferred",
}


class Entry:
    """One item of a queue; it is in exactly one place."""

    __slots__ = ("due_ms", "is_new", "lane", "row", "wake_ms", "where")

    def __init__(self, row: Row, lane: "Lane") -> None:
        self.row = row
        self.lane = lane
        self.where = Where.ASIDE
        self.due_ms = 0
        self.wake_ms = 0  # when tick has something to do for it
        self.is_new = False  # became durable in this life of the bus, and was never lent

    @property
    def state(self) -> str:
        """What an operator calls the place of this item."""
        return _NAMES.get(self.where, "shunted")

    @property
    def is_alone(self) -> bool:
        """Whether a runner may hold nothing else beside it, since one has died holding it."""
        return self.row.suspect or self.row.crashes > 0

    @property
    def may_be_in_run(self) -> bool:
        """Whether it may be handled with its neighbours."""
        return not self.is_alone and not self.row.attempts


class Lane:
    """The waiting items of one list in one queue."""

    __slots__ = ("heap", "held", "in_hand", "is_listed", "key")

    def __init__(self, key: str | int) -> None:
        self.key = key
        self.heap: list[tuple[int, int, Entry]] = []
        self.in_hand = 0  # leased or being settled
        self.held: Entry | None = None
        self.is_listed = False  # stands in line for a turn

    @property
    def is_runnable(self) -> bool:
        return bool(self.heap) and not self.in_hand and self.held is None


class QueueOrder:
    """All items of one queue. Only the methods here move an entry."""

    def __init__(self, queue: Queue, *, is_strict: bool = False) -> None:
        self.queue = queue
        self.is_strict = is_strict  # a retry keeps its place until it is over
        self.live: dict[int, Entry] = {}  # by row: all but the shunted
        self.shunted: dict[int, Entry] = {}
        self.octets = 0  # of what is live
        self.turns: deque[Lane] = deque()  # runnable lanes, next first
        self.apart: deque[Lane] = deque()  # lanes whose head goes to an empty-handed runner only
        self._lanes: dict[str | int, Lane] = {}

    def add(self, row: Row, now_ms: int) -> Entry:
        """Take in an item that is in the journal."""
        entry = Entry(row, self._lane(row))
        if row.state is State.SHUNTED:
            self.shunted[row.row] = entry
            entry.where = Where.SHUNTED
            return entry
        self.live[row.row] = entry
        self.octets += row.size
        if row.state is State.DEFERRED:
            self._put_off(entry, sane_due(row, row.due_ms, now_ms), now_ms)
        else:
            self._wait(entry)
        return entry

    def next_lane(self) -> Lane | None:
        """Return the lane whose turn it is, its head fit for any runner with a free slot; it leaves the line."""
        while self.turns:
            lane = self.turns.popleft()
            if lane.is_runnable and lane.heap[0][2].is_alone:
                self.apart.append(lane)
            elif lane.is_runnable:
                return lane
            else:
                lane.is_listed = False
        return None

    def next_apart(self) -> Lane | None:
        """Return the first lane whose head goes to an empty-handed runner; it stays in its line."""
        while self.apart:
            lane = self.apart[0]
            if lane.is_runnable and lane.heap[0][2].is_alone:
                return lane
            self.apart.popleft()
            lane.is_listed = False
            self._offer(lane)
        return None

    def take(self, lane: Lane) -> Entry:
        """Take the head of a runnable lane in hand."""
        if self.apart and self.apart[0] is lane:
            self.apart.popleft()
        lane.is_listed = False
        entry = heapq.heappop(lane.heap)[2]
        lane.in_hand += 1
        entry.where = Where.LEASED
        return entry

    def take_run(self, lane: Lane, most: int) -> list[Entry]:
        """Take in hand the head of a runnable lane and what comes right after it, up to `most` in all."""
        run = [self.take(lane)]
        octets = run[0].row.size
        while len(run) < most and lane.heap and run[-1].may_be_in_run and lane.heap[0][2].may_be_in_run:
            octets += lane.heap[0][2].row.size
            if octets > RUN_OCTETS:
                break
            run.append(self.take(lane))
        return run

    def claim(self, entry: Entry, beside: int = 0) -> bool:
        """Take in hand an item that waits, wherever it stands in its lane; False when it does not wait or its lane is busy.

        `beside`: so many of the lane are in the same hand already.
        """
        lane = entry.lane
        if entry.where is not Where.WAITING or lane.in_hand > beside or lane.held is not None:
            return False
        self._pull(entry)
        entry.where = Where.LEASED
        return True

    def fix(self, entry: Entry) -> None:
        """Hold an item still while its fate is written down; it keeps its lane."""
        if entry.where is Where.WAITING:
            self._pull(entry)
        elif entry.where in (Where.HELD, Where.ASIDE):
            lane = entry.lane = self._lanes.setdefault(entry.lane.key, entry.lane)
            if lane.held is entry:
                lane.held = None
            lane.in_hand += 1
        entry.where = Where.BUSY

    def give_back(self, entry: Entry) -> None:
        """Put what was in hand back into its lane."""
        entry.lane.in_hand -= 1
        self._wait(entry)

    def put_off(self, entry: Entry, due_ms: int, attempts: int, first_retry_ms: int, now_ms: int) -> None:
        """Let what was in hand wait for a retry."""
        row = entry.row
        row.state, row.due_ms, row.attempts, row.first_retry_ms = (
            State.DEFERRED,
            due_ms,
            attempts,
            first_retry_ms,
        )
        entry.lane.in_hand -= 1
        self._put_off(entry, due_ms, now_ms)
        self._offer(entry.lane)

    def wake(self, entry: Entry, now_ms: int) -> None:
        """Do what is due for an item that waits: it comes back into its lane, or steps aside."""
        was_held = entry.where is Where.HELD
        if was_held:
            entry.lane.held = None
        if now_ms >= entry.due_ms:
            self._wait(entry)
        else:
            entry.where = Where.ASIDE
            entry.wake_ms = entry.due_ms
        if was_held:
            self._offer(entry.lane)

    def put_nearer(self, entry: Entry, due_ms: int, now_ms: int) -> None:
        """Correct when an item is due, after the clock was set back."""
        if entry.where is Where.HELD:
            entry.lane.held = None
        entry.where = Where.ASIDE
        self._put_off(entry, due_ms, now_ms)
        self._offer(entry.lane)

    def shunt(self, entry: Entry) -> None:
        """Set aside what was in hand."""
        self.remove(entry)
        entry.row.state = State.SHUNTED
        entry.where = Where.SHUNTED
        self.shunted[entry.row.row] = entry

    def remove(self, entry: Entry) -> None:
        """Forget an item that is in hand, or shunted, for ever."""
        if self.shunted.pop(entry.row.row, None) is not None:
            return
        del self.live[entry.row.row]
        self.octets -= entry.row.size
        lane = entry.lane
        lane.in_hand -= 1
        if not lane.heap and not lane.in_hand and lane.held is None:
            self._lanes.pop(lane.key, None)
        else:
            self._offer(lane)

    def gauges(self) -> dict[str, int]:
        """Count the items by what an operator calls their state."""
        counts = dict.fromkeys(("ready", "leased", "deferred"), 0)
        for where, count in Counter(entry.where for entry in self.live.values()).items():
            counts[_NAMES[where]] += count
        return {**counts, "shunted": len(self.shunted)}

    def oldest_ms(self, now_ms: int) -> int:
        """Return since when the item that waits longest has been here; `now_ms` when none waits."""
        return min(
            (
                max(entry.row.entered_ms, 0 if entry.row.first_retry_ms else entry.due_ms)
                for entry in self.live.values()
            ),
            default=now_ms,
        )

    def _lane(self, row: Row) -> Lane:
        key: str | int = row.list_id or row.row
        lane = self._lanes.get(key)
        if lane is None:
            lane = Lane(key)
            if row.state is not State.SHUNTED:
                self._lanes[key] = lane
        return lane

    def _pull(self, entry: Entry) -> None:
        """Take an item out of its lane, mostly the head; else it is rare, so its cost does not matter."""
        heap = entry.lane.heap
        if heap[0][2] is entry:
            heapq.heappop(heap)
        else:
            heap.remove((entry.row.place, entry.row.row, entry))
            heapq.heapify(heap)
        entry.lane.in_hand += 1

    def _wait(self, entry: Entry) -> None:
        row = entry.row
        row.state = State.READY
        entry.where = Where.WAITING
        entry.wake_ms = 0
        lane = self._lanes.setdefault(entry.lane.key, entry.lane)
        entry.lane = lane
        heapq.heappush(lane.heap, (row.place, row.row, entry))
        self._offer(lane)

    def _put_off(self, entry: Entry, due_ms: int, now_ms: int) -> None:
        """Hold the lane for what is left of 30 s, or let the item stand aside at once."""
        row = entry.row
        lane = entry.lane = self._lanes.setdefault(entry.lane.key, entry.lane)
        entry.due_ms = due_ms
        held_until_ms = due_ms
        if not self.is_strict:
            held_until_ms = min(due_ms, min(row.first_retry_ms, now_ms) + HOLD_MS)
        if row.first_retry_ms and lane.held is None and not lane.in_hand and held_until_ms > now_ms:
            lane.held = entry
            entry.where = Where.HELD
            entry.wake_ms = held_until_ms
        else:
            entry.where = Where.ASIDE
            entry.wake_ms = due_ms

    def _offer(self, lane: Lane) -> None:
        if lane.is_runnable and not lane.is_listed:
            lane.is_listed = True
            self.turns.append(lane)
