"""A journal without a disk, for the simulator and for tests of what stands on a journal.

Does what sqlite.py does, over dicts; passes the same suite. The object is the disk: `close` and `open` are a restart and keep everything,
`crash` is the death of the owner. Faults are set by hand: `full`, `broken`, `damage`.
"""

import copy
from collections.abc import Iterator, Sequence

import msgspec

from bus.journal.api import (
    Broken,
    Busy,
    Corrupt,
    Counters,
    Full,
    Op,
    Result,
    Row,
    Shunted,
    State,
    Work,
)
from bus.journal.batch import (
    SEEN_MS,
    TRIM,
    Changes,
    Entry,
    Known,
    Wanted,
    is_id,
    is_within,
    read_item,
    show_shunted,
    wanted,
)
from bus.journal.ledger import Ledger
from bus.messages import Item, Note, decode_item
from config.names import ItemId, ListId, Queue

SPACE = 2**40  # octets, free and in all, unless a test says otherwise


class Disk:
    """What outlives a process."""

    def __init__(self) -> None:
        self.known = Known(entries={}, rows={}, seen={}, unreplied={}, refs={}, notes={})
        self.bodies: dict[int, bytes] = {}
        self.counters: dict[Queue, Counters] = {}
        self.paused: set[Queue] = set()
        self.epoch = 0
        self.next_row = 1
        self.next_body = 1

    def load(self, want: Wanted) -> Known:
        """Copy what a batch names: it may fail, and then nothing has happened."""
        all_ = self.known
        keys = want.keys | {all_.seen[id_].key for id_ in want.published if id_ in all_.seen}
        entries = {row: _copy(all_.entries[row]) for row in want.rows if row in all_.entries}
        return Known(
            entries=entries,
            rows={
                **{id_: all_.rows[id_] for id_ in want.ids if id_ in all_.rows},
                **{entry.row.id: row for row, entry in entries.items()},
            },
            seen={id_: all_.seen[id_] for id_ in want.published if id_ in all_.seen},
            unreplied={key: all_.unreplied[key] for key in keys if key in all_.unreplied},
            notes={row: dict(all_.notes[row]) for row in want.noted if row in all_.notes},
        )

    def save(self, changes: Changes, now_ms: int) -> None:
        """Make the changes of a batch last."""
        self._save_entries(changes)
        for id_, seen in changes.seen.items():
            self.known.seen.pop(id_, None)  # the newest comes last
            self.known.seen[id_] = seen
        for key, first in changes.unreplied.items():
            self.known.unreplied.pop(key, None)
            if first is not None:
                self.known.unreplied[key] = first
        for row, notes in changes.notes.items():
            self.known.notes.setdefault(row, {}).update(notes)
        for queue, more in changes.counts.items():
            counts = self.counters.setdefault(queue, Counters())
            for name in Counters.__struct_fields__:
                setattr(counts, name, getattr(counts, name) + getattr(more, name))
        for queue, paused in changes.paused.items():
            (self.paused.add if paused else self.paused.discard)(queue)
        if changes.trim:
            self._trim(now_ms)

    def _save_entries(self, changes: Changes) -> None:
        for row, item_id in changes.removed.items():
            del self.known.entries[row]
            del self.known.rows[item_id]
            self.known.notes.pop(row, None)
        for row, entry in {**changes.added, **changes.updated}.items():
            self.known.entries[row] = _copy(entry)
            self.known.rows[entry.row.id] = row
        self.bodies.update(changes.bodies)
        for body, more in changes.uses.items():
            refs = self.known.refs.get(body, 0) + more
            if refs > 0:
                self.known.refs[body] = refs
            else:
                self.known.refs.pop(body, None)
                self.bodies.pop(body, None)

    def _trim(self, now_ms: int) -> None:
        oldest = list(self.known.seen.values())[:TRIM]
        for seen in [seen for seen in oldest if not is_within(SEEN_MS, seen.at_ms, now_ms)]:
            del self.known.seen[seen.id]
            first = self.known.unreplied.get(seen.key)
            if first is not None and first[1] <= seen.at_ms:
                del self.known.unreplied[seen.key]


