"""Both engines are one journal: whatever is done to them in whatever order, nobody can tell them apart."""

import os
import shutil
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from bus.journal.api import (
    Acknowledged,
    Blame,
    Defer,
    Drop,
    Full,
    Journal,
    Op,
    Pause,
    Settle,
    Shunt,
    Store,
    Trim,
    Unshunt,
    Write,
)
from bus.journal.memory import MemoryJournal
from bus.journal.sqlite import SqliteJournal
from config.names import ListId, Queue
from tests.unit.journal.builders import (
    HOUR_MS,
    NOW_MS,
    SMALL,
    assert_books_balance,
    ids,
    make_item,
    make_note,
    make_output,
)

NAMES = [f"item {n}" for n in range(12)]
QUEUES = [Queue("incoming"), Queue("outgoing"), Queue("archive")]
LISTS = [ListId("ant.example.org"), ListId("bee.example.org"), ListId("")]
FAST_FOLDER = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # fsync is another test's subject

names = st.sampled_from(NAMES)
queues = st.sampled_from(QUEUES)
lists = st.sampled_from(LISTS)
due = st.none() | st.integers(-5, 500).map(
    lambda hours: datetime(2026, 11, 18, tzinfo=UTC) + timedelta(hours=hours)
)
contents = st.sampled_from([b"", b"short", b"longer than what stays in a row"])
fields = st.fixed_dictionaries(
    {"queue": queues, "list_id": lists, "due_at": due, "message_id": st.sampled_from(["", "<1@x>", "<2@x>"])}
)
keys = st.sampled_from([b"", b"key 1", b"key 2", b"key 3"])
rows = st.integers(1, 12)
some_rows = st.lists(rows, max_size=3).map(tuple)


@st.composite
def stores(draw: st.DrawFn) -> Store:
    items = tuple(make_item(draw(names), **draw(fields)) for _ in range(draw(st.integers(1, 3))))
    content_keys = tuple(draw(keys) for _ in items) if draw(st.booleans()) else ()
    return Store(items=items, content=draw(contents), content_keys=content_keys, released=draw(st.booleans()))


@st.composite
def settles(draw: st.DrawFn, row: int) -> Settle:
    bodies = tuple(draw(st.lists(contents, max_size=2)))
    last = len(bodies) - 1
    outputs = tuple(
        make_output(
            f"output {draw(st.integers(0, 20))}",
            draw(st.integers(-1, last)),
            draw(st.none() | st.integers(-1, last)),
            **draw(fields),
        )
        for _ in range(draw(st.integers(0, 3)))
    )
    return Settle(row=row, outputs=outputs, bodies=bodies, held=draw(st.booleans()))


def operations(row: st.SearchStrategy[int]) -> st.SearchStrategy[Op]:
    """Make any operation; `row` says which rows it is about."""
    number = st.integers(0, 3)
    notes = st.builds(
        lambda n, done, who: make_note(n, done=done, instance=who),
        number,
        st.booleans(),
        st.sampled_from("ab"),
    )
    return st.one_of(
        stores(),
        row.flatmap(settles),
        st.builds(
            Defer, row=row, due_ms=number, attempts=number, first_retry_ms=number, reason=st.just("later")
        ),
        st.builds(Blame, row=row, crashes=number, suspect=st.booleans()),
        st.builds(Shunt, row=row, reason=st.sampled_from(["a", "b"]), detail=st.sampled_from(["", "d"])),
        st.builds(Unshunt, rows=some_rows),
        st.builds(Drop, rows=some_rows),
        st.builds(Write, row=row, note=notes),
        st.builds(Acknowledged, ids=st.lists(names, max_size=3).map(lambda found: ids(*found))),
        st.builds(Pause, queue=queues, paused=st.booleans()),
        st.just(Trim()),
    )


def observe(journal: Journal) -> dict[str, Any]:
    """Ask a journal everything that it can be asked."""
    found = list(journal.recover())
    return {
        "rows": found,
        "works": journal.fetch([row.row for row in found]),
        "counters": journal.counters(),
        "paused": journal.paused(),
        "shunted": [journal.shunted(queue, ListId(""), 0, 100) for queue in QUEUES]
        + [journal.shunted(None, None, 2, 2)],
        "found": [journal.find(text) for text in (*ids("item 1", "output 1"), "<1@x>")],
        "existing": journal.existing(ids(*NAMES)),
    }


