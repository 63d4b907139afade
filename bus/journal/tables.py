"""SQL of the SQLite journal: reads what a batch names, writes what it changed.

Statements take many rows each: sqlite3 lets go of the interpreter lock at every step, and a commit thread that must win it back for each
row waits behind a busy main loop. Their texts come in few sizes, so that each is prepared once. Callers own the transaction.
"""

import functools
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

import msgspec

from bus.journal.absence import MOST_KEYS, TIMED_BELOW, Absence, first_timed
from bus.journal.api import Corrupt, Counters, Row, State
from bus.journal.batch import SEEN_MS, TRIM, Changes, Entry, Known, Seen, Wanted, is_within
from bus.messages import Note
from config.names import ItemId

SIZES = (64, 16, 4, 1)  # rows or keys of one statement
VACUUM_ABOVE = 64 * 2**20  # octets of free pages that are worth giving back; the next burst needs the rest
VACUUM_PAGES = 500  # given back by one Trim

ROW = (
    "item.row, item.id, queue, list_id, place, state, due_ms, accepted_ms, entered_ms, size, attempts, "
    "first_retry_ms, crashes, suspect, begun_by"
)
ENTRY = f"{ROW}, body, recipients, root, message_id, env, reason, detail, shunted_ms"
_COUNTERS = tuple(Counters.__struct_fields__)

_encode_note = msgspec.msgpack.Encoder().encode
_decode_note = msgspec.msgpack.Decoder(Note).decode


def primary_code(error: sqlite3.Error) -> int:
    """Return the error's result code without its details (sqlite.org/rescode.html); -1 when the module itself complained."""
    code = getattr(error, "sqlite_errorcode", None)
    return -1 if code is None else code & 0xFF


# many at once ---------------------------------------------------------------------------------------------------------


@functools.cache
def _values(columns: int, rows: int) -> str:
    row = f"({', '.join('?' * columns)})"
    return ", ".join([row] * rows)


def insert(connection: sqlite3.Connection, head: str, rows: Sequence[tuple[object, ...]]) -> None:
    """Insert rows; `head` is everything before VALUES."""
    at = 0
    while at < len(rows):
        size = next(size for size in SIZES if size <= len(rows) - at)
        part = rows[at : at + size]
        connection.execute(
            f"{head} VALUES {_values(len(part[0]), size)}", [value for row in part for value in row]
        )
        at += size


def select(connection: sqlite3.Connection, head: str, keys: Collection[object]) -> Iterator[Any]:
    """Run a statement that ends in IN, for all keys, and give its rows. An iterator: nothing runs before it is read."""
    values = list(keys)
    at = 0
    while at < len(values):
        part = values[at : at + SIZES[0]]
        size = next(size for size in reversed(SIZES) if size >= len(part))
        part += [part[-1]] * (size - len(part))  # the same key again finds nothing new
        yield from connection.execute(f"{head} {_values(size, 1)}", part).fetchall()
        at += size


def delete(connection: sqlite3.Connection, head: str, keys: Collection[object]) -> None:
    """Run a statement that ends in IN, for all keys."""
    for _ in select(connection, head, keys):
        pass


# rows -----------------------------------------------------------------------------------------------------------------


def to_id(octets: bytes | None) -> ItemId:
    """Read an id as it is stored; NULL is ""."""
    return ItemId(octets.hex() if octets else "")


def to_row(columns: Sequence[Any]) -> Row:
    """Read the columns that ROW names."""
    return Row(
        row=columns[0],
        id=ItemId(columns[1].hex()),
        queue=columns[2],
        list_id=columns[3],
        place=columns[4],
        state=State(columns[5]),
        due_ms=columns[6],
        accepted_ms=columns[7],
        entered_ms=columns[8],
        size=columns[9],
        attempts=columns[10],
        first_retry_ms=columns[11],
        crashes=columns[12],
        suspect=bool(columns[13]),
        begun_by=columns[14],
    )


def to_entry(columns: Sequence[Any]) -> Entry:
    """Read the columns that ENTRY names."""
    body, recipients, root, message_id, env, reason, detail, shunted_ms = columns[15:]
    return Entry(to_row(columns), body, recipients, to_id(root), message_id, env, reason, detail, shunted_ms)


