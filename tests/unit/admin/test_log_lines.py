"""The lines of one message are found in the log and in what logrotate made of it, whatever else lies there."""

import gzip
import json
import os
from pathlib import Path
from typing import Any

import pytest

from admin import log_lines
from admin.log_lines import LogFiles, collect, find_roots

ROOT = "0" * 31 + "1"
OTHER = "0" * 31 + "2"
OUTPUT = "a" * 32


def make_line(second: int, event: str = "item.handled", **facts: Any) -> bytes:
    entry = {"at": f"2026-11-23T12:00:{second:02}.000000+00:00", "event": event, "process": "x", **facts}
    return json.dumps(entry, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"


STORY = [
    make_line(1, "lmtp.accepted", item_id=ROOT, root_id=ROOT, message_id="<m-1@x>"),
    make_line(2, item_id=OTHER, root_id=OTHER, message_id="<m-2@x>"),
    make_line(3, item_id=ROOT, root_id=ROOT),
    make_line(4, "outgoing.sent", item_id=OUTPUT, root_id=ROOT),
]


def find(file: Path, text: str) -> list[tuple[str, int]]:
    with LogFiles(file) as log:
        entries, is_cut = collect(log, find_roots(log, text), text)
    assert not is_cut
    return [(entry["event"], int(entry["at"][17:19])) for entry in entries]


@pytest.mark.parametrize("text", [ROOT, OUTPUT, "m-1@x"])
def test_item_id_root_id_and_message_id_tell_the_same_story(tmp_path: Path, text: str) -> None:
    (tmp_path / "log").write_bytes(b"".join(STORY))
    assert find(tmp_path / "log", text) == [("lmtp.accepted", 1), ("item.handled", 3), ("outgoing.sent", 4)]


def test_rotated_neighbours_are_read_and_strangers_are_not(tmp_path: Path) -> None:
    (tmp_path / "log.2.gz").write_bytes(gzip.compress(STORY[0]))
    (tmp_path / "log.1").write_bytes(STORY[2])
    (tmp_path / "log").write_bytes(STORY[3])
    (tmp_path / "log.bak").write_bytes(make_line(9, item_id=ROOT))
    (tmp_path / "logs.1").write_bytes(make_line(9, item_id=ROOT))
    assert [second for _, second in find(tmp_path / "log", ROOT)] == [1, 3, 4]


def test_names_of_logrotate_with_dates_are_neighbours_too(tmp_path: Path) -> None:
    (tmp_path / "log-20261122").write_bytes(STORY[0])
    (tmp_path / "log-20261121.gz").write_bytes(gzip.compress(make_line(0, item_id=ROOT)))
    assert [second for _, second in find(tmp_path / "log", ROOT)] == [0, 1]


def test_a_file_renamed_while_it_is_read_is_read_once(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"".join(STORY))
    with LogFiles(tmp_path / "log") as log:
        (tmp_path / "log").rename(tmp_path / "log.1")
        (tmp_path / "log").write_bytes(b"")
        roots = find_roots(log, ROOT)
        assert len(collect(log, roots, ROOT)[0]) == 3
    os.link(tmp_path / "log.1", tmp_path / "log.2")  # copied, not yet removed
    assert len(find(tmp_path / "log", ROOT)) == 3


@pytest.mark.parametrize(
    "junk",
    [
        b"",
        b"\n\n",
        b"not json 00000000000000000000000000000001\n",
        b'["' + ROOT.encode() + b'"]\n',
        b"\xff" + ROOT.encode(),
    ],
)
def test_torn_and_foreign_lines_are_passed_over(tmp_path: Path, junk: bytes) -> None:
    (tmp_path / "log").write_bytes(junk + b"\n" + b"".join(STORY) + STORY[0][:-20])
    assert len(find(tmp_path / "log", ROOT)) == 3


def test_a_packed_file_that_ends_early_does_not_hide_the_others(tmp_path: Path) -> None:
    (tmp_path / "log.1.gz").write_bytes(gzip.compress(STORY[0])[:-12])
    (tmp_path / "log").write_bytes(STORY[3])
    assert ("outgoing.sent", 4) in find(tmp_path / "log", ROOT)


def test_lines_are_found_wherever_the_blocks_of_reading_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "log").write_bytes(b"".join(STORY).rstrip(b"\n"))
    for size in range(1, 300, 7):
        monkeypatch.setattr(log_lines, "BLOCK", size)
        assert len(find(tmp_path / "log", ROOT)) == 3


def test_a_message_id_with_letters_that_json_escapes_is_found(tmp_path: Path) -> None:
    strange = 'a"b\\c/ö@x'
    (tmp_path / "log").write_bytes(make_line(1, item_id=ROOT, root_id=ROOT, message_id=f"<{strange}>"))
    assert find(tmp_path / "log", strange) == [("item.handled", 1)]


def test_a_refusal_that_made_no_item_is_found_by_its_message_id(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(make_line(1, "lmtp.refused", message_id="<m-9@x>"))
    assert find(tmp_path / "log", "m-9@x") == [("lmtp.refused", 1)]


def test_a_story_that_is_too_long_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_lines, "MAX_LINES", 2)
    (tmp_path / "log").write_bytes(b"".join(STORY))
    with LogFiles(tmp_path / "log") as log:
        entries, is_cut = collect(log, {ROOT}, ROOT)
    assert (len(entries), is_cut) == (2, True)


def test_no_log_is_no_story(tmp_path: Path) -> None:
    assert find(tmp_path / "missing" / "log", ROOT) == []
