"""docs/states.md has each row of the two tables that decide about people: subscriptions, and bounces."""

import re
from collections.abc import Iterator, Mapping
from enum import Enum
from pathlib import Path
from typing import Any

import pytest

from lists import subscription
from lists.bounces import scoring
from lists.gate import Kind

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "states.md").read_text()
ANYTHING = "anything"
NOTHING = "nothing"

Row = tuple[str, str, str, str]


def section(title: str) -> str:
    """Return what stands under a heading."""
    found = re.search(rf"(?ms)^### {re.escape(title)}\n(.*?)(?=^##|\Z)", PAGE)
    assert found is not None, title
    return found[1]


def rows_on_page(title: str) -> Iterator[Row]:
    for line in section(title).splitlines():
        if line.startswith("| `"):
            before, event, after, effects = (cell.strip() for cell in line.strip("|").split("|"))
            yield before.strip("`"), event, after.strip("`"), effects


def rows_of(table: Mapping[tuple[Any, Any], Any]) -> set[Row]:
    """Write a table as its page does: a state in which every event does the same is one row."""
    rows = {
        (
            state.value,
            event.value,
            step.state.value,
            "; ".join(effect.value for effect in step.effects) or NOTHING,
        )
        for (state, event), step in table.items()
    }
    for state in {before for before, *_ in rows}:
        same = {(after, effects) for before, _, after, effects in rows if before == state}
        if len(same) == 1:
            ((after, effects),) = same
            rows = {row for row in rows if row[0] != state} | {(state, ANYTHING, after, effects)}
    return rows


@pytest.mark.parametrize(
    ("title", "table"),
    [("Joining and leaving", subscription.TABLE), ("Bounces of a member", scoring.TABLE)],
)
def test_the_page_has_every_row_and_no_other(title: str, table: Mapping[tuple[Any, Any], Any]) -> None:
    on_page = list(rows_on_page(title))
    assert len(on_page) == len(set(on_page))
    assert set(on_page) == rows_of(table)


@pytest.mark.parametrize(
    ("title", "states", "events", "table"),
    [
        ("Joining and leaving", subscription.State, subscription.Event, subscription.TABLE),
        ("Bounces of a member", scoring.State, scoring.Event, scoring.TABLE),
    ],
)
def test_every_pair_of_state_and_event_is_in_the_table(
    title: str, states: type[Enum], events: type[Enum], table: Mapping[tuple[Any, Any], Any]
) -> None:
    """So nothing that happens finds no row."""
    assert {(state, event) for state in states for event in events} == set(table), title


def test_the_numbers_on_the_page_are_the_defaults() -> None:
    rules = scoring.Rules()
    words = " ".join(section("Bounces of a member").split())
    assert f"{rules.threshold:g} points" in words
    assert f"{rules.stale_after_days} days" in words
    assert f"{rules.probe_days} days" in words
    for name, weight in scoring.WEIGHTS.items():
        assert f"{name} {weight:g}" in words


def test_the_runners_page_has_every_kind_of_mail_that_the_gate_knows() -> None:
    page = (Path(__file__).resolve().parents[3] / "docs" / "runners.md").read_text()
    rows = {
        cell
        for line in page.splitlines()
        if line.startswith("| `")
        for cell in re.findall(r"`([a-z-]+)`", line)
    }
    assert {kind.text for kind in Kind} <= rows
