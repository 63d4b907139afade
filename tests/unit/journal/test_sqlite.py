"""What only a journal on disk can get wrong: how it is opened, who owns it, what a damaged file does."""

import os
import resource
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bus.journal import open_journal, schema, space, tables
from bus.journal.api import Broken, Busy, Corrupt, Settle, Shunt, Trim, Unusable, Write
from bus.journal.bodies import Recent
from bus.journal.memory import MemoryJournal
from bus.journal.sqlite import SqliteJournal
from config.settings import BusSettings
from tests.unit.journal.builders import NOW_MS, SMALL, Bench, ids, make_note, make_output, make_store

ROOT = Path(__file__).parents[3]
CONTENT = b"From: anne\r\n\r\nthis is the content to look for in the file\r\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "var" / "journal.db"


@pytest.fixture
def bench(path: Path) -> Iterator[Bench]:
    """A journal on disk; bodies over 1 KiB are files."""
    made = Bench(lambda: SqliteJournal(path, SMALL, spill_above=1024))
    yield made
    made.journal.close()


def inner(bench: Bench) -> SqliteJournal:
    assert isinstance(bench.journal, SqliteJournal)
    return bench.journal


def refuse(path: Path, kind: type[Exception]) -> str:
    """Open a journal that must not open; returns what a person is told."""
    journal = SqliteJournal(path, SMALL)
    with pytest.raises(kind) as caught:
        journal.open()
    return str(caught.value)


def change(path: Path, statement: str, *values: object) -> None:
    """Change a closed journal behind its back."""
    connection = sqlite3.connect(path)
    with connection:
        connection.execute(statement, values)
    connection.close()


# opening --------------------------------------------------------------------------------------------------------------


def test_durability_is_switched_on(path: Path) -> None:
    journal = SqliteJournal(path, BusSettings(min_free=0))
    journal.open()
    connection = journal._this.database.connection
    for pragma, value in {
        "journal_mode": "wal",
        "synchronous": 2,
        "locking_mode": "exclusive",
        "auto_vacuum": 2,
        "wal_autocheckpoint": 1000,
        "foreign_keys": 0,
        "cell_size_check": 1,
    }.items():
        assert connection.execute(f"PRAGMA {pragma}").fetchone() == (value,), pragma
    journal.close()


def test_only_the_owner_may_read_what_is_stored(bench: Bench, path: Path) -> None:
    bench.put("a", content=bytes(5000))
    modes = {file.name: file.stat().st_mode & 0o777 for file in path.parent.rglob("*")}
    assert modes.pop("journal.db.bodies") == 0o700
    assert set(modes) == {
        "journal.db",
        "journal.db-wal",
        "journal.db.lock",
        "journal.db.ballast",
        "journal.db.redo",
        "1",
    }
    assert set(modes.values()) == {0o600}
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_a_clean_stop_leaves_one_file_of_mail(bench: Bench, path: Path) -> None:
    bench.put("a")
    bench.journal.close()
    assert sorted(file.name for file in path.parent.iterdir()) == [
        "journal.db",
        "journal.db.ballast",
        "journal.db.lock",
        "journal.db.redo",
    ]


@pytest.mark.parametrize(
    ("url", "kind"),
    [("memory:", MemoryJournal), ("sqlite:////tmp/x.db", SqliteJournal), ("sqlite:///x.db", SqliteJournal)],
)
def test_the_url_chooses_the_engine(url: str, kind: type) -> None:
    assert isinstance(open_journal(url, SMALL), kind)


@pytest.mark.parametrize("url", ["", "journal.db", "sqlite:journal.db", "sqlite:///", "postgresql://host/db"])
def test_a_url_of_no_engine_is_refused_by_name(url: str) -> None:
    with pytest.raises(Unusable, match=r"names no journal.*\[bus\] journal"):
        open_journal(url)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    text = refuse(tmp_path / "file" / "var" / "journal.db", Unusable)
    assert str(tmp_path / "file") in text
    assert "[bus] journal" in text


