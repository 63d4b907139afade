"""Kill -9 at each step of a commit, and what is there afterwards: all that was confirmed, and no half of anything."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bus.journal.sqlite import SqliteJournal
from tests.unit.journal.builders import INCOMING, SMALL, Bench, assert_books_balance, ids
from tests.unit.journal.crashing import SPILL_ABOVE

pytestmark = [pytest.mark.slow, pytest.mark.crash]
ROOT = Path(__file__).parents[3]
IN_LOG = 10**6  # octets; no body here is larger, so that the log has all of them


def start(
    path: Path, work: str, failpoints: str = "", spill_above: int = SPILL_ABOVE
) -> subprocess.Popen[str]:
    """Start a process that works on the journal."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.unit.journal.crashing", str(path), work, str(spill_above)],
        cwd=ROOT,
        env={**os.environ, "POSTROOM_FAILPOINTS": failpoints},
        stdout=subprocess.PIPE,
        text=True,
    )


def die(path: Path, work: str, failpoint: str, spill_above: int = SPILL_ABOVE) -> list[str]:
    """Let a process run into its failpoint; returns what it had confirmed."""
    with start(path, work, failpoint, spill_above) as process:
        confirmed, _ = process.communicate(timeout=30)
    assert process.returncode == -signal.SIGKILL
    return confirmed.split("\n")[:-1]


def reopen(path: Path) -> Bench:
    """Open the journal as the next process does, and check what must hold whatever happened."""
    bench = Bench(lambda: SqliteJournal(path, SMALL, SPILL_ABOVE))
    assert_books_balance(bench.journal)
    bench.leftovers()  # no temporary files, no file without a row, no row without a file
    rows = bench.rows()
    assert len(bench.journal.fetch(list(rows))) == len(rows)  # every body is whole
    return bench


@pytest.mark.parametrize(
    ("failpoint", "is_there"),
    [
        ("bus.spill.before=kill", False),
        ("bus.spill.after=kill", False),
        ("bus.commit.before=kill@2", False),
        ("bus.commit.after=kill@2", True),
    ],
)
def test_a_publish_is_there_whole_or_not_at_all(tmp_path: Path, failpoint: str, is_there: bool) -> None:
    assert die(tmp_path / "journal.db", "store", failpoint) == ["first"]
    bench = reopen(tmp_path / "journal.db")
    expected = ids("first", "second") if is_there else ids("first")
    assert [row.id for row in bench.rows().values()] == list(expected)
    assert bench.store("first", "second").ids == ids("first", "second")  # sent again, as a front-end does
    assert [row.id for row in bench.rows().values()] == list(ids("first", "second"))
    bench.journal.close()


@pytest.mark.parametrize(
    ("failpoint", "is_settled"),
    [
        ("bus.spill.before=kill@2", False),
        ("bus.spill.after=kill@2", False),
        ("bus.commit.before=kill@2", False),
        ("bus.commit.after=kill@2", True),
    ],
)
def test_a_hop_is_done_whole_or_not_at_all(tmp_path: Path, failpoint: str, is_settled: bool) -> None:
    assert die(tmp_path / "journal.db", "settle", failpoint) == ["parent"]
    bench = reopen(tmp_path / "journal.db")
    expected = ids("same body", "own body") if is_settled else ids("parent")
    assert [row.id for row in bench.rows().values()] == list(expected)
    for row in list(bench.rows().values()):
        bench.settle(row)
    assert bench.leftovers()["bodies"] == 0
    bench.journal.close()


@pytest.mark.parametrize("spill_above", [SPILL_ABOVE, IN_LOG], ids=["files", "log"])
def test_what_was_confirmed_survives_kill_9_at_any_time(tmp_path: Path, spill_above: int) -> None:
    """Six lives in a row on one journal; each batch confirmed in any of them is found afterwards."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    choose = random.Random(seed)
    batches: set[str] = set()
    for _ in range(6):
        with start(tmp_path / "journal.db", "load", spill_above=spill_above) as process:
            assert process.stdout is not None
            heard = [process.stdout.readline()]
            deadline = time.monotonic() + choose.uniform(0.0, 0.4)
            while time.monotonic() < deadline:
                heard.append(process.stdout.readline())
            process.kill()
            heard += process.stdout.readlines()  # the last line may be cut; then it was not heard
        batches.update(line.strip() for line in heard if line.endswith("\n"))
        bench = reopen(tmp_path / "journal.db")
        bench.journal.close()
    bench = reopen(tmp_path / "journal.db")
    known = bench.store(*(f"{batch}-{n}" for batch in sorted(batches) for n in range(3)))
    assert known.rows == ()  # every confirmed item is known: none is stored anew
    bench.journal.close()


@pytest.mark.parametrize(
    "failpoint", ["bus.flush.before=kill@4", "bus.flush.after=kill@4", "bus.commit.after=kill@33"]
)
def test_the_database_takes_in_each_batch_once(tmp_path: Path, failpoint: str) -> None:
    """Killed around the moment when it follows the log: what it had is not taken in again, what it had not is."""
    confirmed = die(tmp_path / "journal.db", "load", failpoint, IN_LOG)
    bench = reopen(tmp_path / "journal.db")
    accepted = bench.journal.counters()[INCOMING].accepted
    assert accepted in (
        3 * len(confirmed),
        3 * len(confirmed) + 3,
    )  # the last batch may have been durable and not told
    known = bench.store(*(f"{batch}-{n}" for batch in confirmed for n in range(3)))
    assert known.rows == ()
    bench.journal.close()


def test_a_log_that_was_cut_ends_with_the_last_whole_commit(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    die(path, "store", "bus.commit.after=kill@2")
    log = path.with_name("journal.db-wal")
    os.truncate(log, log.stat().st_size - 100)
    bench = Bench(lambda: SqliteJournal(path, SMALL, SPILL_ABOVE))
    assert [row.id for row in bench.rows().values()] == list(ids("first"))
    assert bench.leftovers()["bodies"] == 1
    bench.put("second")
    bench.journal.close()


@pytest.mark.parametrize(
    ("call", "number"), [("fdatasync", n) for n in (1, 3, 4, 6, 8)] + [("fsync", n) for n in (1, 2, 3)]
)
def test_a_sync_that_fails_ends_the_process_and_loses_nothing(tmp_path: Path, call: str, number: int) -> None:
    """The kernel may mark pages clean after a failed fsync, so nothing is tried again in the same life."""
    strace = shutil.which("strace")
    if strace is None:
        if os.environ.get("CI"):
            pytest.fail("strace is missing")
        pytest.skip("strace is missing")
    path = tmp_path / "journal.db"
    inject = f"inject={call}:error=EIO:when={number}"
    work = [sys.executable, "-m", "tests.unit.journal.crashing", str(path), "settle"]
    done = subprocess.run(
        [strace, "-f", "-o", str(tmp_path / "strace"), "-e", f"trace={call}", "-e", inject, *work],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    if "not permitted" in done.stderr and not os.environ.get("CI"):
        pytest.skip("strace may not trace here")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("bus.journal.api.Broken: ")
    bench = reopen(path)
    here = {row.id for row in bench.rows().values()}
    expected = [set(ids("parent")), set(ids("same body", "own body"))]
    assert here in (expected if "parent" in done.stdout.split() else [set(), *expected])
    bench.journal.close()
