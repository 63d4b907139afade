"""What master prints of the log."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from master.log_tail import LogTail
from tests.support.waiting import wait_until

LINE = b'{"at":"2026-11-23T16:10:56.123456+00:00","level":"info","event":"child.ready","process":"master","child":"bus"}\n'


def append(file: Path, data: bytes) -> None:
    with file.open("ab") as opened:
        opened.write(data)


@pytest.mark.slow
def test_only_what_is_new_and_whole_is_printed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "log"
    append(file, b'{"old":1}\n')
    tail = LogTail(file, "json")
    tail.start()
    append(file, LINE + b'{"half')
    tail.say("hello")
    tail.finish()
    captured = capfd.readouterr()
    assert (captured.out.encode(), captured.err) == (LINE, "hello\n")


@pytest.mark.slow
def test_a_renamed_file_is_followed_by_the_new_one(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "log"
    tail = LogTail(file, "json")  # not there yet: made by whoever writes first
    tail.start()
    append(file, b"1\n")
    printed = ""

    def has(text: str) -> bool:
        nonlocal printed
        printed += capfd.readouterr().out
        return printed == text

    wait_until(lambda: has("1\n"))
    file.rename(tmp_path / "log.1")
    append(tmp_path / "log.1", b"2\n")
    append(file, b"333\n")
    wait_until(lambda: has("1\n2\n333\n"))
    os.truncate(file, 0)  # as logrotate's copytruncate
    append(file, b"4\n")
    tail.finish()
    assert has("1\n2\n333\n4\n")


@pytest.mark.slow
def test_the_console_form_is_for_people(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "log"
    tail = LogTail(file, "console")
    tail.start()
    append(file, LINE + b"no JSON\n" + b'{"event":"x.y","reason":"a b","n":[1]}\n')
    tail.finish()
    first, second, third = capfd.readouterr().out.splitlines()
    assert first == "16:10:56.123 info  master       child.ready          child=bus"
    assert second == "no JSON"
    assert third.endswith('x.y                  reason="a b" n=[1]')


@pytest.mark.slow
def test_a_reader_that_sleeps_or_leaves_stops_nobody(tmp_path: Path) -> None:
    """Four times what a pipe holds, to somebody who reads nothing: `finish` still returns."""
    program = (
        "import sys; from pathlib import Path; from master.log_tail import LogTail\n"
        "file = Path(sys.argv[1]); tail = LogTail(file, 'json'); tail.start()\n"
        "file.write_bytes(b'x' * 63 * 4096 + b'\\n' + b'y' * 4096 + b'\\n'); tail.finish()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path / "log")], stdout=subprocess.PIPE
    ) as process:
        assert process.wait(10) == 0
