"""Clock, identifiers, failpoints and log lines: what every process stands on."""

import ast
import asyncio
import errno
import json
import logging
import os
import re
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from config import failpoints, logs
from config.clock import Clock
from config.names import INCOMING, ItemId, id_about, new_item_id, output_id
from config.settings import LogSettings, Settings

ROOT = Path(__file__).parents[3]
EVENT_NAME = re.compile(r"[a-z]+\.[a-z_]+")
OURS = ("config", "lists", "bus", "lmtp", "runners", "master", "admin")


@pytest.fixture(autouse=True)
def _library_logging_as_before() -> Iterator[None]:
    """set_up takes over the root logger of this process: give it back."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    logging.captureWarnings(False)
    root.handlers[:] = handlers
    root.setLevel(level)


def test_the_clock_file_moves_wall_time_within_a_second(tmp_path: Path) -> None:
    file = tmp_path / "clock"
    clock = Clock(file)
    real = datetime.now(UTC)  # noqa: TID251  the clock is compared with the wall here
    assert abs((clock.now() - real).total_seconds()) < 5
    file.write_text("86400.5\n")
    deadline = time.monotonic() + 1
    while (clock.now() - real).total_seconds() < 86000 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert 86395 < (clock.now() - real).total_seconds() < 86410


@pytest.mark.parametrize("text", ["", "  \n", "half a num"])
def test_an_empty_or_half_written_clock_file_moves_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "clock").write_text(text)
    real = datetime.now(UTC)  # noqa: TID251  the clock is compared with the wall here
    assert abs((Clock(tmp_path / "clock").now() - real).total_seconds()) < 5


@given(st.integers(0, 2**48 - 1))
def test_item_ids_are_uuid7_and_sort_by_time(now_ms: int) -> None:
    item_id = new_item_id(now_ms)
    assert len(item_id) == 32
    assert int(item_id[:12], 16) == now_ms
    assert item_id[12] == "7"
    assert item_id[16] in "89ab"


def test_derived_ids_say_the_same_for_the_same() -> None:
    parent = ItemId("0" * 32)
    assert output_id(parent, 0, INCOMING) == output_id(parent, 0, INCOMING) != output_id(parent, 1, INCOMING)
    assert id_about("held:17:accept") != id_about("held:17:reject")
    assert len(id_about("x")) == 32


@pytest.mark.parametrize("plan", ["nowhere=kill", "bus.commit.before=dance", "bus.commit.before"])
def test_a_failpoint_that_does_not_exist_is_refused(plan: str) -> None:
    with pytest.raises(failpoints.UnknownPlace):
        failpoints.make_fail(plan)


def test_failpoints_act_from_the_given_passage_on() -> None:
    fail = failpoints.make_fail("bus.commit.before=full@2, store.commit.after=error")
    fail("bus.commit.before")
    with pytest.raises(OSError, match="failpoint") as caught:
        fail("bus.commit.before")
    assert caught.value.errno == errno.ENOSPC
    with pytest.raises(failpoints.Failpoint):
        fail("store.commit.after")
    fail("bus.commit.after")


def test_every_failpoint_is_somewhere_in_the_code() -> None:
    """A name that no line passes would make a fault test pass for nothing."""
    called = {name for file in sources() for name in first_arguments(file, "fail")}
    assert called == failpoints.PLACES


def test_every_event_that_is_logged_is_registered_and_the_other_way_round() -> None:
    methods = ("debug", "info", "warning", "error", "exception", "critical")
    logged = {
        name
        for file in sources()
        for method in methods
        for name in first_arguments(file, method)
        if EVENT_NAME.fullmatch(name)
    }
    assert logged - set(logs.EVENTS) == set()
    written = {text for file in sources() if file.name != "logs.py" for text in constants(file)} | {
        "library.said"
    }
    assert set(logs.EVENTS) - written == set()


def sources() -> list[Path]:
    return [file for folder in OURS for file in (ROOT / folder).rglob("*.py")]


def first_arguments(file: Path, function: str) -> set[str]:
    """Collect the constant first arguments of calls of `function`, also where it is an attribute or behind a condition."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if not isinstance(node, ast.Call) or not node.args:
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if name == function:
            found |= {
                part.value
                for part in ast.walk(node.args[0])
                if isinstance(part, ast.Constant) and isinstance(part.value, str)
            }
    return found


def constants(file: Path) -> set[str]:
    """Collect every string in a file."""
    nodes = ast.walk(ast.parse(file.read_text("utf-8")))
    return {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}


def test_every_line_is_json_with_time_event_and_process(tmp_path: Path) -> None:
    file = tmp_path / "log" / "postroom.jsonl"
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        log = logs.set_up(site(file), "lmtp-1", strict=True)
        log.info("lmtp.accepted", item_id="1", recipient="grüße@example.org")
        logging.getLogger("somebody").warning("said %s", "this")
        warnings.warn("careful", stacklevel=1)
    lines = [json.loads(line) for line in file.read_bytes().splitlines()]
    assert [line["event"] for line in lines] == ["lmtp.accepted", "library.said", "library.said"]
    assert {line["process"] for line in lines} == {"lmtp-1"}
    assert datetime.fromisoformat(lines[0]["at"]).tzinfo is not None
    with pytest.raises(logs.UnknownEvent):
        log.info("lmtp.acepted")


