"""A process that works on a journal, tells each confirmed batch on stdout, and dies where POSTROOM_FAILPOINTS says.

`python -m tests.unit.journal.crashing JOURNAL store|settle|load [SPILL_ABOVE]`; with a large SPILL_ABOVE all of it goes through the log
"""

import os
import sys
from pathlib import Path

from bus.journal.api import Settle, Stored, Trim, Write
from bus.journal.sqlite import SqliteJournal
from tests.unit.journal.builders import NOW_MS, SMALL, make_note, make_output, make_store

SPILL_ABOVE = 1000  # octets


def store(journal: SqliteJournal) -> None:
    """Confirm "first", then store "second" with a large body."""
    for name, content in (("first", b"small"), ("second", bytes(5000))):
        journal.apply([make_store(name, content=content)], NOW_MS)
        print(name, flush=True)


def settle(journal: SqliteJournal) -> None:
    """Confirm "parent", then settle it with two outputs, one of them with a large body of its own."""
    (stored,) = journal.apply([make_store("parent", content=bytes(5000))], NOW_MS)
    assert isinstance(stored, Stored)
    print("parent", flush=True)
    outputs = (make_output("same body"), make_output("own body", 0))
    journal.apply([Settle(row=stored.rows[0].row, outputs=outputs, bodies=(bytes(6000),))], NOW_MS)
    print("settled", flush=True)


def load(journal: SqliteJournal) -> None:
    """Work without end: in each batch new mail, hops and notes; mail stays queued after its second hop."""
    waiting: list[int] = []
    life = os.getpid()
    for number in range(1_000_000):
        size = 5000 if number % 7 == 0 else 500
        stores = [make_store(f"{life}-{number}-{n}", content=bytes(size)) for n in range(3)]
        notes = [Write(row=row, note=make_note(0)) for row in waiting]
        hops = [
            Settle(row=row, outputs=(make_output(f"hop {row}", -(n % 2)),), bodies=(bytes(2000),))
            for n, row in enumerate(waiting)
        ]
        results = journal.apply([*stores, *notes, *hops, Trim()], NOW_MS)
        if number % 20 == 16:
            journal.counters()  # the database follows the log
        waiting = [row.row for result in results if isinstance(result, Stored) for row in result.rows]
        print(f"{life}-{number}", flush=True)


if __name__ == "__main__":
    spill_above = int(sys.argv[3]) if len(sys.argv) > 3 else SPILL_ABOVE
    journal = SqliteJournal(Path(sys.argv[1]), SMALL, spill_above)
    journal.open()
    {"store": store, "settle": settle, "load": load}[sys.argv[2]](journal)
