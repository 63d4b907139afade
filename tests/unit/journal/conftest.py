"""A bench with each engine; SQLite once with bodies in rows and once with bodies in files."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from bus.journal.api import Journal
from bus.journal.memory import MemoryJournal
from bus.journal.sqlite import SqliteJournal
from tests.unit.journal.builders import SMALL, Bench


@pytest.fixture(params=["sqlite", "sqlite-files", "memory"])
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    """A journal of each kind, open and empty."""
    memory = MemoryJournal()

    def make() -> Journal:
        match request.param:
            case "sqlite":
                return SqliteJournal(tmp_path / "journal.db", SMALL)
            case "sqlite-files":
                return SqliteJournal(tmp_path / "journal.db", SMALL, spill_above=4)
            case _:
                return memory

    made = Bench(make)
    yield made
    made.journal.close()
