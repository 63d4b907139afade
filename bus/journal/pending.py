"""What the redo log has and the database has not yet: the sum of all batches since. Pure.

Most mail is settled a moment after it came. In the sum the two cancel out, so that neither its row nor its body ever reaches the
database; its id, the counters and the next numbers do. What a batch must know is looked up here first. A record is the
changes themselves, not the operations: reading it again after a crash decides nothing anew, so it gives what was promised.
"""

from collections.abc import Callable, Sequence

import msgspec
from msgspec import Struct, field
from msgspec.structs import replace

from bus.journal.api import Counters, Work
from bus.journal.batch import Changes, Entry, Known, Wanted
from bus.messages import Note, decode_item
from config.names import ItemId

_LENGTH = 4  # octets that say how long the first part of a record is
_COUNTERS = tuple(Counters.__struct_fields__)


class Numbers(Struct, frozen=True, array_like=True):
    """The next numbers to give out."""

    row: int
    body: int


class Record(Struct, frozen=True, omit_defaults=True):
    """One batch in the log. The octets of its bodies stand behind it, in this order."""

    numbers: Numbers  # after it
    now_ms: int
    changes: Changes
    bodies: dict[int, int] = {}  # number -> octets


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Record).decode


def encode_record(changes: Changes, numbers: Numbers, now_ms: int) -> Sequence[bytes]:
    """Return the parts of a record; bodies are not copied."""
    bodies, changes.bodies = changes.bodies, {}
    sizes = {body: len(data) for body, data in bodies.items()}
    head = _encode(Record(numbers, now_ms, changes, sizes))
    changes.bodies = bodies
    return (len(head).to_bytes(_LENGTH, "little"), head, *bodies.values())


def decode_record(data: memoryview) -> Record:
    """Read a record. Raises msgspec.DecodeError: one of another version."""
    at = _LENGTH + int.from_bytes(data[:_LENGTH], "little")
    record = _decode(data[_LENGTH:at])
    for body, size in record.bodies.items():
        record.changes.bodies[body] = bytes(data[at : at + size])
        at += size
    return record


class Pending(Struct):
    """The sum. `changes` is what is to be written into the database in one transaction."""

    changes: Changes = field(default_factory=Changes)
    now_ms: int = 0  # of the last batch
    octets: int = 0  # of new bodies
    rows: dict[ItemId, int] = field(default_factory=dict)  # ids whose row is new or gone; gone: 0

    # Asking ------------------------------------------------------------------------------------------------------------

    def load(self, want: Wanted, read: Callable[[Wanted], Known]) -> Known:
        """Return what a batch must know; `read` tells what the database has of what is not here."""
        mine = self.changes
        entries = {row: _copy(entry) for row in want.rows if (entry := self._entry(row)) is not None}
        seen = {item_id: mine.seen[item_id] for item_id in want.published if item_id in mine.seen}
        keys = want.keys.union(one.key for one in seen.values() if one.key)
        known = read(
            Wanted(  # written out: set.difference and its like may walk through all of what they are given, thousands here
                rows={row for row in want.rows if row not in entries and row not in mine.removed},
                ids={item_id for item_id in want.ids if item_id not in self.rows},
                published={item_id for item_id in want.published if item_id not in seen},
                keys={key for key in keys if key not in mine.unreplied},
                noted={row for row in want.noted if row not in mine.added and row not in mine.removed},
            )
        )
        known.entries.update(entries)
        known.rows.update((entry.row.id, row) for row, entry in entries.items())
        known.rows.update((item_id, row) for item_id in want.ids if (row := self.rows.get(item_id, 0)))
        keys.update(one.key for one in known.seen.values() if one.key)
        known.seen.update(seen)
        self._correct_keys(keys, known)
        for row in want.noted:
            if row in mine.notes:
                known.notes.setdefault(row, {}).update(mine.notes[row])
        return known

    def _entry(self, row: int) -> Entry | None:
        return self.changes.updated.get(row) or self.changes.added.get(row)

    def _correct_keys(self, keys: set[bytes], known: Known) -> None:
        for key in keys:
            if key not in self.changes.unreplied:
                continue
            first = self.changes.unreplied[key]
            if first is None:
                known.unreplied.pop(key, None)
            else:
                known.unreplied[key] = first

    def work(self, row: int, read: Callable[[int], bytes]) -> Work | None:
        """Return what a lease needs of a new row, None for one that the database has. `read` gives a body that is not new.

        Raises KeyError for a row that is gone.
        """
        mine = self.changes
        if row in mine.removed:
            raise KeyError(row)
        entry = mine.added.get(row)
        if entry is None:
            return None

        def body(number: int) -> bytes:
            data = mine.bodies.get(number)
            return read(number) if data is None else data

        return Work(
            item=decode_item(entry.env),
            content=body(entry.body),
            recipients=body(entry.recipients) if entry.recipients else None,
            notes=self.notes(row, {}),
        )

    def notes(self, row: int, older: dict[int, Note]) -> tuple[Note, ...]:
        """Return the notes of a row in order; `older` are those that the database has."""
        return tuple(note for _, note in sorted({**older, **self.changes.notes.get(row, {})}.items()))

    # Adding ------------------------------------------------------------------------------------------------------------

    def add(self, more: Changes, now_ms: int) -> None:
        """Add the changes of one batch. Their rows are copied: dispatch changes its own."""
        mine = self.changes
        self.now_ms = now_ms
        self._add_entries(more)
        self._add_bodies(more)
        for item_id, seen in more.seen.items():
            mine.seen.pop(item_id, None)  # the newest comes last
            mine.seen[item_id] = seen
        mine.unreplied.update(more.unreplied)
        for queue, counts in more.counts.items():
            total = mine.counts.setdefault(queue, Counters())
            for name in _COUNTERS:
                setattr(total, name, getattr(total, name) + getattr(counts, name))
        mine.paused.update(more.paused)
        mine.trim |= more.trim
        mine.shrink |= more.shrink

    def _add_entries(self, more: Changes) -> None:
        mine = self.changes
        for row, item_id in more.removed.items():
            if mine.added.pop(row, None) is None:
                mine.removed[row] = item_id
            mine.updated.pop(row, None)
            mine.notes.pop(row, None)
            self.rows[item_id] = 0
        for row, entry in more.added.items():
            mine.added[row] = _copy(entry)
            self.rows[entry.row.id] = row
        for row, entry in more.updated.items():
            mine.updated[row] = _copy(entry)
        for row, notes in more.notes.items():
            mine.notes.setdefault(row, {}).update(notes)

    def _add_bodies(self, more: Changes) -> None:
        mine = self.changes
        for body, data in more.bodies.items():
            mine.bodies[body] = data
            self.octets += len(data)
        for body, count in more.uses.items():
            uses = mine.uses.get(body, 0) + count
            if uses <= 0 and body in mine.bodies:
                self.octets -= len(mine.bodies.pop(body))
                mine.uses.pop(body, None)
            else:
                mine.uses[body] = uses


def _copy(entry: Entry) -> Entry:
    return replace(entry, row=replace(entry.row))
