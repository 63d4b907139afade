"""docs/lmtp.md names the test of each clause and of each limit: all of them exist, and every limit is an option with its default."""

import ast
import re
from functools import cache
from pathlib import Path

import msgspec
import pytest

from config.lmtp_settings import LmtpSettings
from config.settings import BusSettings

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "lmtp.md").read_text("utf-8")
CLAUSES = PAGE.partition("## Clause by clause")[2].partition("\n## ")[0]
LIMITS = PAGE.partition("## Limits")[2].partition("\n## ")[0]
NAMED = re.compile(r"(?:(\w+)/)?(test_\w+\.py)(?:::(\w+))?")
TESTS = sorted(set(NAMED.findall(CLAUSES + LIMITS)))
STORIES = sorted(set(re.findall(r"conformance/([\w*-]+)", CLAUSES + LIMITS)))
FOLDERS = {"mta": "tests/mta", "processes": "tests/processes"}


@cache
def names_in(path: Path) -> frozenset[str]:
    """Return the names of the tests that pytest finds in a file."""
    tree = ast.parse(path.read_text("utf-8"))
    functions = (each for each in tree.body if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef))
    return frozenset(each.name for each in functions if each.name.startswith("test_"))


def rows(part: str) -> list[list[str]]:
    """Return the rows of the tables of a part of the page, without their heads."""
    lines = [line for line in part.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if "---" not in line][1:]


@pytest.mark.parametrize(("folder", "file", "name"), TESTS)
def test_every_test_that_is_named_exists(folder: str, file: str, name: str) -> None:
    """A file alone tells nobody which of its tests shows the clause."""
    path = ROOT / FOLDERS.get(folder, f"tests/unit/{folder or 'lmtp'}") / file
    assert name, f"{file} is named without one of its tests"
    assert name in names_in(path)


@pytest.mark.parametrize("story", STORIES)
def test_every_story_that_is_named_exists(story: str) -> None:
    assert list((ROOT / "tests" / "conformance").glob(f"{story}.txt"))


def test_every_clause_and_every_limit_names_a_test() -> None:
    assert len(rows(CLAUSES)) > 20
    assert len(rows(LIMITS)) > 10
    for row in rows(CLAUSES) + rows(LIMITS):
        assert NAMED.search(row[-1]), row


def test_every_limit_that_is_an_option_says_its_default() -> None:
    options = {
        field.encode_name: field.default
        for struct in (LmtpSettings, BusSettings)
        for field in msgspec.structs.fields(struct)
    }
    named = {row[0].strip("`"): row[1] for row in rows(LIMITS) if row[0].startswith("`")}
    assert {"max_connections", "max_in_flight", "data_timeout_s", "max_commands", "min_memory"} <= set(named)
    for name, default in named.items():
        number = re.match(r"[\d ]+", default)
        assert number is not None, (name, default)
        value = int(number[0].replace(" ", "")) * (2**20 if "MiB" in default else 1)
        assert value == options[name], name