class Lockstep(RuleBasedStateMachine):
    """SQLite, with the longer bodies in files, beside memory."""

    @initialize()
    def open(self) -> None:
        self.folder = Path(tempfile.mkdtemp(dir=FAST_FOLDER))
        self.memory = MemoryJournal()
        self.sqlite = SqliteJournal(self.folder / "journal.db", SMALL, spill_above=10)
        self.now_ms = NOW_MS
        self.memory.open()
        self.sqlite.open()

    @property
    def here(self) -> list[int]:
        return [row.row for row in self.memory.recover()]

    def apply(self, batch: Sequence[Op]) -> None:
        assert self.memory.apply(batch, self.now_ms) == self.sqlite.apply(batch, self.now_ms)

    @rule(batch=st.lists(operations(rows), min_size=1, max_size=4))
    def apply_any(self, batch: list[Op]) -> None:
        self.apply(batch)

    @precondition(lambda self: self.here)
    @rule(data=st.data())
    def apply_to_what_is_here(self, data: st.DataObject) -> None:
        self.apply(data.draw(st.lists(operations(st.sampled_from(self.here)), min_size=1, max_size=4)))

    @rule(batch=st.lists(stores(), min_size=1, max_size=2))
    def fail_for_space(self, batch: list[Op]) -> None:
        """Memory says Full and keeps nothing; what SQLite does then is test_full.py's."""
        self.memory.full = True
        with pytest.raises(Full):
            self.memory.apply(batch, self.now_ms)
        self.memory.full = False

    @rule(hours=st.sampled_from([1, 12, 23, 25, 47, 49, -13, -50]))
    def move_the_clock(self, hours: int) -> None:
        self.now_ms += hours * HOUR_MS

    @rule()
    def restart(self) -> None:
        self.memory.close()
        self.sqlite.close()
        self.memory.open()
        self.sqlite = SqliteJournal(self.folder / "journal.db", SMALL, spill_above=10)
        self.sqlite.open()

    @invariant()
    def nobody_can_tell_them_apart(self) -> None:
        assert observe(self.sqlite) == observe(self.memory)
        assert_books_balance(self.sqlite)

    def teardown(self) -> None:
        for row in self.here:
            self.apply([Settle(row=row)])
        self.sqlite._this.ahead.follow()
        connection = self.sqlite._this.database.connection
        assert connection.execute("SELECT count(*) FROM body").fetchone() == (0,)
        assert not list((self.folder / "journal.db.bodies").glob("*"))
        self.sqlite.close()
        shutil.rmtree(self.folder)


class LockstepAhead(Lockstep):
    """The same, asked seldom, so that SQLite's database stays behind its log, and cut off in the middle."""

    def nobody_can_tell_them_apart(self) -> None:
        """Not after each step."""

    nobody_can_tell_them_apart = invariant()(nobody_can_tell_them_apart)

    @rule()
    def ask(self) -> None:
        assert observe(self.sqlite) == observe(self.memory)
        assert_books_balance(self.sqlite)

    @rule()
    def fetch(self) -> None:
        rows = self.here
        assert self.sqlite.fetch(rows) == self.memory.fetch(rows)

    @rule()
    def tidy(self) -> None:
        self.sqlite._this.ahead.follow()

    @rule()
    def cut_the_power(self) -> None:
        """Go on with a copy of the files as they are now."""
        folder = Path(tempfile.mkdtemp(dir=FAST_FOLDER))
        shutil.copytree(self.folder, folder, dirs_exist_ok=True)
        self.sqlite.close()
        shutil.rmtree(self.folder)
        self.folder = folder
        self.memory.crash()
        self.memory.open()
        self.sqlite = SqliteJournal(self.folder / "journal.db", SMALL, spill_above=10)
        self.sqlite.open()


TestLockstepAhead = pytest.mark.slow(LockstepAhead.TestCase)
TestLockstepAhead.settings = settings(
    max_examples=100, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestLockstep = pytest.mark.slow(Lockstep.TestCase)
TestLockstep.settings = settings(
    max_examples=100, stateful_step_count=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
