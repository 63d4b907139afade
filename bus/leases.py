"""Who works on what: workers, their free slots, and the leases that they hold. Pure.

A lease ends when its settlement is read, when its worker returns it, or when master says that the worker's process is gone;
never by a clock (DESIGN P8). A slot is free again as soon as the settlement is read: the next item travels while the last
one is being written down. Numbers of leases ended lately are kept, so that a settlement sent twice is answered and not obeyed twice.
"""

import enum
from collections import Counter, OrderedDict

from msgspec import Struct

from bus.order import Entry
from config.names import Instance, ItemId, Queue

REMEMBERED = 10_000  # settlements whose number still gets its answer: some seconds of the fastest traffic


class Standing(enum.Enum):
    """What a settlement under a lease number means now."""

    STALE = enum.auto()  # not this worker's any more
    PENDING = enum.auto()  # was read before and is being written down
    DONE = enum.auto()  # is durable


class Lease(Struct, frozen=True):
    """One item in the hand of one worker."""

    number: int
    entry: Entry
    instance: Instance
    is_first: bool = False  # nobody has had the item before, in this life of the bus or an earlier one
    turn: int = 0  # the number of the first lease of its run


class Grant(Struct, frozen=True):
    """Decision: give this item to this worker."""

    number: int
    row: int
    instance: Instance
    turn: int  # those of one run are granted one after the other, and leave as one message


class Worker:
    """One runner process, as far as leases go. A run takes one slot until the last of it is settled."""

    __slots__ = ("_turns", "alone", "in_hand", "instance", "is_open", "queue", "run", "slots")

    def __init__(self, instance: Instance, queue: Queue, slots: int, run: int = 1) -> None:
        self.instance = instance
        self.queue = queue
        self.slots = slots
        self.run = run  # consecutive items of one list that it takes at once
        self.in_hand: dict[int, Lease] = {}
        self._turns: Counter[int] = Counter()  # leases of each run
        self.is_open = True  # False: silent, leaving, or not heard of in this life of the bus
        self.alone = 0  # the lease that must have no other beside it

    @property
    def free(self) -> int:
        """How many more items, or runs of them, it may have."""
        return self.slots - len(self._turns) if self.is_open and not self.alone else 0

    def take(self, lease: Lease) -> None:
        """Give it one more item."""
        self.in_hand[lease.number] = lease
        self._turns[lease.turn] += 1

    def drop(self, number: int) -> None:
        """Take an item from it."""
        turn = self.in_hand.pop(number).turn
        self._turns[turn] -= 1
        if not self._turns[turn]:
            del self._turns[turn]
        if self.alone == number:
            self.alone = 0


class Ended:
    """Leases that ended by a settlement, the oldest forgotten first."""

    def __init__(self) -> None:
        self._by_number: OrderedDict[int, tuple[Instance, ItemId, Standing]] = OrderedDict()

    def add(self, lease: Lease) -> None:
        self._by_number[lease.number] = (lease.instance, lease.entry.row.id, Standing.PENDING)
        if len(self._by_number) > REMEMBERED:
            self._by_number.popitem(last=False)

    def finish(self, number: int) -> None:
        """The settlement under this number is durable."""
        if number in self._by_number:
            instance, item_id, _ = self._by_number[number]
            self._by_number[number] = (instance, item_id, Standing.DONE)

    def standing(self, number: int, instance: Instance) -> Standing:
        """Say what a lease number that is not held means."""
        known = self._by_number.get(number)
        return known[2] if known and known[0] == instance else Standing.STALE

    def numbers_of(self, instance: Instance) -> dict[ItemId, int]:
        """Return the leases that this worker settled lately; it may not have heard the answer."""
        return {
            item_id: number for number, (owner, item_id, _) in self._by_number.items() if owner == instance
        }
