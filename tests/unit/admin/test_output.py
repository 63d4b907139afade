"""What strangers wrote cannot act on the terminal, and JSON is JSON."""

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from admin.output import printable, write_listing, write_pairs


@given(st.text())
def test_no_control_character_reaches_a_person(text: str) -> None:
    shown = printable(text)
    assert all(ord(letter) >= 0x20 and not 0x7F <= ord(letter) < 0xA0 for letter in shown)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, ""),
        (True, "yes"),
        (1.25, "1.2"),
        (("a", "b"), "a, b"),
        (datetime(2026, 11, 23, 9, 12, 40, 343000, UTC), "2026-11-23 09:12:40Z"),
        ("a\x1b[2J", "a\\x1b[2J"),
        ("a\u202eb", "a\\u202eb"),
    ],
)
def test_values_are_spelled_for_a_person(value: object, shown: str) -> None:
    assert printable(value) == shown


@pytest.mark.parametrize("number", [0, 1, 3])
def test_a_json_listing_is_a_list_of_objects(number: int, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"a": index, "b": "x\n\x1b"} for index in range(number)]
    write_listing(rows, ("a",), json=True)
    assert json.loads(capsys.readouterr().out) == rows


def test_a_table_has_a_head_and_lines_its_columns_up(capsys: pytest.CaptureFixture[str]) -> None:
    write_listing([{"list_id": "ant", "n": 1}, {"list_id": "a", "n": 20}], ("list_id", "n"), json=False)
    assert capsys.readouterr().out == "list id   n\nant       1\na        20\n"


def test_an_empty_listing_says_what_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    write_listing([], ("a",), json=False, empty="no lists yet")
    assert capsys.readouterr().out == "no lists yet\n"


def test_facts_of_one_thing_stand_below_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    write_pairs({"list_id": "ant", "n": 1})
    assert capsys.readouterr().out == "list id  ant\nn        1\n"


def test_one_long_cell_does_not_widen_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    write_listing([{"subject": "a" * 4000}], ("subject",), json=False)
    head, line = capsys.readouterr().out.splitlines()
    assert head == "subject"
    assert line == "a" * 79 + "…"