def load(connection: sqlite3.Connection, want: Wanted) -> Known:
    """Read what a batch names."""
    known = Known()
    if want.rows:
        _load_entries(connection, want, known)
    if want.ids:
        ids = [bytes.fromhex(item_id) for item_id in want.ids]
        for row, item_id in select(connection, "SELECT row, id FROM item WHERE id IN", ids):
            known.rows[to_id(item_id)] = row
    keys = set(want.keys)
    if want.published:
        ids = [bytes.fromhex(item_id) for item_id in want.published]
        for item_id, at_ms, key, first in select(
            connection, "SELECT id, at_ms, key, first FROM seen WHERE id IN", ids
        ):
            seen = Seen(to_id(item_id), at_ms, key or b"", to_id(first))
            known.seen[seen.id] = seen
            if key:
                keys.add(key)
    for key, item_id, at_ms in select(connection, "SELECT key, id, at_ms FROM unreplied WHERE key IN", keys):
        known.unreplied[key] = (to_id(item_id), at_ms)
    return known


def load_absence(connection: sqlite3.Connection) -> Absence:
    """Read what is there, so that it is known what is not."""
    newest = [
        first_timed(
            to_id(octets)
            for (octets,) in connection.execute(
                f"SELECT id FROM {table} WHERE id < ? ORDER BY id DESC", (bytes.fromhex(TIMED_BELOW),)
            )
        )
        for table in ("seen", "item")
    ]
    keys = connection.execute("SELECT key FROM unreplied LIMIT ?", (MOST_KEYS + 1,)).fetchall()
    return Absence(max(newest), [key for (key,) in keys])


def _load_entries(connection: sqlite3.Connection, want: Wanted, known: Known) -> None:
    query = f"SELECT {ROW}, body, recipients, reason, detail, shunted_ms FROM item WHERE row IN"
    for columns in select(connection, query, want.rows):
        row = to_row(columns)
        body, recipients, reason, detail, shunted_ms = columns[15:]
        known.entries[row.row] = Entry(
            row, body, recipients, reason=reason, detail=detail, shunted_ms=shunted_ms
        )
        known.rows[row.id] = row.row
    for row_number, note in load_notes(connection, want.noted):
        known.notes.setdefault(row_number, {})[note.number] = note


def load_notes(connection: sqlite3.Connection, rows: Collection[int]) -> Iterator[tuple[int, Note]]:
    """Read the notes of rows, of each row in order; raises Corrupt."""
    for row, data in select(connection, "SELECT row, note FROM note WHERE row IN", rows):
        try:
            yield row, _decode_note(data)
        except msgspec.DecodeError as error:
            raise Corrupt(row, f"a note of row {row}: {error}") from error


# changes --------------------------------------------------------------------------------------------------------------


def save(connection: sqlite3.Connection, changes: Changes, now_ms: int) -> None:
    """Write what a batch changed, but for bodies."""
    if changes.removed:
        delete(connection, "DELETE FROM item WHERE row IN", changes.removed)
        delete(connection, "DELETE FROM note WHERE row IN", changes.removed)
    _insert_entries(connection, changes.added.values())
    if changes.updated:
        _update_entries(connection, changes.updated.values())
    _save_seen(connection, changes)
    notes = [
        (row, number, _encode_note(note))
        for row, numbered in changes.notes.items()
        for number, note in numbered.items()
    ]
    insert(connection, "INSERT OR REPLACE INTO note (row, number, note)", notes)
    _save_counts(connection, changes)
    for queue, paused in changes.paused.items():
        statement = (
            "INSERT OR IGNORE INTO paused VALUES (?)" if paused else "DELETE FROM paused WHERE queue = ?"
        )
        connection.execute(statement, (queue,))
    if changes.trim:
        _trim(connection, now_ms)
        _give_back(connection, above=0 if changes.shrink else VACUUM_ABOVE)


def _insert_entries(connection: sqlite3.Connection, entries: Iterable[Entry]) -> None:
    head = (
        "INSERT INTO item (row, id, queue, list_id, place, state, due_ms, accepted_ms, entered_ms, size, "
        "body, recipients, root, message_id, env)"
    )
    rows: list[tuple[object, ...]] = []
    for entry in entries:
        row = entry.row
        rows.append(
            (
                row.row,
                bytes.fromhex(row.id),
                row.queue,
                row.list_id,
                row.place,
                int(row.state),
                row.due_ms,
                row.accepted_ms,
                row.entered_ms,
                row.size,
                entry.body,
                entry.recipients,
                bytes.fromhex(entry.root),
                entry.message_id,
                entry.env,
            )
        )
    insert(connection, head, rows)