class MemoryJournal:
    """A journal in memory, with faults on demand."""

    def __init__(self) -> None:
        self.full = False  # raise Full until it is set back
        self.broken: str = ""  # raise Broken once: "before" or "after" the batch is there
        self.space = (SPACE, SPACE)
        self.ballast = True
        self._disk = Disk()
        self._open = False

    def damage(self, row: int) -> None:
        """Change the content of this row, and of all that share it."""
        body = self._disk.known.entries[row].body
        self._disk.bodies.pop(body)

    def crash(self) -> None:
        """Let the owner die: the journal can be opened by another."""
        self._open = False

    def open(self) -> str:
        """Own the journal, count its epoch up and return it; raises Busy."""
        if self._open:
            raise Busy("the journal is in use")
        self._open = True
        self._disk.epoch += 1
        return f"{self._disk.epoch}.{0:08x}"  # no random: a simulation repeats exactly

    def recover(self) -> Iterator[Row]:
        """Give every row, in order of (place, row)."""
        rows = [copy.copy(entry.row) for entry in self._owned().known.entries.values()]
        yield from sorted(rows, key=lambda row: (row.place, row.row))

    def _owned(self) -> Disk:
        if not self._open:
            raise RuntimeError("the journal is not open")
        return self._disk

    def apply(self, batch: Sequence[Op], now_ms: int) -> list[Result]:
        """Do all of the batch; one result an op. Raises Full, Broken; ValueError for a wrong op."""
        disk = self._owned()
        want = wanted(batch)
        if self.full:
            raise Full("no space")
        ledger = Ledger(disk.load(want), disk.next_row, disk.next_body, now_ms)
        results = [ledger.apply(op) for op in batch]
        broken, self.broken = self.broken, ""
        if broken == "before":
            raise Broken("before the commit")
        disk.save(ledger.changes, now_ms)
        disk.next_row, disk.next_body = ledger.next_row, ledger.next_body
        if broken:
            raise Broken("after the commit")
        return results

    @property
    def is_behind(self) -> bool:
        """Nothing is put off."""
        return False

    def tidy(self) -> None:
        """Nothing was put off."""

    def fetch(self, rows: Sequence[int]) -> list[Work]:
        """Read what is to be leased; raises Corrupt for what was damaged, KeyError for a row that is not there."""
        disk = self._owned()
        entries = [disk.known.entries[row] for row in rows]
        for entry in entries:
            if entry.body not in disk.bodies:
                raise Corrupt(entry.row.row, f"body {entry.body} is not what was stored")
        return [
            Work(
                item=decode_item(entry.env),
                content=disk.bodies[entry.body],
                recipients=disk.bodies[entry.recipients] if entry.recipients else None,
                notes=self._notes(entry),
            )
            for entry in entries
        ]

    def _notes(self, entry: Entry) -> tuple[Note, ...]:
        return tuple(note for _, note in sorted(self._disk.known.notes.get(entry.row.row, {}).items()))

    def counters(self) -> dict[Queue, Counters]:
        """Return the counters of every queue that ever had an item."""
        return {queue: copy.copy(counts) for queue, counts in sorted(self._owned().counters.items())}

    def paused(self) -> frozenset[Queue]:
        """Return the queues that a person paused."""
        return frozenset(self._owned().paused)

    def shunted(
        self, queue: Queue | None, list_id: ListId | None, after_row: int, limit: int
    ) -> list[Shunted]:
        """Return shunted items in order of row."""
        entries = [entry for _, entry in sorted(self._owned().known.entries.items())]
        return [
            show_shunted(entry)
            for entry in entries
            if entry.row.state is State.SHUNTED
            and entry.row.row > after_row
            and queue in (None, entry.row.queue)
            and list_id in (None, entry.row.list_id)
        ][:limit]

    def find(self, text: str) -> list[tuple[Row, Item, tuple[Note, ...], str]]:
        """Return what is stored of an item id, root id or Message-ID: row, item, notes, last reason."""
        return [
            (copy.copy(entry.row), read_item(entry), self._notes(entry), entry.reason)
            for _, entry in sorted(self._owned().known.entries.items())
            if (text in (entry.row.id, entry.root) if is_id(text) else text == entry.message_id)
        ]

    def existing(self, ids: Sequence[ItemId]) -> frozenset[ItemId]:
        """Return those of the ids that have a row in any state."""
        return frozenset(id_ for id_ in ids if id_ in self._owned().known.rows)

    def free_octets(self) -> tuple[int, int]:
        """Return free and total octets, as a test has set them."""
        return self.space

    def give_up_ballast(self) -> None:
        """Note that it was given up."""
        self.ballast = False

    def restore_ballast(self) -> None:
        """Note that it is there again."""
        self.ballast = True

    def close(self) -> None:
        """Let go."""
        self._open = False


def _copy(entry: Entry) -> Entry:
    return msgspec.structs.replace(entry, row=copy.copy(entry.row))
