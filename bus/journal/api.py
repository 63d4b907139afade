"""The seam between the broker and what keeps items on disk. Implementers: sqlite.py, memory.py; later postgres.py.
All pass tests/unit/journal/conformance suite. What an item is, when it may run and who has it is not decided here: dispatch.py.

One owner at a time, and one thread at a time (committer.py). `apply` is one transaction for a whole batch, so its cost is
shared (group commit); what it can put off is done by `tidy`. Times are wall milliseconds. Rows are numbered for ever upwards and never used again.

An op that no engine can carry out (an id that is none, an output of a body that was not sent) is a ValueError and nothing of the
batch is applied: batch.find_mistake asks first what comes from a client. A row that is gone makes Settle say so, is passed over by the
other ops, and is a KeyError in `fetch`. Where `apply` runs in a thread beside a busy main loop, sys.setswitchinterval(0.0005): at the
default of 5 ms each of its dozen statements may wait that long for the interpreter lock (measured: 250 stores/s against 6,000).
"""

import enum
from collections.abc import Iterator, Sequence
from typing import Protocol

from msgspec import Struct

from bus.messages import Item, Note, Placed
from config.names import Instance, ItemId, ListId, Queue


class State(enum.IntEnum):
    """Where an item lies. Leases are not stored: they end with the life of the bus that gave them."""

    READY = 0
    DEFERRED = 1  # until due_ms
    SHUNTED = 2


class Row(Struct, kw_only=True, omit_defaults=True):
    """What dispatch must know of a stored item; the item itself, content and notes stay on disk."""

    row: int
    id: ItemId
    queue: Queue
    list_id: ListId
    place: int  # order within (queue, list): lower first, then row; an output into its parent's queue and list inherits it
    state: State
    due_ms: int = 0
    accepted_ms: int = 0  # of the root: what age is counted from
    entered_ms: int = 0  # into this queue
    size: int = 0  # octets of the content
    attempts: int = 0
    first_retry_ms: int = 0  # of the series of retries that goes on; 0: none
    crashes: int = 0
    suspect: bool = False  # was in hand with others when their runner died: next time alone
    begun_by: Instance | None = None  # an SMTP transaction is begun and not done, by this process


class Store(Struct, frozen=True, kw_only=True):
    """Put items in, which share one content; each either gets a row or is found to be here already."""

    items: tuple[Item, ...]
    content: bytes
    content_keys: tuple[bytes, ...] = ()
    released: bool = False


class Settle(Struct, frozen=True, kw_only=True):
    """Take an item out and put its outputs in."""

    row: int
    outputs: tuple[Placed, ...] = ()
    bodies: tuple[bytes, ...] = ()  # what `content` and `recipients` of the outputs count
    held: bool = False
    note: Note | None = None  # the last done; in the history of the item only


class Defer(Struct, frozen=True, kw_only=True):
    """Let an item wait until due_ms."""

    row: int
    due_ms: int
    attempts: int
    first_retry_ms: int
    reason: str


class Blame(Struct, frozen=True, kw_only=True):
    """The runner of this item died: remember it."""

    row: int
    crashes: int
    suspect: bool


class Shunt(Struct, frozen=True, kw_only=True):
    """Set an item aside."""

    row: int
    reason: str
    detail: str = ""


class Unshunt(Struct, frozen=True, kw_only=True):
    """Put shunted items back: READY, attempts, crashes and suspicion forgotten, id and place kept."""

    rows: tuple[int, ...]


class Drop(Struct, frozen=True, kw_only=True):
    """Throw shunted items away; counted."""

    rows: tuple[int, ...]


class Write(Struct, frozen=True, kw_only=True):
    """Add a note to an item; a done replaces the begun of the same number."""

    row: int
    note: Note


class Acknowledged(Struct, frozen=True, kw_only=True):
    """The clients of these items have read our 250: forget their content keys."""

    ids: tuple[ItemId, ...]


class Pause(Struct, frozen=True, kw_only=True):
    """Remember that a queue is paused, or no longer."""

    queue: Queue
    paused: bool


