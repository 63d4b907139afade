"""The list store with many processes on one file: nobody's write is lost, nobody's read stops the others, a kill changes nothing by halves."""

import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from config.names import ListId, id_about
from config.settings import Settings
from lists.changes import Decision, HoldPost
from lists.directory import Directory
from lists.roster import Roster
from lists.store import Store
from tests.support.lists import ROOT, make_settings, start_script
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

ANT = ListId("ant.example.org")
DEADLINE_S = 60.0


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return make_settings(tmp_path)


@pytest.fixture
def store(settings: Settings) -> Iterator[Store]:
    with Store(settings) as made:
        made.create_list("ant@example.org")
        yield made


def finish(process: "subprocess.Popen[str]") -> str:
    """Wait for a script's end and return what it said; it must have ended well."""
    out, _ = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 0
    return out


def test_processes_that_open_at_once_make_one_schema(tmp_path: Path, settings: Settings) -> None:
    script = "store = Store(settings); store.open(); print(store.version()); store.close()"
    openers = [start_script(tmp_path, settings, script) for _ in range(4)]
    assert [finish(opener) for opener in openers] == ["1\n"] * 4


def test_a_migration_killed_before_its_commit_leaves_nothing_and_the_next_one_does_it(
    tmp_path: Path, settings: Settings
) -> None:
    killed = start_script(tmp_path, settings, "Store(settings).open()", "store.commit.before=kill")
    assert killed.wait(DEADLINE_S) == -signal.SIGKILL
    killed.communicate()
    with Store(settings) as store:
        assert store.lists() == ()


def test_alembic_is_imported_only_for_a_migration(tmp_path: Path, settings: Settings, store: Store) -> None:
    script = (
        "from lists.directory import Directory\n"
        "directory = Directory(settings); directory.load(); store = Store(settings); store.open()\n"
        "print(any(name.startswith('alembic') for name in sys.modules))"
    )
    assert finish(start_script(tmp_path, settings, script)) == "False\n"


def test_four_writers_lose_nothing(tmp_path: Path, settings: Settings, store: Store) -> None:
    writers = []
    for name in range(4):
        script = (
            "store = Store(settings); store.open()\n"
            f"for n in range(25): store.add_members('{ANT}', [f'w{name}-{{n}}@example.net', f'all-{{n}}@example.net'])"
        )
        writers.append(start_script(tmp_path, settings, script))
    for writer in writers:
        finish(writer)
    keys = {member.key for member in store.members(ANT)}
    assert keys == {f"w{name}-{n}@example.net" for name in range(4) for n in range(25)} | {
        f"all-{n}@example.net" for n in range(25)
    }


HOLD = (
    "from lists.changes import Decision, HoldPost\n"
    "change = HoldPost(list_id='ant.example.org', reverse_path='a@example.net', reason='emergency', content=b'x' * 300000)\n"
    "store = Store(settings); store.open()\n"
    "store.apply_once(sys.argv[1] if len(sys.argv) > 1 else 'item', lambda roster: Decision((change,), b'first'))"
)


@pytest.mark.parametrize(("place", "kept"), [("store.commit.before", False), ("store.commit.after", True)])
def test_an_effect_killed_at_its_commit_is_there_whole_or_not_at_all_and_once_in_the_end(
    tmp_path: Path, settings: Settings, store: Store, place: str, kept: bool
) -> None:
    killed = start_script(tmp_path, settings, HOLD, f"{place}=kill")
    assert killed.wait(DEADLINE_S) == -signal.SIGKILL
    killed.communicate()
    assert len(store.held()) == int(kept)

    def again(roster: Roster) -> Decision:
        change = HoldPost(list_id=ANT, reverse_path="a@example.net", reason="emergency", content=b"x")
        return Decision((change,), b"second")

    item = id_about("item")
    store.apply_once(item, again)
    outcome = store.apply_once("item", again)  # type: ignore[arg-type]  # the id that the script used
    assert outcome == (b"first" if kept else b"second")
    assert len(store.held()) == 2


def test_a_full_disk_at_the_commit_changes_nothing_and_is_told(
    tmp_path: Path, settings: Settings, store: Store
) -> None:
    script = (
        "from lists.errors import StoreAway\n"
        "store = Store(settings); store.open()\n"
        f"try: store.add_members('{ANT}', ['anne@example.net'])\n"
        "except StoreAway as error: print('away', len(store.members('ant.example.org')))"
    )
    assert finish(start_script(tmp_path, settings, script, "store.commit.before=full")) == "away 0\n"


