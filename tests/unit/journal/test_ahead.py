"""The log is ahead of the database: what a crash finds, what never reaches the database, and what must be there."""

import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bus.journal import ahead
from bus.journal.api import Acknowledged, Full, Op, Settle, Shunt, Stored, Trim, Unusable, Write
from bus.journal.redo import BLOCK
from bus.journal.sqlite import SqliteJournal
from config.settings import BusSettings
from tests.unit.journal.builders import (
    NOW_MS,
    SMALL,
    Bench,
    assert_books_balance,
    ids,
    make_note,
    make_output,
    make_store,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "var" / "journal.db"


@pytest.fixture
def journal(path: Path) -> Iterator[SqliteJournal]:
    """An open journal; nothing is asked of it, so that its database stays behind."""
    made = SqliteJournal(path, SMALL)
    made.open()
    yield made
    made.close()


def crash(path: Path, to: str = "after") -> Path:
    """Return a copy of all files as a power cut at this moment would leave them."""
    folder = path.parent.with_name(to)
    shutil.copytree(path.parent, folder)
    return folder / path.name


def recovered(path: Path) -> Bench:
    bench = Bench(lambda: SqliteJournal(path, SMALL))
    assert_books_balance(bench.journal)
    return bench


def refuse(path: Path) -> str:
    with pytest.raises(Unusable) as caught:
        SqliteJournal(path, SMALL).open()
    return str(caught.value)


def count(path: Path, table: str) -> int:
    """Count the rows of a table of a journal that nobody has open."""
    connection = sqlite3.connect(path)
    (found,) = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
    connection.close()
    return int(found)


def test_what_was_promised_is_there_after_a_crash(journal: SqliteJournal, path: Path) -> None:
    ops: list[list[Op]] = [
        [make_store("a", "b", content=b"shared"), make_store("c")],
        [Write(row=1, note=make_note(0)), Settle(row=3, outputs=(make_output("d", 0),), bodies=(b"new",))],
        [Shunt(row=2, reason="look"), make_store("e", keys=[b"key"])],
    ]
    for batch in ops:
        journal.apply(batch, NOW_MS)
    bench = recovered(crash(path))
    rows = bench.rows()
    assert [(row.row, row.id) for row in rows.values()] == list(
        zip((1, 2, 4, 5), ids("a", "b", "d", "e"), strict=True)
    )
    works = bench.journal.fetch(list(rows))
    assert [work.content for work in works] == [b"shared", b"shared", b"new", b"content"]
    assert works[0].notes == (make_note(0),)
    assert bench.put("f").row == 6
    bench.journal.close()


def test_a_crash_right_after_a_recovery_takes_nothing_in_twice(journal: SqliteJournal, path: Path) -> None:
    journal.apply([make_store("a"), make_store("b")], NOW_MS)
    journal.apply([Settle(row=1)], NOW_MS)
    first = recovered(crash(path))
    counts = first.counts()
    second = recovered(crash(path.parent.with_name("after") / path.name, "again"))
    assert second.counts() == counts
    assert list(second.rows()) == [2]
    first.journal.close()
    second.journal.close()


def test_the_last_record_may_be_torn(journal: SqliteJournal, path: Path) -> None:
    journal.apply([make_store("a")], NOW_MS)
    journal.apply([make_store("b", content=bytes(9000))], NOW_MS)
    copy = crash(path)
    with copy.with_name("journal.db.redo").open("r+b") as file:
        file.seek(3 * BLOCK)
        file.write(bytes(BLOCK))
        file.seek(2 * BLOCK)
        file.write(b"torn" * 1000)
    bench = recovered(copy)
    assert [row.id for row in bench.rows().values()] == list(ids("a"))
    bench.put("b")
    bench.journal.close()


def test_numbers_are_not_used_again_for_what_never_reached_the_database(
    journal: SqliteJournal, path: Path
) -> None:
    for number in range(3):
        journal.apply([make_store(str(number))], NOW_MS)
        journal.apply([Settle(row=number + 1)], NOW_MS)
    bench = recovered(crash(path))
    assert bench.put("next").row == 4
    bench.restart()
    assert bench.put("one more").row == 5
    bench.journal.close()


def test_what_is_settled_soon_never_reaches_the_database(journal: SqliteJournal, path: Path) -> None:
    connection = journal._this.database.connection
    written: list[str] = []
    journal.apply([make_store("a", content=b"x" * 1000, keys=[b"key"])], NOW_MS)
    journal.apply([Settle(row=1, outputs=(make_output("b"),))], NOW_MS)
    journal.apply([Settle(row=2), Acknowledged(ids=ids("a"))], NOW_MS)
    connection.set_trace_callback(written.append)
    counters = journal.counters()
    connection.set_trace_callback(None)
    tables = {text.split()[text.split().index("INTO") + 1] for text in written if "INSERT" in text}
    assert tables == {"seen", "counter", "meta"}
    assert {queue: (counts.accepted, counts.produced, counts.done) for queue, counts in counters.items()} == {
        "incoming": (1, 0, 1),
        "outgoing": (0, 1, 1),
    }
    assert journal.apply([make_store("a")], NOW_MS) == [Stored(ids("a"), ())]


def test_an_output_may_use_a_body_that_the_database_has(journal: SqliteJournal, path: Path) -> None:
    journal.apply([make_store("a", content=b"old body")], NOW_MS)
    journal.counters()
    journal.apply([Settle(row=1, outputs=(make_output("b"),))], NOW_MS)
    assert journal.fetch([2])[0].content == b"old body"
    with pytest.raises(KeyError):
        journal.fetch([1])
    journal.apply([Write(row=2, note=make_note(0))], NOW_MS)
    assert journal.fetch([2])[0].notes == (make_note(0),)
    bench = recovered(crash(path))
    assert bench.journal.fetch([2])[0].content == b"old body"
    bench.settle(bench.rows()[2])
    assert bench.leftovers()["bodies"] == 0
    bench.journal.close()


def test_the_database_follows_when_enough_has_come_together(
    journal: SqliteJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ahead, "FOLLOW_IDS", 10)
    for number in range(9):
        journal.apply([make_store(str(number))], NOW_MS)
        assert not journal.is_behind
    journal.apply([make_store("10")], NOW_MS)
    assert journal.is_behind
    journal.tidy()
    assert not journal.is_behind
    log = journal._this.ahead.log
    assert log is not None
    assert log.octets == 0


def test_the_database_follows_when_it_is_quiet(journal: SqliteJournal) -> None:
    for number in range(30):
        journal.apply([make_store(str(number))], NOW_MS)
    journal.apply([Trim()], NOW_MS)
    assert not journal.is_behind  # much has happened since the last one
    journal.apply([Trim()], NOW_MS)
    assert journal.is_behind


def test_a_log_that_runs_full_begins_again(journal: SqliteJournal) -> None:
    for number in range(40):
        journal.apply([make_store(str(number), content=bytes(10**6))], NOW_MS)
    assert len(list(journal.recover())) == 40
    log = journal._this.ahead.log
    assert log is not None
    assert log.number == 40


def test_a_batch_larger_than_a_record_is_stored_all_the_same(journal: SqliteJournal, path: Path) -> None:
    journal.apply([make_store("before")], NOW_MS)
    journal.apply([make_store(str(number), content=bytes(10**6)) for number in range(6)], NOW_MS)
    journal.apply([make_store("after")], NOW_MS)
    bench = recovered(crash(path))
    assert list(bench.rows()) == list(range(1, 9))
    bench.journal.close()


def test_a_log_that_is_gone_is_missed(journal: SqliteJournal, path: Path) -> None:
    journal.apply([make_store("a")], NOW_MS)
    copy = crash(path)
    log = copy.with_name("journal.db.redo")
    kept = log.read_bytes()
    log.unlink()
    text = refuse(copy)
    assert "journal.db.redo is gone" in text
    assert "empty file" in text
    log.write_bytes(b"")
    lost = recovered(copy)
    assert lost.rows() == {}
    lost.journal.close()
    log.write_bytes(kept)


def test_a_journal_that_was_closed_needs_no_log(path: Path) -> None:
    bench = Bench(lambda: SqliteJournal(path, SMALL))
    bench.put("a")
    bench.journal.close()
    path.with_name("journal.db.redo").unlink()
    bench.restart()
    assert len(bench.rows()) == 1
    bench.journal.close()


def test_an_older_copy_of_the_database_is_refused(journal: SqliteJournal, path: Path) -> None:
    old = crash(path)
    journal.apply([make_store("a")], NOW_MS)
    journal.counters()
    journal.apply([make_store("b")], NOW_MS)
    shutil.copy(path.with_name("journal.db.redo"), old.with_name("journal.db.redo"))
    assert "older copy of the database" in refuse(old)


def test_the_log_of_another_journal_is_not_taken_in(journal: SqliteJournal, path: Path) -> None:
    journal.apply([make_store("a")], NOW_MS)
    other = path.parent.with_name("other") / path.name
    bench = Bench(lambda: SqliteJournal(other, SMALL))
    bench.journal.close()
    shutil.copy(path.with_name("journal.db.redo"), other.with_name("journal.db.redo"))
    bench.restart()
    assert bench.rows() == {}
    bench.journal.close()


# a full disk ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def disk(tmp_path: Path, mount: Callable[[Path, str], None]) -> Path:
    """A file system that is large enough for a log."""
    mount(tmp_path / "disk", "size=64m")
    return tmp_path / "disk"


def occupy(disk: Path) -> None:
    """Let somebody else take all the space that is left."""
    with (disk / "filler").open("wb", buffering=0) as filler:
        filler.write(bytes(2**26))


def test_what_the_log_has_can_leave_a_disk_that_is_full_now(disk: Path) -> None:
    journal = SqliteJournal(disk / "journal.db", BusSettings())
    journal.open()
    assert (disk / "journal.db.redo").stat().st_size == 2**20
    for number in range(20):
        journal.apply([make_store(str(number), content=bytes(20_000))], NOW_MS)
    occupy(disk)
    with pytest.raises(Full):
        journal.apply([make_store("refused", content=bytes(20_000))], NOW_MS)
    journal.tidy()
    assert len(list(journal.recover())) == 20  # asked while the database has no space for it
    assert_books_balance(journal)
    journal.give_up_ballast()
    for row in range(1, 21):
        journal.apply([Settle(row=row)], NOW_MS)
    assert list(journal.recover()) == []
    journal.close()


def test_little_space_is_the_databases_alone(disk: Path) -> None:
    """The log takes nothing that might have no place later."""
    journal = SqliteJournal(disk / "journal.db", BusSettings())
    journal.open()
    with (disk / "filler").open("wb") as filler:
        filler.write(bytes(journal.free_octets()[0] - ahead.ROOM * 2**20 + BLOCK))
    journal.apply([make_store("a")], NOW_MS)
    log = journal._this.ahead.log
    assert log is not None
    assert log.octets == 0
    (disk / "filler").unlink()
    journal.apply([make_store("b")], NOW_MS)
    assert log.octets > 0
    journal.close()


def test_what_the_log_has_survives_a_start_on_a_full_disk(disk: Path, tmp_path: Path) -> None:
    journal = SqliteJournal(disk / "journal.db", BusSettings())
    journal.open()
    for number in range(20):
        journal.apply([make_store(str(number), content=bytes(20_000))], NOW_MS)
    copy = crash(disk / "journal.db", "cut")
    journal.close()
    for file in disk.iterdir():
        file.unlink()
    for file in copy.parent.iterdir():
        shutil.copy(file, disk / file.name)
    occupy(disk)
    again = SqliteJournal(disk / "journal.db", BusSettings())
    again.open()
    assert len(list(again.recover())) == 20
    assert not (disk / "journal.db.ballast").exists()  # it made room
    again.close()
    os.unlink(disk / "filler")


def test_a_tiny_disk_has_no_log(tmp_path: Path, mount: Callable[[Path, str], None]) -> None:
    mount(tmp_path / "tiny", "size=8m")
    assert ahead.log_size(tmp_path / "tiny") == 0
    bench = Bench(lambda: SqliteJournal(tmp_path / "tiny" / "journal.db", SMALL))
    bench.put("a")
    bench.restart()
    assert len(bench.rows()) == 1
    bench.journal.close()