class Trim(Struct, frozen=True, kw_only=True):
    """Forget at most 500 of each kind of what is older than its window (ids 48 h, content keys 24 h)."""

    shrink: bool = False  # the disk is short: give back free space even when there is little


Op = Store | Settle | Defer | Blame | Shunt | Unshunt | Drop | Write | Acknowledged | Pause | Trim


class Stored(Struct, frozen=True):
    """Result of Store: the id of each item (the first copy's where it was here already) and the rows made."""

    ids: tuple[ItemId, ...]
    rows: tuple[Row, ...]


class SettledRow(Struct, frozen=True):
    """Result of Settle: False when there is no such row (nothing was changed), and the rows of the outputs."""

    done: bool
    rows: tuple[Row, ...] = ()


Result = Stored | SettledRow | tuple[Row, ...] | None  # Unshunt gives the rows as they are now; the rest None


class Counters(Struct, kw_only=True, omit_defaults=True):
    """Per queue, since the journal was made (DESIGN P6); the gauges are derived from the rows."""

    accepted: int = 0
    produced: int = 0
    released: int = 0
    done: int = 0
    dropped: int = 0
    suppressed: int = 0
    held: int = 0


class Shunted(Struct, frozen=True, kw_only=True):
    """One shunted item, for a person."""

    row: int
    item: Item
    reason: str
    detail: str
    at_ms: int
    attempts: int
    crashes: int


class Work(Struct, frozen=True, kw_only=True):
    """All that a lease needs of one item."""

    item: Item
    content: bytes
    recipients: bytes | None
    notes: tuple[Note, ...]


class Journal(Protocol):
    """One open journal. Raises Full (nothing of the batch is applied), Broken (end this process), Corrupt (this body alone)."""

    def open(self) -> str:
        """Own the journal, bring its schema up to date, count its epoch up and return it; raises Busy, Broken or Unusable."""

    def recover(self) -> Iterator[Row]:
        """Give every row, in order of (place, row)."""

    def apply(self, batch: Sequence[Op], now_ms: int) -> list[Result]:
        """Do all of the batch in one durable transaction; one result an op."""

    @property
    def is_behind(self) -> bool:
        """Whether `tidy` has something to do."""

    def tidy(self) -> None:
        """Do what was put off so that `apply` is quick; call it when the results of a batch were told. Raises Broken."""

    def fetch(self, rows: Sequence[int]) -> list[Work]:
        """Read what is to be leased; raises Corrupt naming the row when a body is not what was stored."""

    def counters(self) -> dict[Queue, Counters]:
        """Return the counters of every queue that ever had an item."""

    def paused(self) -> frozenset[Queue]:
        """Return the queues that a person paused."""

    def shunted(
        self, queue: Queue | None, list_id: ListId | None, after_row: int, limit: int
    ) -> list[Shunted]:
        """Return shunted items in order of row."""

    def find(self, text: str) -> list[tuple[Row, Item, tuple[Note, ...], str]]:
        """Return what is stored of an item id, root id or Message-ID: row, item, notes, last reason."""

    def existing(self, ids: Sequence[ItemId]) -> frozenset[ItemId]:
        """Return those of the ids that have a row in any state."""

    def free_octets(self) -> tuple[int, int]:
        """Return free and total octets of the file system that the journal is on."""

    def give_up_ballast(self) -> None:
        """Free the space that is kept for a full disk."""

    def restore_ballast(self) -> None:
        """Take it again; quietly does nothing while there is too little space."""

    def close(self) -> None:
        """Checkpoint and let go."""


class JournalError(Exception):
    """Base of what a journal raises."""


class Full(JournalError):
    """No space; nothing of the batch was applied, and the journal can be used further."""


class Busy(JournalError):
    """Another process owns this journal."""


class Unusable(JournalError):
    """The folder cannot be written, is on a network file system, or the schema is of a later version."""


class Broken(JournalError):
    """The disk failed. What was being written may or may not be there: only a new start can tell."""


class Corrupt(JournalError):
    """A body is not what was stored; `row` names the item."""

    def __init__(self, row: int, text: str) -> None:
        super().__init__(text)
        self.row = row
