"""Turns what was measured into tables, and says which of the project's targets were reached.

Values are the median of the rounds with the least and the most beside it. A ratio is the median of the rounds' own ratios, so that noise that
lasts longer than a round does not touch it; only ratios within one run are claims. Names nothing that identifies the machine.
"""

import os
import platform
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from msgspec import Struct

from bench.measure import Spread, ratios, spread
from bench.rows import ROWS, Cell, Row, Table
from bench.whole import Round

Pick = Callable[[Round], float | None]

LEGEND = (
    "A: stock aiosmtpd, plain asyncio, empty handler, nothing stored. M: GNU Mailman's LMTP runner alone, in the second table all of Mailman. "
    "P: Postroom, all processes up, durable; its CPU is lmtp + bus. p50 and p99: from a message's last octet to its reply "
    "(callouts: all three commands)."
)


class Results(Struct):
    """Everything that one run has found; what could not be measured stays empty."""

    table: Table = {}
    big: dict[str, float] = {}  # target -> extra memory for a message, in its sizes
    rounds: dict[str, list[Round]] = {}  # suite -> what it did, round by round
    callout_pairs: list[tuple[Cell, Cell]] = []  # few lists, many lists

    def cells(self, row: str, target: str) -> list[Cell]:
        """Return what a target did in a row, a cell each round."""
        return self.table.get((row, target), [])

    def compare_rows(self, row: str, target: str, value: Callable[[Cell], float]) -> Spread | None:
        """Return P / target of a value of a row."""
        above, below = self.cells(row, "P"), self.cells(row, target)
        if not above or len(above) != len(below):
            return None
        return _ratios([(value(one), value(other)) for one, other in zip(above, below, strict=True)])

    def values(self, suite: str, value: Pick) -> list[float]:
        """Return a value of a suite, of the rounds that have it."""
        found = [value(one) for one in self.rounds.get(suite, [])]
        return [one for one in found if one is not None]

    def compare_suites(self, value: Pick) -> Spread | None:
        """Return P / M of a value, of the rounds in which both have it."""
        pairs = zip(self.rounds.get("P", []), self.rounds.get("M", []), strict=False)
        found = [(value(one), value(other)) for one, other in pairs]
        return _ratios([(one, other) for one, other in found if one is not None and other is not None])


class Goal(Struct, frozen=True):
    """One target of the project and what was found."""

    text: str
    found: Spread | None  # None: not measured
    limit: float
    at_least: bool = True
    before: float | None = None  # the weaker limit of an earlier milestone

    @property
    def is_reached(self) -> bool:
        """Say whether the median is on the right side of the limit."""
        if self.found is None:
            return False
        return self.found.median >= self.limit if self.at_least else self.found.median <= self.limit

    @property
    def limit_text(self) -> str:
        """Return the limit, and the earlier one beside it."""
        sign = ">=" if self.at_least else "<="
        return f"{sign} {self.limit:g}" + (f" (before: {self.before:g})" if self.before is not None else "")


# row, beside whom, limit, what it was before
_ROW_GOALS: Final = (
    ("accept-10", "A", 2.0, 1.8),
    ("accept-10", "M", 12.0, None),
    ("accept-50", "A", 3.0, 2.5),
    ("accept-100k", "A", 2.5, None),
    ("connections", "A", 1.4, None),
    ("callouts", "M", 8.0, None),
)


def _ten(one: Round) -> float | None:
    return one.ten.posts_s if one.ten else None


def _thousand(one: Round) -> float | None:
    return one.thousand.recipients_s if one.thousand else None


# What the second table shows of a suite, and the goal of P / M: limit, at least
_SUITE_ROWS: Final[Sequence[tuple[str, Pick, float | None, bool]]] = (
    ("list of 10: posts/s", _ten, 10, True),
    ("list of 10: recipients/s", lambda one: one.ten.recipients_s if one.ten else None, None, True),
    ("list of 1,000: posts/s", lambda one: one.thousand.posts_s if one.thousand else None, None, True),
    ("list of 1,000: recipients/s", _thousand, 3, True),
    ("bounces scored/s", lambda one: one.bounces.rate if one.bounces else None, 10, True),
    ("bounce, CPU ms", lambda one: one.bounces.cpu_ms if one.bounces else None, None, False),
    ("joins completed/s", lambda one: one.joins.rate if one.joins else None, 5, True),
    ("join, CPU ms", lambda one: one.joins.cpu_ms if one.joins else None, None, False),
    ("idle post, final dot to last copy, s", lambda one: one.idle_s, 1 / 8, False),
    ("start to LMTP banner, s", lambda one: one.start_s, 1 / 5, False),
    ("idle PSS of all processes, MiB", lambda one: one.memory_mib, 0.45, False),
)


def judge(results: Results) -> list[Goal]:
    """Hold the results against the targets."""
    return [*_judge_rows(results), *_judge_site(results), *_judge_suites(results)]


def _judge_rows(results: Results) -> list[Goal]:
    goals = [
        Goal(
            f"{_title(row)}: rate of P / {target}",
            results.compare_rows(row, target, lambda cell: cell.rate),
            limit,
            before=before,
        )
        for row, target, limit, before in _ROW_GOALS
    ]
    cpu = results.compare_rows("accept-10", "A", lambda cell: cell.cpu_ms)
    big = _spread([results.big["P"]] if "P" in results.big else [])
    return [
        *goals,
        Goal(f"{_title('accept-10')}: CPU of P / A", cpu, 0.75, at_least=False),
        Goal("10 MiB message: extra memory of lmtp, in its sizes", big, 2.5, at_least=False),
    ]


