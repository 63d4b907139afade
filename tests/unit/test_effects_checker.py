"""The comparison of two runs sees what is lost, doubled, foreign or changed, and lets pass only what the journal names."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from tests.support.effects import TOLERANCE_MS, Copy, Ending, differences

ANNE = Copy("anne@example.net", "", "1")
BART = Copy("bart@example.net", "", "1")
ROWS: Mapping[str, list[tuple[Any, ...]]] = {"token": [("hash", 1)]}


def ending(
    copies: Sequence[Copy] = (ANNE,),
    named: Sequence[str] = (),
    tables: Mapping[str, list[tuple[Any, ...]]] = ROWS,
    times: Sequence[int] = (1000,),
    shunts: Sequence[dict[str, Any]] = (),
) -> Ending:
    return Ending(tables, list(times), Counter(copies), Counter(named), list(shunts))


@pytest.mark.parametrize(
    "other",
    [
        ending(),
        ending([ANNE, ANNE], named=["anne@example.net"]),
        ending(named=["anne@example.net"]),
        ending(times=[1000 + TOLERANCE_MS]),
    ],
)
def test_what_may_be_passes(other: Ending) -> None:
    assert differences(other, ending()) == []


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (ending([]), "lost"),
        (ending([BART]), "lost"),
        (ending([ANNE, BART]), "not in the undisturbed run"),
        (ending([ANNE, ANNE]), "doubled"),
        (ending([ANNE, ANNE, ANNE], named=["anne@example.net"]), "doubled"),
        (ending([ANNE, ANNE], named=["bart@example.net"]), "doubled"),
        (ending(tables={"token": []}), "table token"),
        (ending(times=[1001 + TOLERANCE_MS]), "times"),
        (ending(times=[]), "times"),
        (ending(shunts=[{"reason": "x"}]), "shunted"),
    ],
)
def test_what_must_not_be_is_said(other: Ending, words: str) -> None:
    assert words in " ".join(differences(other, ending()))