def test_a_folder_that_cannot_be_written_is_named(read_only: Path) -> None:
    text = refuse(read_only / "journal.db", Unusable)
    assert text.startswith(f"{read_only}/journal.db.lock: Read-only file system. ")
    assert "[bus] journal" in text


@pytest.fixture
def read_only(tmp_path: Path, mount: Callable[[Path, str], None]) -> Path:
    mount(tmp_path / "ro", "size=1m,ro")
    return tmp_path / "ro"


def test_a_folder_in_the_journals_place_is_refused(path: Path) -> None:
    path.mkdir(parents=True)
    assert str(path) in refuse(path, Unusable)


def test_a_network_file_system_is_refused(tmp_path: Path) -> None:
    space.refuse_network(tmp_path)
    with pytest.raises(Unusable, match=r"network file system \(NFS\)"):
        space.refuse_network(tmp_path, {space.file_system(tmp_path): "NFS"})


@pytest.mark.parametrize(
    "data", [b"this is no database at all " * 200, b"SQLite format 3\0" + b"\xff" * 8000]
)
def test_a_file_that_is_no_database_is_left_alone(path: Path, data: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(data)
    assert "damaged" in refuse(path, Unusable)
    assert path.read_bytes() == data


def test_another_programs_database_is_left_alone(path: Path) -> None:
    path.parent.mkdir()
    change(path, "CREATE TABLE theirs (x)")
    assert "another program" in refuse(path, Unusable)
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("theirs",)]
    connection.close()


def test_a_later_schema_is_refused(bench: Bench, path: Path) -> None:
    bench.journal.close()
    change(path, f"PRAGMA user_version = {len(schema.MIGRATIONS) + 1}")
    assert "later version" in refuse(path, Unusable)


def test_a_migration_happens_whole_or_not_at_all(
    bench: Bench, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = bench.put("a")
    bench.journal.close()
    broken = (*schema.MIGRATIONS, ("CREATE TABLE later (x)", "CREATE TABLE later (x)"))
    monkeypatch.setattr(schema, "MIGRATIONS", broken)
    refuse(path, Broken)
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS[:-1], ("CREATE TABLE later (x)",)))
    bench.restart()
    assert bench.row(row) == row
    assert inner(bench)._this.database.connection.execute("PRAGMA user_version").fetchone() == (
        len(schema.MIGRATIONS),
    )


def test_an_empty_file_is_a_new_journal(path: Path) -> None:
    """A power cut during the first start can leave one."""
    path.parent.mkdir()
    path.touch()
    bench = Bench(lambda: SqliteJournal(path, SMALL))
    bench.put("a")
    bench.restart()
    assert len(bench.rows()) == 1
    bench.journal.close()


# owners ---------------------------------------------------------------------------------------------------------------

OWNER = """
import sys, time
from pathlib import Path
from bus.journal.sqlite import SqliteJournal
from config.settings import BusSettings
journal = SqliteJournal(Path(sys.argv[1]), BusSettings(min_free=0, ballast=4096))
journal.open()
print("open", flush=True)
sys.stdin.read()
"""


