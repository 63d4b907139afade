"""A full disk, a real one: nothing of a refused batch stays, what is queued can leave, and new mail is taken again."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bus.journal import space
from bus.journal.api import Broken, Full, Settle, Write
from bus.journal.sqlite import SqliteJournal
from config.settings import BusSettings
from tests.unit.journal.builders import (
    NOW_MS,
    Bench,
    assert_books_balance,
    make_note,
    make_output,
    make_store,
)

SETTINGS = BusSettings()  # as on a large disk: the sizes must fit themselves to a small one
DISK = 8 * 2**20  # octets


@pytest.fixture
def disk(tmp_path: Path, mount: Callable[[Path, str], None]) -> Path:
    """A file system of 8 MiB."""
    mount(tmp_path / "disk", f"size={DISK}")
    return tmp_path / "disk"


@pytest.fixture(params=[10**9, 20_000], ids=["rows", "files"])
def bench(request: pytest.FixtureRequest, disk: Path) -> Iterator[Bench]:
    """A journal on it."""
    made = Bench(lambda: SqliteJournal(disk / "journal.db", SETTINGS, request.param))
    yield made
    made.journal.close()


def occupy(disk: Path) -> None:
    """Let somebody else take all the space that is left."""
    with (disk / "filler").open("wb", buffering=0) as filler, contextlib.suppress(OSError):
        while filler.write(bytes(4096)):
            pass


def fill(bench: Bench, size: int = 50_000) -> int:
    """Store mail until there is no space; returns how much was confirmed."""
    for number in range(1000):
        names = [f"{number}-{n}" for n in range(3)]
        try:
            bench.journal.apply([make_store(name, content=bytes(size)) for name in names], NOW_MS)
        except Full:
            return number * 3
    raise AssertionError("a disk of 8 MiB took it all")


def test_nothing_of_a_refused_batch_stays(bench: Bench) -> None:
    confirmed = fill(bench)
    assert confirmed > 20
    assert len(bench.rows()) == confirmed
    assert_books_balance(bench.journal)
    assert bench.leftovers()["bodies"] == confirmed
    assert len(bench.journal.fetch(list(bench.rows()))) == confirmed


def test_what_is_queued_can_leave_and_then_new_mail_is_taken(bench: Bench) -> None:
    fill(bench, 200_000)
    fill_rest(bench)
    bench.journal.give_up_ballast()
    for row in list(bench.rows().values()):
        bench.do(Write(row=row.row, note=make_note(0)))
        bench.settle(row, make_output(f"hop of {row.row}"))
    for row in list(bench.rows().values()):
        bench.settle(row)
    assert bench.rows() == {}
    assert bench.leftovers()["bodies"] == 0
    bench.put("again", content=bytes(50_000))


def fill_rest(bench: Bench) -> None:
    """Take what is left, down to the last small item."""
    for size in (20_000, 2_000, 0):
        for number in range(1000):
            try:
                bench.journal.apply([make_store(f"rest {size} {number}", content=bytes(size))], NOW_MS)
            except Full:
                break


def test_a_journal_opens_on_a_full_disk_and_can_be_emptied(bench: Bench, disk: Path) -> None:
    fill(bench)
    bench.journal.close()
    occupy(disk)
    bench.restart()
    rows = list(bench.rows().values())
    assert rows
    bench.journal.give_up_ballast()
    for row in rows:
        bench.settle(row)
    assert bench.rows() == {}


def test_a_batch_that_fits_is_taken_after_one_that_does_not(bench: Bench) -> None:
    with pytest.raises(Full):
        bench.journal.apply([make_store("huge", content=bytes(DISK))], NOW_MS)
    bench.do(make_store("a", content=bytes(100_000)), Settle(row=99))
    assert list(bench.rows()) == [1]
    assert bench.leftovers()["bodies"] == 1


def test_the_space_of_the_log_is_used_before_mail_is_refused(disk: Path) -> None:
    bench = Bench(lambda: SqliteJournal(disk / "journal.db", BusSettings(min_free=0, ballast=0)))
    bench.do(*(make_store(str(n), content=bytes(10_000)) for n in range(200)))
    bench.restart()  # the database has its size now, and an empty log
    bench.do(*(Settle(row=row) for row in bench.rows()))
    bench.do(*(make_store(f"again {n}", content=bytes(10_000)) for n in range(100)))
    occupy(disk)
    bench.put("one more", content=bytes(100_000))
    bench.journal.close()


def test_a_journal_that_does_not_fit_says_so(disk: Path) -> None:
    occupy(disk)
    with pytest.raises(Broken, match="Free some space"):
        SqliteJournal(disk / "journal.db", SETTINGS).open()


def test_ballast_fits_a_small_disk_and_gives_way(bench: Bench, disk: Path) -> None:
    ballast = disk / "journal.db.ballast"
    free, total = bench.journal.free_octets()
    assert total == DISK
    assert ballast.stat().st_size == DISK // 20
    bench.journal.give_up_ballast()
    assert bench.journal.free_octets()[0] >= free + DISK // 20
    bench.journal.restore_ballast()
    assert ballast.stat().st_blocks * 512 >= DISK // 20
    fill(bench)
    bench.journal.give_up_ballast()
    bench.journal.restore_ballast()
    assert not ballast.exists()
    for row in list(bench.rows().values()):
        bench.settle(row)


def test_less_is_kept_free_on_a_small_disk() -> None:
    assert space.min_free(128 * 2**20, 2**40) == 128 * 2**20
    assert space.min_free(128 * 2**20, DISK) == DISK // 10


def test_no_space_is_found_out_by_trying(disk: Path) -> None:
    assert not space.has_no_space(disk / "probe")
    occupy(disk)
    assert space.has_no_space(disk / "probe")
    assert not (disk / "probe").exists()