def test_one_item_in_many_processes_at_once_is_one_effect(
    tmp_path: Path, settings: Settings, store: Store
) -> None:
    scripts = [start_script(tmp_path, settings, HOLD) for _ in range(3)]
    for script in scripts:
        finish(script)
    assert len(store.held()) == 1


def test_a_listing_that_stands_still_stops_nobody(tmp_path: Path, settings: Settings, store: Store) -> None:
    """SIGSTOP between two pages of `members ls`: others write and read on."""
    store.add_members(ANT, [f"m{number}@example.net" for number in range(3000)])
    script = (
        "store = Store(settings); store.open(); after = ''\n"
        f"while page := store.members('{ANT}', after=after, limit=1000):\n"
        "    after = page[-1].cursor; print(len(page), flush=True); sys.stdin.readline()"
    )
    lister = start_script(tmp_path, settings, script)
    assert lister.stdout is not None
    assert lister.stdout.readline() == "1000\n"
    lister.send_signal(signal.SIGSTOP)
    try:
        for number in range(20):
            started = time.monotonic()
            store.add_members(ANT, [f"new{number}@example.net"])
            assert time.monotonic() - started < 2.0
    finally:
        lister.send_signal(signal.SIGCONT)
    out, _ = lister.communicate("\n" * 10, timeout=DEADLINE_S)
    assert lister.returncode == 0
    assert sum(map(int, out.split())) == 2020  # those after the first page, the new ones too


def test_an_import_leaves_gaps_for_other_writers_and_for_rcpt(
    tmp_path: Path, settings: Settings, store: Store
) -> None:
    """While 30,000 members come in, every other write and every reload of the snapshot gets through in time."""
    directory = Directory(settings)
    directory.load()
    script = f"store = Store(settings); store.open(); store.add_members('{ANT}', (f'm{{n}}@example.net' for n in range(30000)))"
    importer = start_script(tmp_path, settings, script)
    wait_until(lambda: store.count_members(ANT) > 0, DEADLINE_S)
    waits = []
    number = 0
    while importer.poll() is None:
        started = time.monotonic()
        store.apply_once(id_about(str(number)), lambda roster: Decision(outcome=b"x"))
        directory.refresh()
        waits.append(time.monotonic() - started)
        number += 1
    finish(importer)
    assert max(waits) < 5.0
    assert len(waits) >= 3
    directory.refresh()
    assert directory.judge("m29999@example.net", "ant@example.org").rule == "generic-nonmember-action"
    assert len(directory.recipients(ANT)) == 30000
    directory.close()


def test_the_snapshot_sees_what_another_process_did(tmp_path: Path, settings: Settings, store: Store) -> None:
    store.set_options(ANT, ["generic_nonmember_action=reject"])
    directory = Directory(settings)
    directory.load()
    assert directory.judge("anne@example.net", "ant@example.org").rule == "not-a-member"
    finish(start_script(tmp_path, settings, f"Store(settings).add_members('{ANT}', ['anne@example.net'])"))
    assert not directory.is_current()
    directory.refresh()
    assert directory.judge("anne@example.net", "ant@example.org").rule == "member"
    directory.close()


def test_threads_of_one_process_share_a_store(store: Store) -> None:
    """As asyncio.to_thread uses it: more threads than connections."""
    errors: list[BaseException] = []

    def work(name: int) -> None:
        try:
            for number in range(5):
                store.add_members(ANT, [f"t{name}-{number}@example.net"])
                store.members(ANT)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(name,)) for name in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE_S)
    assert errors == []
    assert store.count_members(ANT) == 60


def test_a_reader_of_another_program_is_waited_for(tmp_path: Path, store: Store) -> None:
    """Somebody's sqlite3 shell with an open cursor: a commit waits for it, and gets through."""
    store.add_members(ANT, [f"m{number}@example.net" for number in range(2000)])
    shell = sqlite3.connect(tmp_path / "lists.db", check_same_thread=False)
    cursor = shell.execute("SELECT * FROM membership")
    cursor.fetchone()
    timer = threading.Timer(0.3, cursor.close)
    timer.start()
    assert store.add_members(ANT, ["anne@example.net"]) == 1
    timer.join()
    shell.close()


def test_importing_the_domain_s_pure_part_needs_no_database() -> None:
    script = "import sys, lists.address, lists.policy, lists.options; print('sqlalchemy' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=DEADLINE_S,
    )
    assert done.stdout == "False\n"
