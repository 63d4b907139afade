"""Turns what was measured into tables, and says which of the project's targets were reached.

Values are the median of the rounds with the least and the most beside it. A ratio is the median of the rounds' own ratios, so that noise that
lasts longer than a round does not touch it; only ratios within one run are claims. Names nothing that identifies the machine.
"""

import os
import platform
from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct

from bench.measure import Spread, ratios, spread
from bench.rows import ROWS, Cell, Row, Table
from bench.whole import Posts

LEGEND = (
    "A: stock aiosmtpd, plain asyncio, empty handler, nothing stored. M: GNU Mailman's LMTP runner alone. "
    "P: Postroom, all processes up, durable; its CPU is lmtp + bus. p50 and p99: from a message's last octet to its reply "
    "(callouts: all three commands)."
)


class Results(Struct):
    """Everything that one run has found; what could not be measured stays empty."""

    table: Table = {}
    callout_pairs: list[tuple[Cell, Cell]] = []  # few lists, many lists
    ten: list[Posts] = []
    thousand: list[Posts] = []
    idle_s: list[float] = []
    memory_mib: list[float] = []
    starts: list[tuple[float, float]] = []  # to the banner, imports alone; seconds

    def rates(self, row: str, target: str) -> list[float]:
        """Return a row's rates, one a round."""
        return [cell.rate for cell in self.table.get((row, target), [])]


class Goal(Struct, frozen=True):
    """One target of the project and what was found."""

    text: str
    found: Spread | None  # None: not measured
    limit: float
    at_least: bool = True

    @property
    def is_reached(self) -> bool:
        """Say whether the median is on the right side of the limit."""
        if self.found is None:
            return False
        return self.found.median >= self.limit if self.at_least else self.found.median <= self.limit


def judge(results: Results) -> list[Goal]:
    """Hold the results against the targets."""
    goals = []
    for row, target, limit in (
        ("accept-10", "A", 1.8),
        ("accept-10", "M", 12.0),
        ("accept-50", "A", 2.5),
        ("callouts", "M", 8.0),
    ):
        above, below = results.rates(row, "P"), results.rates(row, target)
        found = ratios(above, below) if above and len(above) == len(below) else None
        goals.append(Goal(f"{_title(row)}: rate of P / {target}", found, limit))
    growth = [many.cpu_ms / few.cpu_ms for few, many in results.callout_pairs if few.cpu_ms]
    at_banner = [started / imported for started, imported in results.starts]
    return [
        *goals,
        Goal("lmtp CPU of a callout, 1,000 lists / 3 lists", _spread(growth), 1.15, at_least=False),
        Goal("posts/s to a list of 10", _spread([one.posts_s for one in results.ten]), 150),
        Goal(
            "recipients/s to a list of 1,000", _spread([one.recipients_s for one in results.thousand]), 3000
        ),
        Goal("idle post, final dot to last copy, s", _spread(results.idle_s), 0.2, at_least=False),
        Goal("idle PSS of all processes, MiB", _spread(results.memory_mib), 384, at_least=False),
        Goal("start to banner / imports of lmtp alone", _spread(at_banner), 12, at_least=False),
    ]


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
        _table(("whole site", "median (least-most)"), _whole(results)),
        _table(
            ("goal", "limit", "found", ""),
            [
                (
                    goal.text,
                    f"{'>=' if goal.at_least else '<='} {goal.limit:g}",
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
    cells = results.table.get((row.key, target), [])
    if not cells:
        return (row.title, target, *["-"] * 7)
    columns = [[getattr(cell, name) for cell in cells] for name in ("rate", "cpu_ms", "p50_ms", "p99_ms")]
    stock = results.table.get((row.key, "A"), [])
    compared = [_compare(columns[0], results.rates(row.key, other)) for other in ("A", "M")]
    compared.append(_compare(columns[1], [cell.cpu_ms for cell in stock]))
    return (row.title, target, *[_show(spread(column)) for column in columns], *compared)


def _compare(above: list[float], below: list[float]) -> str:
    if not below or len(above) != len(below):
        return "-"
    return _show(ratios(above, below))


def _whole(results: Results) -> list[tuple[str, str]]:
    lines = []
    for members, found in ((10, results.ten), (1000, results.thousand)):
        lines.append((f"list of {members:,}: posts/s", _show(_spread([one.posts_s for one in found]))))
        lines.append(
            (f"list of {members:,}: recipients/s", _show(_spread([one.recipients_s for one in found])))
        )
    few, many = zip(*results.callout_pairs, strict=True) if results.callout_pairs else ((), ())
    return [
        *lines,
        ("idle post, final dot to last copy, s", _show(_spread(results.idle_s))),
        ("idle PSS of all processes, MiB", _show(_spread(results.memory_mib))),
        ("start to LMTP banner, s", _show(_spread([started for started, _ in results.starts]))),
        ("Python with lmtp's imports, s", _show(_spread([imported for _, imported in results.starts]))),
        ("callout with 3 lists, lmtp CPU ms", _show(_spread([cell.cpu_ms for cell in few]))),
        ("callout with 1,000 lists, lmtp CPU ms", _show(_spread([cell.cpu_ms for cell in many]))),
    ]


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