def test_the_lines_of_each_task_say_what_it_is_about(tmp_path: Path) -> None:
    """Also where a thread or a task that it began says them, and never those of its neighbour."""
    file = tmp_path / "log.jsonl"
    log = logs.set_up(site(file), "incoming-1")

    async def handle(number: int) -> None:
        logs.speak_about({"item_id": str(number), "attempt": 1})
        await asyncio.sleep(0)
        log.info("item.handled", outcome="ack", attempt=2)
        await asyncio.to_thread(log.info, "post.accepted")

    async def go() -> None:
        async with asyncio.TaskGroup() as tasks:
            for number in range(3):
                tasks.create_task(handle(number))
        log.info("process.stopping")

    asyncio.run(go())
    lines = [json.loads(line) for line in file.read_bytes().splitlines()]
    for number in range(3):
        mine = {line["event"]: line for line in lines if line.get("item_id") == str(number)}
        assert set(mine) == {"item.handled", "post.accepted"}
        assert (mine["item.handled"]["attempt"], mine["post.accepted"]["attempt"]) == (2, 1)
    assert "item_id" not in lines[-1]


def test_a_traceback_tells_no_local_variables(tmp_path: Path) -> None:
    file = tmp_path / "log.jsonl"
    log = logs.set_up(site(file), "incoming-1")
    try:
        secret = "the body of a mail"  # noqa: F841  it must not be seen
        raise ValueError("x")
    except ValueError as error:
        log.error("item.failed", exc_info=error)
    assert b"ValueError" in file.read_bytes()
    assert b"the body" not in file.read_bytes()


def test_lines_logged_together_leave_in_one_append_even_when_the_step_fails(tmp_path: Path) -> None:
    """In their order, each whole; one step inside another writes at the end of the outer one."""
    file = tmp_path / "log"
    lines = logs.LineFile(file)

    def step() -> None:
        with lines.together():
            lines.write(b"one")
            with lines.together():
                lines.write(b"two")
            assert not file.exists()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        step()
    lines.write(b"three")
    assert file.read_bytes() == b"one\ntwo\nthree\n"


def test_lines_of_one_turn_leave_in_one_append_and_what_is_amiss_leaves_at_once(tmp_path: Path) -> None:
    file = tmp_path / "log"
    lines = logs.LineFile(file)
    turns: list[Callable[[], None]] = []

    def next_turn() -> None:
        due, turns[:] = turns[:], []
        for each in due:
            each()

    with lines.in_turns(turns.append):
        lines.write(b"1")
        lines.write(b"2")
        assert (len(turns), file.exists()) == (1, False)
        next_turn()
        assert file.read_bytes() == b"1\n2\n"
        lines.write(b"3")
        lines.write_now(b"4, a warning")
        assert file.read_bytes().endswith(b"3\n4, a warning\n")
        lines.write(b"5")
        other = threading.Thread(target=lines.write, args=(b"of another thread",))
        other.start()
        other.join()
        assert file.read_bytes().endswith(b"warning\nof another thread\n")
        next_turn()
        assert file.read_bytes().endswith(b"thread\n5\n")
        lines.write(b"6")
    assert file.read_bytes().endswith(b"5\n6\n")
    next_turn()
    lines.write(b"7")
    assert file.read_bytes() == b"1\n2\n3\n4, a warning\nof another thread\n5\n6\n7\n"


def test_a_renamed_log_file_is_made_anew_and_no_line_is_torn(tmp_path: Path) -> None:
    file = tmp_path / "log.jsonl"
    lines = logs.LineFile(file)
    lines.write(b"one")
    file.rename(tmp_path / "log.1")
    deadline = time.monotonic() + 5
    while not file.exists() and time.monotonic() < deadline:
        lines.write(b"two")
    assert (tmp_path / "log.1").read_bytes().startswith(b"one\n")
    assert set(file.read_bytes().splitlines()) == {b"two"}


def test_processes_append_whole_lines_to_one_file(tmp_path: Path) -> None:
    file = tmp_path / "log.jsonl"
    script = (
        "import sys; from pathlib import Path; from config.logs import LineFile\n"
        "f = LineFile(Path(sys.argv[1]))\n"
        "for n in range(300): f.write(sys.argv[2].encode() * 400)\n"
    )
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(file), letter],
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )
        for letter in "abc"
    ]
    assert [writer.wait(timeout=30) for writer in writers] == [0, 0, 0]
    lines = file.read_bytes().splitlines()
    assert len(lines) == 900
    assert {(len(line), len(set(line))) for line in lines} == {(400, 1)}


def site(file: Path) -> Settings:
    return msgspec.structs.replace(Settings(), logs=LogSettings(file=str(file)))
