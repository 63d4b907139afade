"""A bench with each engine (SQLite once with bodies in rows and once with bodies in files), and small disks."""

import os
import subprocess
from collections.abc import Callable, Iterator
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


@pytest.fixture
def mount() -> Iterator[Callable[[Path, str], None]]:
    """Mount a tmpfs on a new folder, with options; unmounted after the test."""
    mounted: list[Path] = []

    def mount_at(folder: Path, options: str) -> None:
        folder.mkdir(mode=0o700)
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            text = f"cannot mount a tmpfs: {done.stderr.strip()}"
            if os.environ.get("CI"):
                pytest.fail(text)
            pytest.skip(text)
        mounted.append(folder)

    yield mount_at
    for folder in mounted:
        subprocess.run(["umount", str(folder)], check=True)