def _update_entries(connection: sqlite3.Connection, entries: Iterable[Entry]) -> None:
    connection.executemany(
        "UPDATE item SET state = ?, due_ms = ?, attempts = ?, first_retry_ms = ?, crashes = ?, suspect = ?, "
        "begun_by = ?, reason = ?, detail = ?, shunted_ms = ? WHERE row = ?",
        [
            (
                int(entry.row.state),
                entry.row.due_ms,
                entry.row.attempts,
                entry.row.first_retry_ms,
                entry.row.crashes,
                int(entry.row.suspect),
                entry.row.begun_by,
                entry.reason,
                entry.detail,
                entry.shunted_ms,
                entry.row.row,
            )
            for entry in entries
        ],
    )


def _save_seen(connection: sqlite3.Connection, changes: Changes) -> None:
    rows = [
        (bytes.fromhex(seen.id), seen.at_ms, seen.key or None, bytes.fromhex(seen.first) or None)
        for seen in changes.seen.values()
    ]
    insert(connection, "INSERT OR REPLACE INTO seen (id, at_ms, key, first)", rows)
    keys: list[tuple[object, ...]] = []
    forgotten: list[bytes] = []
    for key, first in changes.unreplied.items():
        if first is None:
            forgotten.append(key)
        else:
            keys.append((key, bytes.fromhex(first[0]), first[1]))
    insert(connection, "INSERT OR REPLACE INTO unreplied (key, id, at_ms)", keys)
    delete(connection, "DELETE FROM unreplied WHERE key IN", forgotten)


def _save_counts(connection: sqlite3.Connection, changes: Changes) -> None:
    added = ", ".join(f"{name} = {name} + excluded.{name}" for name in _COUNTERS)
    connection.executemany(
        f"INSERT INTO counter (queue, {', '.join(_COUNTERS)}) VALUES {_values(1 + len(_COUNTERS), 1)} "
        f"ON CONFLICT (queue) DO UPDATE SET {added}",
        [(queue, *msgspec.structs.astuple(counts)) for queue, counts in changes.counts.items()],
    )


def count_uses(connection: sqlite3.Connection, changes: Changes) -> list[int]:
    """Write down how many items use the bodies that were there before; returns those that nobody uses now, deleted."""
    dropped: list[int] = []
    counted: list[tuple[int, int]] = []
    used = {body: more for body, more in changes.uses.items() if more and body not in changes.bodies}
    found = dict(select(connection, "SELECT id, refs FROM body WHERE id IN", used))
    for body, more in used.items():
        refs = found.get(body, 0) + more
        if refs > 0:
            counted.append((refs, body))
        else:
            dropped.append(body)
    if counted:
        connection.executemany("UPDATE body SET refs = ? WHERE id = ?", counted)
    if dropped:
        delete(connection, "DELETE FROM octets WHERE body IN", dropped)
        delete(connection, "DELETE FROM body WHERE id IN", dropped)
    return dropped


def _trim(connection: sqlite3.Connection, now_ms: int) -> None:
    """Forget the oldest ids when they are out of their window."""
    query = "SELECT number, at_ms, key FROM seen ORDER BY number LIMIT ?"
    old = [
        row for row in connection.execute(query, (TRIM,)).fetchall() if not is_within(SEEN_MS, row[1], now_ms)
    ]
    delete(connection, "DELETE FROM seen WHERE number IN", [number for number, _, _ in old])
    # A key that a later mail has taken over has its own time. Beyond 24 h it counts no more even while it is there.
    connection.executemany(
        "DELETE FROM unreplied WHERE key = ? AND at_ms <= ?", [(key, at_ms) for _, at_ms, key in old if key]
    )


def _give_back(connection: sqlite3.Connection, above: int) -> None:
    """Let the file shrink after a burst. One page a statement: sqlite3 makes one step of this pragma, which is one page."""
    (free,) = connection.execute("PRAGMA freelist_count").fetchone()
    (page_size,) = connection.execute("PRAGMA page_size").fetchone()
    if free * page_size > above:
        for _ in range(min(free, VACUUM_PAGES)):
            connection.execute("PRAGMA incremental_vacuum(1)")


def load_counters(connection: sqlite3.Connection) -> Iterator[tuple[str, Counters]]:
    """Read the counters of every queue that ever had an item."""
    for queue, *counts in connection.execute(
        f"SELECT queue, {', '.join(_COUNTERS)} FROM counter ORDER BY queue"
    ):
        yield queue, Counters(**dict(zip(_COUNTERS, counts, strict=True)))
