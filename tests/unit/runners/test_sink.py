"""The sink as a process, as the crash tests and the bench use it: what it replied to is on disk before the reply."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from runners.smtp import wire_message
from tests.support.bus_process import CHECKOUT
from tests.unit.runners.test_smtp import make_connection


@pytest.mark.slow
def test_a_sink_process_records_each_transaction_before_it_replies(tmp_path: Path) -> None:
    record = tmp_path / "record.jsonl"
    rules = json.dumps([{"at": "rcpt", "like": "bob@", "reply": "550 5.1.1 no"}])
    command = [sys.executable, "-m", "tests.support.sink", "--record", str(record), "--rules", rules]
    with subprocess.Popen(command, cwd=CHECKOUT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        connection = make_connection(process.stdout.readline().strip())
        replies = connection.transact("", ["anne@example.net", "bob@example.net"], wire_message(b"x"))
        process.kill()
        connection.drop()
    assert [code for code, _ in replies] == [250, 550]
    (line,) = map(json.loads, record.read_text().splitlines())
    assert line["accepted"] == ["anne@example.net"]
    assert line["refused"] == ["bob@example.net"]
    assert line["reply"].startswith("250")