@contextmanager
def owner(path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that owns the journal until it is killed."""
    command = [sys.executable, "-c", OWNER, str(path)]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        yield process
        process.kill()


@pytest.mark.slow
def test_a_second_bus_is_told_who_owns_the_journal(path: Path) -> None:
    with owner(path) as process:
        text = refuse(path, Busy)
        assert f"pid {process.pid}" in text
        assert str(path) in text
        link = path.parent / "link.db"
        link.symlink_to(path)
        refuse(link, Busy)


@pytest.mark.slow
def test_an_owner_that_was_killed_owns_nothing(path: Path) -> None:
    with owner(path):
        pass
    bench = Bench(lambda: SqliteJournal(path, SMALL))
    bench.put("a")
    bench.journal.close()


@pytest.mark.slow
def test_a_shell_that_holds_the_file_is_named(bench: Bench, path: Path) -> None:
    bench.journal.close()
    shell = sqlite3.connect(path, isolation_level=None)
    shell.execute("BEGIN IMMEDIATE")
    assert "another program" in refuse(path, Busy)
    shell.execute("ROLLBACK")
    shell.close()
    bench.restart()


def test_nobody_can_read_beside_the_owner(bench: Bench, path: Path) -> None:
    bench.put("a")
    other = sqlite3.connect(path, timeout=0)
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        other.execute("SELECT * FROM item").fetchall()
    other.close()


@pytest.mark.slow
def test_a_log_that_is_gone_after_a_crash_is_missed(path: Path) -> None:
    with owner(path):
        pass
    log = path.with_name("journal.db-wal")
    kept = log.read_bytes()
    log.unlink()
    text = refuse(path, Unusable)
    assert "journal.db-wal is gone" in text
    assert "journal.db.lock" in text
    log.write_bytes(kept)
    SqliteJournal(path, SMALL).open()


@pytest.mark.slow
def test_a_failed_open_after_a_crash_does_not_look_like_a_lost_log(path: Path) -> None:
    with owner(path):
        pass
    in_the_way = path.with_name("journal.db.bodies")
    in_the_way.write_bytes(b"")  # a folder is wanted
    refuse(path, Unusable)
    in_the_way.unlink()
    again = SqliteJournal(path, SMALL)
    again.open()
    again.close()


@pytest.mark.slow
def test_a_process_that_ends_without_close_leaves_a_journal_that_opens(path: Path) -> None:
    """An exception nobody caught: the interpreter closes the file in order, and the log goes with it."""
    with owner(path) as process:
        assert process.stdin is not None
        process.stdin.close()  # the end of its input is the end of its work
        assert process.wait(10) == 0
    assert not path.with_name("journal.db-wal").exists()
    bench = Bench(lambda: SqliteJournal(path, SMALL))
    bench.put("a")
    bench.journal.close()


def test_what_failed_to_open_is_owned_by_nobody(bench: Bench, path: Path) -> None:
    bench.journal.close()
    change(path, "PRAGMA user_version = 99")
    refuse(path, Unusable)
    refuse(path, Unusable)  # and not Busy
    change(path, f"PRAGMA user_version = {len(schema.MIGRATIONS)}")
    bench.restart()


# damage ---------------------------------------------------------------------------------------------------------------


def flip(file: Path, at: int) -> None:
    """Flip one bit."""
    data = bytearray(file.read_bytes())
    data[at] ^= 1
    file.write_bytes(data)


def test_a_flipped_bit_in_a_body_damages_its_items_alone(bench: Bench, path: Path) -> None:
    good, bad = bench.put("good"), bench.put("bad", content=CONTENT)
    bench.journal.close()
    flip(path, path.read_bytes().index(CONTENT) + 20)
    bench.restart()
    with pytest.raises(Corrupt) as caught:
        bench.journal.fetch([good.row, bad.row])
    assert caught.value.row == bad.row
    assert bench.journal.fetch([good.row])[0].content == b"content"
    bench.do(Shunt(row=bad.row, reason="corrupt-body"))
    assert [shunted.item.id for shunted in bench.journal.shunted(None, None, 0, 10)] == [bad.id]


@pytest.mark.parametrize(
    "harm",
    [lambda file: flip(file, 1999), Path.unlink, lambda file: os.truncate(file, 1999)],
    ids=["flipped bit", "gone", "cut"],
)
def test_a_harmed_file_damages_its_items_alone(
    bench: Bench, path: Path, harm: Callable[[Path], None]
) -> None:
    good, bad = bench.put("good"), bench.put("bad", content=bytes(2000))
    bench.journal.close()
    harm(path.with_name("journal.db.bodies") / "2")
    bench.restart()
    with pytest.raises(Corrupt) as caught:
        bench.journal.fetch([bad.row])
    assert caught.value.row == bad.row
    bench.settle(bad)
    bench.settle(good)
    assert bench.leftovers()["bodies"] == 0


def test_a_body_that_is_not_there_damages_its_items_alone(bench: Bench, path: Path) -> None:
    bad = bench.put("bad")
    bench.journal.close()
    change(path, "DELETE FROM body")
    bench.restart()
    with pytest.raises(Corrupt, match="not there"):
        bench.journal.fetch([bad.row])
    bench.settle(bad)


def test_a_body_on_broken_pages_damages_its_items_alone(bench: Bench, path: Path) -> None:
    good, bad = bench.put("good", content=b"x" * 1000), bench.put("bad", content=b"y" * 1000)
    bench.do(*(make_store(str(n), content=b"z" * 1000) for n in range(20)))
    bench.journal.close()
    page = path.read_bytes().index(b"y" * 1000) // 4096 * 4096
    with path.open("r+b") as file:
        file.seek(page)
        file.write(b"\0\0\0\0" * 8)
    bench.restart()
    with pytest.raises(Corrupt):
        bench.journal.fetch([bad.row])
    assert bench.journal.fetch([max(bench.rows())])[0].content == b"z" * 1000
    assert good.row in bench.rows()


def test_a_damaged_envelope_is_listed_as_far_as_it_is_known(bench: Bench, path: Path) -> None:
    bad = bench.put("bad", message_id="<1@example.net>")
    bench.do(Shunt(row=bad.row, reason="corrupt-body"))
    bench.journal.close()
    change(path, "UPDATE item SET env = x'c1c1'")
    bench.restart()
    with pytest.raises(Corrupt):
        bench.journal.fetch([bad.row])
    (shunted,) = bench.journal.shunted(None, None, 0, 10)
    assert (shunted.item.id, shunted.item.message_id) == (bad.id, "<1@example.net>")
    ((_, item, _, _),) = bench.journal.find(bad.id)
    assert item == shunted.item


def test_a_damaged_note_damages_its_item_alone(bench: Bench, path: Path) -> None:
    good, bad = bench.put("good"), bench.put("bad")
    bench.do(Write(row=bad.row, note=make_note(0)))
    bench.journal.close()
    change(path, "UPDATE note SET note = x'c1'")
    bench.restart()
    with pytest.raises(Corrupt) as caught:
        bench.journal.fetch([good.row, bad.row])
    assert caught.value.row == bad.row
    ((row, _, notes, _),) = bench.journal.find(bad.id)
    assert (row.row, notes) == (bad.row, ())
    with pytest.raises(Broken):
        bench.do(Write(row=bad.row, note=make_note(1)))
    bench.restart()
    bench.settle(bad)


def destroy_notes(path: Path) -> None:
    """Overwrite the table of notes, which opening does not read."""
    connection = sqlite3.connect(path)
    (page,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'note'").fetchone()
    connection.close()
    with path.open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(b"\0" * 4096)


def test_the_file_is_checked_after_a_reboot(bench: Bench, path: Path) -> None:
    bench.put("a")
    bench.journal.close()
    destroy_notes(path)
    change(path, "UPDATE meta SET v = 'another boot' WHERE k = 'boot'")
    assert "is damaged" in refuse(path, Unusable)


def test_the_file_is_not_checked_in_the_same_boot_and_breaks_when_it_is_read(
    bench: Bench, path: Path
) -> None:
    row = bench.put("a")
    bench.journal.close()
    destroy_notes(path)
    bench.journal = SqliteJournal(path, SMALL)
    bench.journal.open()
    with pytest.raises(Broken):
        bench.journal.fetch([row.row])


def test_a_sound_file_passes_the_check_after_a_reboot(bench: Bench, path: Path) -> None:
    row = bench.put("a")
    bench.journal.close()
    change(path, "UPDATE meta SET v = 'another boot' WHERE k = 'boot'")
    bench.restart()
    assert bench.row(row) == row


@contextmanager
def failing_disk(path: Path) -> Iterator[None]:
    """Let the log grow no more: EFBIG stands for any error of the disk that is not about space."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.with_name("journal.db-wal").stat().st_size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_failed_write_is_broken_and_nothing_is_written_after_it(bench: Bench, path: Path) -> None:
    row = bench.put("a")
    big = [make_store(str(n), content=bytes(1000)) for n in range(100)]
    with failing_disk(path), pytest.raises(Broken):
        bench.journal.apply(big, NOW_MS)
    with pytest.raises(Broken):  # the disk is well again, but nobody knows what it has
        bench.journal.apply([], NOW_MS)
    bench.restart()
    assert bench.row(row) == row
    bench.do(*big)


def test_a_file_stays_when_nobody_knows_whether_its_row_was_committed(bench: Bench, path: Path) -> None:
    """A failed fsync leaves the commit in the log: the next start may find it there, and then it needs the file."""
    bench.put("a")
    row = bench.put("b", content=bytes(2000))
    large = [make_store("large", content=bytes(2000))]
    with failing_disk(path), pytest.raises(Broken):
        bench.journal.apply(large + [make_store(str(n), content=bytes(1000)) for n in range(200)], NOW_MS)
    folder = path.with_name("journal.db.bodies")
    assert sorted(file.name for file in folder.iterdir()) == ["2", "3"]
    bench.restart()
    assert [file.name for file in folder.iterdir()] == ["2"]
    assert bench.row(row) == row


# bodies ---------------------------------------------------------------------------------------------------------------


def test_what_came_a_moment_ago_is_leased_without_a_read(bench: Bench, path: Path) -> None:
    row = bench.put("a", content=bytes(3000))
    (path.with_name("journal.db.bodies") / "1").unlink()
    assert bench.journal.fetch([row.row])[0].content == bytes(3000)


def test_recent_bodies_are_bounded_by_octets() -> None:
    recent = Recent(100)
    for body in range(10):
        recent.put(body, bytes(20))
        recent.get(0)
    recent.put(99, bytes(26))  # over a quarter
    assert [body for body in range(100) if recent.get(body) is not None] == [0, 6, 7, 8, 9]
    recent.forget([0, 6, 77])
    recent.put(10, bytes(20))
    assert recent.get(7) is not None


def test_a_file_that_no_row_names_is_swept(bench: Bench, path: Path) -> None:
    row = bench.put("a", content=bytes(2000))
    folder = path.with_name("journal.db.bodies")
    for name in ("77", "2.tmp", "1.tmp"):
        (folder / name).write_bytes(b"half")
    bench.restart()
    assert [file.name for file in folder.iterdir()] == ["1"]
    assert bench.journal.fetch([row.row])[0].content == bytes(2000)


def test_free_pages_go_back_to_the_file_system(
    bench: Bench, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "VACUUM_ABOVE", 100_000)
    bench.do(*(make_store(str(n), content=bytes(1000)) for n in range(300)))
    bench.do(Trim(), *(Settle(row=row) for row in bench.rows()))
    assert inner(bench)._this.database.connection.execute("PRAGMA freelist_count").fetchone()[0] > 50
    bench.do(Trim())
    bench.restart()
    assert path.stat().st_size < 200_000


def test_a_batch_may_name_thousands_of_rows(bench: Bench) -> None:
    names = [str(n) for n in range(1001)]
    rows = bench.store(*names, keys=[name.encode() for name in names]).rows
    assert bench.store(*names).rows == ()
    assert len(bench.journal.fetch([row.row for row in rows])) == 1001
    assert bench.journal.existing(ids(*names)) == frozenset(ids(*names))
    bench.do(*(Settle(row=row.row, outputs=(make_output(f"x{row.row}"),)) for row in rows))
    assert len(bench.rows()) == 1001
