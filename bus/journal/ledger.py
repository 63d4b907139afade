"""What each operation does to the books, without a disk: the rules that every engine shares.

A Ledger applies the operations of one batch, one after another, to what was loaded, and collects the changes. Nothing here
reads a clock, a file or a table; a failed batch is forgotten by dropping its Ledger. What a state means for leasing is dispatch's.

Books (DESIGN P6), per queue: accepted + produced + released = done + dropped + suppressed + held + rows.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import assert_never

import msgspec

from bus.journal.api import (
    Acknowledged,
    Blame,
    Counters,
    Defer,
    Drop,
    Op,
    Pause,
    Result,
    Row,
    Settle,
    SettledRow,
    Shunt,
    State,
    Store,
    Stored,
    Trim,
    Unshunt,
    Write,
)
from bus.journal.batch import RESENT_MS, SEEN_MS, Changes, Entry, Known, Seen, is_within
from bus.messages import Item
from config.names import ItemId, Queue

encode_item = msgspec.msgpack.Encoder().encode


class Ledger:
    """One batch under way. `next_row` and `next_body` are the next numbers to give out."""

    def __init__(self, known: Known, next_row: int, next_body: int, now_ms: int) -> None:
        self.known = known
        self.changes = Changes()
        self.next_row = next_row
        self.next_body = next_body
        self._now_ms = now_ms

    def apply(self, op: Op) -> Result:
        """Do one operation; what it changes is seen by the next."""
        match op:
            case Store():
                return self._store(op)
            case Settle():
                return self._settle(op)
            case Write():
                self._write(op)
            case Defer() | Blame() | Shunt():
                self._mark(op)
            case Unshunt():
                return self._unshunt(op)
            case Drop():
                self._drop(op)
            case Acknowledged():
                self._acknowledge(op)
            case Pause():
                self.changes.paused[op.queue] = op.paused
            case Trim():
                self.changes.trim = True
                self.changes.shrink |= op.shrink
            case _:
                assert_never(op)
        return None

    def _count(self, queue: Queue) -> Counters:
        counts = self.changes.counts.get(queue)
        if counts is None:
            counts = self.changes.counts[queue] = Counters()
        return counts

    # in ---------------------------------------------------------------------------------------------------------------

    def _store(self, op: Store) -> Stored:
        keys = op.content_keys or (b"",) * len(op.items)
        ids: list[ItemId] = []
        fresh: list[Item] = []
        for item, key in zip(op.items, keys, strict=True):
            counts = self._count(item.queue)
            if op.released:
                counts.released += 1
            else:
                counts.accepted += 1
            first = self._find_first(item.id, key)
            if first is None:
                self._remember(Seen(item.id, self._now_ms, key))
                fresh.append(item)
            else:
                counts.suppressed += 1
            ids.append(first or item.id)
        if not fresh:
            return Stored(tuple(ids), ())
        body = self._add_body(op.content)
        size = len(op.content)
        return Stored(tuple(ids), tuple([self._add(item, body, 0, size, None) for item in fresh]))

    def _find_first(self, item_id: ItemId, key: bytes) -> ItemId | None:
        """Find the item that this one would be a copy of: itself published again, or the same mail sent again."""
        if item_id in self.known.rows:
            return item_id
        seen = self.known.seen.get(item_id)
        if seen is not None and is_within(SEEN_MS, seen.at_ms, self._now_ms):
            return seen.first or item_id
        first = self.known.unreplied.get(key) if key else None
        if first is None or not is_within(RESENT_MS, first[1], self._now_ms):
            return None
        # Remembered, so that the same publish sent again says the same, even when the first copy was replied to meanwhile.
        self._remember(Seen(item_id, self._now_ms, b"", first[0]))
        return first[0]

    def _remember(self, seen: Seen) -> None:
        self.known.seen[seen.id] = self.changes.seen[seen.id] = seen
        if seen.key:
            entry = (seen.id, self._now_ms)
            self.known.unreplied[seen.key] = self.changes.unreplied[seen.key] = entry

    def _acknowledge(self, op: Acknowledged) -> None:
        for item_id in op.ids:
            seen = self.known.seen.get(item_id)
            if seen is None or not seen.key:
                continue
            first = self.known.unreplied.get(seen.key)
            if first is not None and first[0] == item_id:
                del self.known.unreplied[seen.key]
                self.changes.unreplied[seen.key] = None

    def _add_body(self, content: bytes) -> int:
        body = self.next_body
        self.next_body += 1
        self.changes.bodies[body] = content
        return body

    def _add(self, item: Item, body: int, recipients: int, size: int, place: int | None) -> Row:
        number = self.next_row
        self.next_row += 1
        row = Row(
            row=number,
            id=item.id,
            queue=item.queue,
            list_id=item.list_id,
            place=number if place is None else place,
            state=State.READY if item.due_at is None else State.DEFERRED,
            due_ms=0 if item.due_at is None else _to_ms(item.due_at),
            accepted_ms=_to_ms(item.accepted_at),
            entered_ms=self._now_ms,
            size=size,
        )
        entry = Entry(row, body, recipients, item.root_id, item.message_id, encode_item(item))
        self.known.entries[number] = self.changes.added[number] = entry
        self.known.rows[item.id] = number
        self._use(body, 1)
        if recipients:
            self._use(recipients, 1)
        return row

    def _use(self, body: int, more: int) -> None:
        uses = self.changes.uses
        uses[body] = uses.get(body, 0) + more

    # out --------------------------------------------------------------------------------------------------------------

    def _settle(self, op: Settle) -> SettledRow:
        parent = self.known.entries.get(op.row)
        if parent is None:
            return SettledRow(False)
        counts = self._count(parent.row.queue)
        if op.held:
            counts.held += 1
        else:
            counts.done += 1
        self._remove(parent)
        return SettledRow(True, self._place(op, parent) if op.outputs else ())

    def _place(self, op: Settle, parent: Entry) -> tuple[Row, ...]:
        numbers: dict[int, int] = {}  # which of op.bodies have become a body

        def number_of(index: int) -> int:
            if index not in numbers:
                numbers[index] = self._add_body(op.bodies[index])
            return numbers[index]

        rows: list[Row] = []
        for placed in op.outputs:
            item = placed.item
            counts = self._count(item.queue)
            counts.produced += 1
            if item.id in self.known.rows:
                counts.suppressed += 1
                continue
            own = placed.content >= 0
            body = number_of(placed.content) if own else parent.body
            size = len(op.bodies[placed.content]) if own else parent.row.size
            match placed.recipients:
                case None:
                    recipients = 0
                case -1:
                    recipients = parent.recipients
                case index:
                    recipients = number_of(index)
            stays = item.queue == parent.row.queue and item.list_id == parent.row.list_id
            rows.append(self._add(item, body, recipients, size, parent.row.place if stays else None))
        return tuple(rows)

    def _remove(self, entry: Entry) -> None:
        number = entry.row.row
        del self.known.entries[number]
        del self.known.rows[entry.row.id]
        self.changes.updated.pop(number, None)
        if self.changes.added.pop(number, None) is None:
            self.changes.removed[number] = entry.row.id
        self.changes.notes.pop(number, None)
        self._use(entry.body, -1)
        if entry.recipients:
            self._use(entry.recipients, -1)

    def _drop(self, op: Drop) -> None:
        for entry in self._shunted(op.rows):
            self._count(entry.row.queue).dropped += 1
            self._remove(entry)

    # state ------------------------------------------------------------------------------------------------------------

    def _shunted(self, rows: Iterable[int]) -> list[Entry]:
        found = [self.known.entries.get(row) for row in dict.fromkeys(rows)]
        return [entry for entry in found if entry is not None and entry.row.state is State.SHUNTED]

    def _update(self, entry: Entry) -> None:
        self.changes.updated[entry.row.row] = entry

    def _mark(self, op: Defer | Blame | Shunt) -> None:
        entry = self.known.entries.get(op.row)
        if entry is None:
            return
        row = entry.row
        match op:
            case Defer():
                row.state, row.due_ms = State.DEFERRED, op.due_ms
                row.attempts, row.first_retry_ms = op.attempts, op.first_retry_ms
                entry.reason, entry.detail = op.reason, ""
            case Blame():
                row.crashes, row.suspect = op.crashes, op.suspect
            case Shunt():
                row.state, row.due_ms = State.SHUNTED, 0
                entry.reason, entry.detail, entry.shunted_ms = op.reason, op.detail, self._now_ms
            case _:
                assert_never(op)
        self._update(entry)

    def _unshunt(self, op: Unshunt) -> tuple[Row, ...]:
        entries = self._shunted(op.rows)
        for entry in entries:
            row = entry.row
            row.state, row.due_ms = State.READY, 0
            row.attempts, row.first_retry_ms, row.crashes, row.suspect = 0, 0, 0, False
            self._update(entry)
        return tuple(msgspec.structs.replace(entry.row) for entry in entries)

    def _write(self, op: Write) -> None:
        entry = self.known.entries.get(op.row)
        if entry is None:
            return
        notes = self.known.notes.setdefault(op.row, {})
        old = notes.get(op.note.number)
        if old is not None and old.results is not None and op.note.results is None:
            return  # what was sent stays known, whatever a confused client says
        notes[op.note.number] = op.note
        self.changes.notes.setdefault(op.row, {})[op.note.number] = op.note
        # It is leased: that it once waited must not look, after a start, as if it waited still.
        if op.note.results is None and entry.row.state is State.DEFERRED:
            entry.row.state, entry.row.due_ms = State.READY, 0
        begun = [note for _, note in sorted(notes.items()) if note.results is None]
        entry.row.begun_by = begun[-1].instance if begun else None
        self._update(entry)


def _to_ms(at: datetime) -> int:
    """Count milliseconds since 1970; a time without a zone is UTC, whatever zone this host is in."""
    aware = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
    return int(aware.timestamp() * 1000)
