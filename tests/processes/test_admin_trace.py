"""`trace` without a running site: the log alone tells the story, and what is missing is said."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.postroom_cli import StoppedSite, make_site

pytestmark = pytest.mark.slow

ROOT = "0" * 31 + "1"
OUTPUT = "a" * 32


def make_line(at: str, event: str, process: str, **facts: Any) -> bytes:
    return json.dumps(
        {"at": at, "level": "info", "event": event, "process": process, **facts}, separators=(",", ":")
    ).encode()


LINES = [
    make_line(
        "2026-11-23T23:59:59.123456+00:00", "lmtp.accepted", "lmtp-1", item_id=ROOT, root_id=ROOT,
        message_id="<m@x>", recipient="ant@x.org", reply="250 2.0.0 Accepted", reason="",
    ),
    make_line("2026-11-24T00:00:01.000000+00:00", "item.shunted", "bus", item_id=OUTPUT, reason="bad\x1b[2J"),
    make_line("2026-11-24T00:00:00.500000+00:00", "item.handled", "outgoing-1", item_id=OUTPUT, root_id=ROOT),
    make_line("2026-11-24T00:00:02.000000+00:00", "item.suppressed", "bus", item_id="b" * 32, first_id=ROOT),
    make_line("2026-11-24T00:00:03.000000+00:00", "lmtp.accepted", "lmtp-1", item_id="c" * 32, root_id="c" * 32),
]  # fmt: skip


@pytest.fixture
def site(tmp_path: Path) -> StoppedSite:
    made = make_site(tmp_path)
    log = tmp_path / "var" / "log"
    log.mkdir(parents=True)
    (log / "postroom.jsonl.1.gz").write_bytes(gzip.compress(LINES[0] + b"\n"))
    (log / "postroom.jsonl").write_bytes(b"\n".join(LINES[1:]) + b"\n")
    return made


@pytest.mark.parametrize("text", [ROOT, OUTPUT, "m@x", "<m@x>"])
def test_every_name_of_a_message_tells_its_whole_story(site: StoppedSite, text: str) -> None:
    done = site.call("trace", text, "--json")
    assert done.code == 0
    told = done.json()
    assert [row["event"] for row in told] == [
        "lmtp.accepted",
        "item.handled",
        "item.shunted",
        "item.suppressed",
    ]
    assert all(row.keys() >= {"at", "event", "process", "item_id"} for row in told)
    assert [row["at"] for row in told] == sorted(row["at"] for row in told)


def test_the_silent_bus_is_told_beside_the_story(site: StoppedSite) -> None:
    done = site.call("trace", ROOT)
    assert done.code == 0
    assert "what is still queued is not shown" in done.err


def test_a_person_reads_one_line_an_event_under_its_date(site: StoppedSite) -> None:
    lines = site.call("trace", ROOT).out.splitlines()
    assert lines[0] == "2026-11-23 (times are UTC)"
    assert lines[1].startswith("23:59:59.123 lmtp-1       lmtp.accepted      recipient=ant@x.org")
    assert 'reply="250 2.0.0 Accepted"' in lines[1]
    assert "reason" not in lines[1]
    assert lines[2] == "2026-11-24 (times are UTC)"
    assert len(lines) == 6


def test_control_characters_of_the_log_do_not_reach_the_terminal(site: StoppedSite) -> None:
    assert "\x1b" not in site.call("trace", ROOT).out


def test_what_nobody_knows_exits_1(site: StoppedSite) -> None:
    done = site.call("trace", "nonsense")
    assert done.code == 1
    assert "nothing is known of 'nonsense'" in done.err
    assert done.out == ""


def test_without_any_log_it_says_so(tmp_path: Path) -> None:
    done = make_site(tmp_path, '[logs]\nfile = ""\n').call("trace", ROOT)
    assert done.code == 1
    assert "[logs] file is empty" in done.err