def _judge_site(results: Results) -> list[Goal]:
    growth = [many.cpu_ms / few.cpu_ms for few, many in results.callout_pairs if few.cpu_ms]
    idle, memory = (_spread(results.values("P", pick)) for pick in (_idle, _memory))
    return [
        Goal("lmtp CPU of a callout, 1,000 lists / 3 lists", _spread(growth), 1.15, at_least=False),
        Goal("posts/s to a list of 10", _spread(results.values("P", _ten)), 150),
        Goal("recipients/s to a list of 1,000", _spread(results.values("P", _thousand)), 3000),
        Goal("idle post, final dot to last copy, s", idle, 0.2, at_least=False),
        Goal("idle PSS of all processes, MiB", memory, 384, at_least=False),
        Goal(
            "start to banner / imports of lmtp alone",
            _spread(results.values("P", _start_in_imports)),
            12,
            at_least=False,
        ),
    ]


def _judge_suites(results: Results) -> list[Goal]:
    return [
        Goal(f"{text}: P / M", results.compare_suites(pick), limit, at_least)
        for text, pick, limit, at_least in _SUITE_ROWS
        if limit is not None
    ]


def _idle(one: Round) -> float | None:
    return one.idle_s


def _memory(one: Round) -> float | None:
    return one.memory_mib


def _start_in_imports(one: Round) -> float | None:
    return one.start_s / one.imports_s if one.start_s and one.imports_s else None


def _title(key: str) -> str:
    return next(row.title for row in ROWS if row.key == key)


def render(results: Results, rows: Sequence[Row], settings: str) -> str:
    """Write the tables as Markdown; `settings` says how long and how often was measured."""
    parts = [
        f"{describe_machine()}; {settings}.",
        LEGEND,
        _table(
            (
                "row",
                "target",
                "rate /s",
                "CPU ms each",
                "p50 ms",
                "p99 ms",
                "rate x A",
                "rate x M",
                "CPU / A",
            ),
            [_cells(results, row, target) for row in rows for target in ("A", "M", "P")],
        ),
        _table(("whole suite", "P", "M", "P / M"), _suites(results)),
        _table(("else", "median (least-most)"), _others(results)),
        _table(
            ("goal", "limit", "found", ""),
            [
                (
                    goal.text,
                    goal.limit_text,
                    _show(goal.found),
                    "not measured" if goal.found is None else "reached" if goal.is_reached else "NOT REACHED",
                )
                for goal in judge(results)
            ],
        ),
    ]
    return "\n\n".join(parts)


def describe_machine() -> str:
    """Say what kind of machine this is, without its name."""
    model = ""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = " (" + line.partition(":")[2].strip() + ")"
            break
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    kernel = platform.release().partition("-")[0]  # what follows may name a provider
    return (
        f"{os.cpu_count()} cores{model}, {memory:.0f} GiB, Linux {kernel}, "
        f"Python {platform.python_version()}; load {os.getloadavg()[0]:.1f}"
    )


def _cells(results: Results, row: Row, target: str) -> tuple[str, ...]:
    cells = results.cells(row.key, target)
    if not cells:
        return (row.title, target, *["-"] * 7)
    columns = [[getattr(cell, name) for cell in cells] for name in ("rate", "cpu_ms", "p50_ms", "p99_ms")]
    stock = results.cells(row.key, "A")
    compared = [
        _compare(columns[0], [cell.rate for cell in results.cells(row.key, other)]) for other in ("A", "M")
    ]
    compared.append(_compare(columns[1], [cell.cpu_ms for cell in stock]))
    return (row.title, target, *[_show(spread(column)) for column in columns], *compared)


def _compare(above: list[float], below: list[float]) -> str:
    if not below or len(above) != len(below):
        return "-"
    return _show(ratios(above, below))


def _suites(results: Results) -> list[tuple[str, ...]]:
    return [
        (
            text,
            *[_show(_spread(results.values(suite, pick))) for suite in ("P", "M")],
            _show(results.compare_suites(pick)),
        )
        for text, pick, _, _ in _SUITE_ROWS
    ]


def _others(results: Results) -> list[tuple[str, str]]:
    few, many = zip(*results.callout_pairs, strict=True) if results.callout_pairs else ((), ())
    big = [
        (f"10 MiB message, extra memory of {target} in its sizes", _show(_spread([found])))
        for target, found in results.big.items()
    ]
    imports = results.values("P", lambda one: one.imports_s)
    return [
        *big,
        ("Python with lmtp's imports, s", _show(_spread(imports))),
        ("callout with 3 lists, lmtp CPU ms", _show(_spread([cell.cpu_ms for cell in few]))),
        ("callout with 1,000 lists, lmtp CPU ms", _show(_spread([cell.cpu_ms for cell in many]))),
    ]


def _ratios(pairs: Sequence[tuple[float, float]]) -> Spread | None:
    return _spread([one / other for one, other in pairs if other])


def _spread(values: Sequence[float]) -> Spread | None:
    return spread(values) if values else None


def _show(found: Spread | None) -> str:
    if found is None:
        return "-"
    if found.least == found.most:
        return _number(found.median)
    return f"{_number(found.median)} ({_number(found.least)}-{_number(found.most)})"


def _number(value: float) -> str:
    if value >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}" if value >= 1 else f"{value:.3f}"


def _table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Lay out a Markdown table whose columns also line up in a terminal."""
    widths = [max(len(line[column]) for line in (head, *lines)) for column in range(len(head))]

    def row(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)) + " |"

    return "\n".join([row(head), row(["-" * width for width in widths]), *map(row, lines)])
