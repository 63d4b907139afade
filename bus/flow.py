"""What new mail may come in: marks with hysteresis. Pure; the numbers are arguments.

A queue over its mark is closed to mail for its own addresses until it is at 80 %. A queue without addresses gets its mail from
incoming alone, so that one over its mark stops the leasing of incoming instead, and posts meet incoming's mark. The
disk under its mark stops everything until there is a quarter more, and so does memory. Before that, when mail comes faster than the disk takes it, front-ends
are asked to answer MAIL later: a client that waits a second sends less, and none is refused (Postfix: in_flow_delay, 1 s; Sendmail:
DELAY_LA, 1 s). What is inside already is never refused.
"""

from collections.abc import Collection

from msgspec import Struct

from bus.messages import Flow
from bus.order import QueueOrder
from config.names import INCOMING, Queue

REOPEN = 0.8  # of a mark: below it a closed queue opens again
HARD = 1.25  # of a mark: above it even mail that was under way is refused
DISK_RESUME = 1.25  # of the free octets that stop
DISK_SHARE = 10  # on a small disk the mark is a tenth of it
MEMORY_RESUME = 1.25  # of the available octets that stop
DELAYS_MS = (
    (0.25, 250),
    (0.5, 500),
    (0.75, 1000),
)  # from this share of the load that is refused on, MAIL is answered so much later


class Marks(Struct, frozen=True):
    """Where the limits are."""

    max_items: int
    max_bytes: int
    min_free: int
    min_memory: int
    addressed: frozenset[Queue]  # queues that some address leads to


class FlowGauge:
    """Remembers what is closed; the newest `flow` is what front-ends are told."""

    def __init__(self, marks: Marks) -> None:
        self.flow = Flow()
        self.stopped: frozenset[Queue] = frozenset()  # queues whose items are not leased
        self._marks = marks
        self._over: set[Queue] = set()
        self._is_disk_short = False
        self._is_memory_short = False
        self._delay_ms = 0

    def look_at_queues(self, queues: Collection[QueueOrder]) -> None:
        """Close and open queues as their marks say."""
        marks = self._marks
        for order in queues:
            count, octets = len(order.live), order.octets
            if count > marks.max_items or octets > marks.max_bytes:
                self._over.add(order.queue)
            elif (
                order.queue in self._over
                and count <= marks.max_items * REOPEN
                and octets <= marks.max_bytes * REOPEN
            ):
                self._over.discard(order.queue)
        is_choked = not self._over <= marks.addressed
        self.stopped = frozenset({INCOMING}) if is_choked else frozenset()

    def look_at_disk(self, free: int, total: int, *, is_failing: bool) -> None:
        """Note how much room there is; `is_failing`: something could not be written for want of it."""
        mark = min(self._marks.min_free, total // DISK_SHARE)
        if is_failing or free < mark:
            self._is_disk_short = True
        elif free >= mark * DISK_RESUME:
            self._is_disk_short = False

    def look_at_memory(self, available: int) -> None:
        """Note how many octets of memory are left to all processes of this machine or control group."""
        mark = self._marks.min_memory
        if available < mark:
            self._is_memory_short = True
        elif available >= mark * MEMORY_RESUME:
            self._is_memory_short = False

    def look_at_load(self, load: float) -> None:
        """Note how much waits for the disk: 0 for nothing, 1 for what is refused."""
        delay_ms = 0
        for share, delay in DELAYS_MS:
            if load >= (share * REOPEN if delay <= self._delay_ms else share):
                delay_ms = delay
        self._delay_ms = delay_ms

    def decide(self, *, is_journal_stuck: bool, fronts: int = 1) -> bool:
        """Work out the flow; returns whether front-ends must be told. `fronts`: how many there are."""
        reason = ""
        if self._is_disk_short:
            reason = "disk"
        elif is_journal_stuck:
            reason = "journal"
        elif self._is_memory_short:
            reason = "memory"
        full = tuple(sorted(self._over & self._marks.addressed))
        flow = Flow(
            state="stop" if reason else "ok",
            reason=reason,
            full=full,
            delay_ms=self._delay_ms,
            fronts=max(1, fronts),
        )
        changed, self.flow = flow != self.flow, flow
        return changed

    def is_above_all(self, order: QueueOrder) -> bool:
        """Whether a queue is so far over its mark that mail under way to it is refused too."""
        return len(order.live) > self._marks.max_items * HARD or order.octets > self._marks.max_bytes * HARD
