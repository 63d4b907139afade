"""`make bench`: measure in turns, print the tables, with --record also add them to bench/RESULTS.md.

Takes less than 20 minutes; nothing else should run on the machine. See load.py for how the load is made and report.py for how figures are to be read.
"""

import argparse
import contextlib
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path

import msgspec
from msgspec import Struct

from bench import report, whole
from bench.load import LoadFailed
from bench.mailman import WholeMailman
from bench.rows import ROWS, measure_big, measure_rows
from bench.site import Postroom, Sink
from bench.suite import Suite
from bench.targets import LISTS, Mailman, Stock, Target, TargetFailed
from bench.whole import Work
from config.clock import Clock

RESULTS = Path(__file__).with_name("RESULTS.md")


class Plan(Struct, frozen=True):
    """How long and how often."""

    rounds: int = 5
    window_s: float = 2.0
    suite_rounds: int = 3
    pairs: int = 9  # of callouts with few and with many lists
    mailman: Work = Work(idle=5, ten=60, thousand=4, bounces=100, joins=40)  # some seconds of each
    postroom: Work = Work(idle=11, ten=600, thousand=30, bounces=1000, joins=600)
    enough_s: float = (
        900.0  # no round of the suites is begun later: a slow machine, too, is done in 20 minutes
    )


QUICK = Plan(
    rounds=1,
    window_s=0.7,
    suite_rounds=1,
    pairs=1,
    mailman=Work(idle=2, ten=20, thousand=1, bounces=30, joins=10),
    postroom=Work(idle=3, ten=100, thousand=5, bounces=300, joins=100),
    enough_s=180.0,
)


def say(text: str) -> None:
    """Show progress; the tables alone go to stdout."""
    print(text, file=sys.stderr, flush=True)


@contextlib.contextmanager
def started(targets: Sequence[Target]) -> Iterator[list[Target]]:
    """Start targets one after the other, leave out those that cannot be, end all in the end."""
    with contextlib.ExitStack() as stack:
        running: list[Target] = []
        for target in targets:
            say(f"starting {target.name}")
            stack.callback(
                target.stop
            )  # before it is started: a start that is broken off has begun something
            try:
                target.start()
                running.append(target)
            except (TargetFailed, OSError) as error:
                say(f"{target.name} is left out: {error}")
                target.stop()
        yield running


def measure(plan: Plan, names: Sequence[str]) -> report.Results:
    """Measure what `names` has: A, M, P."""
    results, begun = report.Results(), time.monotonic()
    with contextlib.ExitStack() as stack:
        sink = Sink()
        stack.callback(sink.stop)
        sink.start()
        targets = [one for one in (Stock(), Mailman(), Postroom(sink.port)) if one.name in names]
        with started(targets) as running:
            measure_bigs(running, results)
            results.table = measure_rows(running, ROWS, plan.rounds, plan.window_s, say)
        suites = [one for one in (WholeMailman(sink.port), Postroom(sink.port)) if one.name in names]
        measure_suites(suites, sink, plan, begun, results)
        if "P" in names:
            measure_many(sink, plan, results)
    return results


def measure_bigs(running: Sequence[Target], results: report.Results) -> None:
    """Measure the memory of a big message in targets that have done nothing yet."""
    for target in running:
        try:
            results.big[target.name] = measure_big(target, f"big-{target.name}")
        except (LoadFailed, TargetFailed, OSError) as error:
            say(f"{target.name} failed with 10 MiB: {error}")


def measure_suites(
    suites: Sequence[Suite], sink: Sink, plan: Plan, begun: float, results: report.Results
) -> None:
    """Measure whole suites in turns, the other one first in each other round."""
    for number in range(plan.suite_rounds):
        if time.monotonic() - begun > plan.enough_s:
            say(f"only {number} rounds of the suites: {plan.enough_s:g} s are over")
            break
        for suite in suites if number % 2 == 0 else tuple(reversed(suites)):
            work = plan.mailman if suite.name == "M" else plan.postroom
            found = whole.measure_suite(suite, sink, work, f"suite-{number}", say)
            found.imports_s = whole.measure_imports()
            results.rounds.setdefault(suite.name, []).append(found)


def measure_many(sink: Sink, plan: Plan, results: report.Results) -> None:
    """Measure callouts with few and with many lists."""
    few = Postroom(sink.port, members=False)
    many = Postroom(sink.port, "postroom-many", lists=whole.MANY_LISTS, members=False)
    with started([few, many]) as running:
        if len(running) < 2:
            return
        lists = (LISTS, whole.MANY_LISTS)
        try:
            results.callout_pairs = whole.measure_pairs(few, many, lists, plan.pairs, plan.window_s, say)
        except (LoadFailed, TargetFailed, OSError) as error:
            say(f"callouts failed: {error}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run what the command line asks for: 0 when everything was measured, whatever it is."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--rounds", type=int, help="rounds of the rows (5)")
    parser.add_argument("--quick", action="store_true", help="a short look: one round, short windows")
    parser.add_argument("--only", default="AMP", help='targets, "AM" leaves Postroom out')
    parser.add_argument("--record", action="store_true", help="add the tables to bench/RESULTS.md")
    arguments = parser.parse_args(argv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the targets are ended on the way out
    plan = QUICK if arguments.quick else Plan()
    if arguments.rounds:
        plan = msgspec.structs.replace(plan, rounds=arguments.rounds)
    results = measure(plan, arguments.only)
    settings = f"median of {plan.rounds} rounds of {plan.window_s:g} s, {plan.suite_rounds} of the suites (least-most)"
    text = report.render(results, ROWS, settings)
    print(text)
    if arguments.record:
        record(text, Clock().now().date())
    return 0 if all(goal.found is not None for goal in report.judge(results)) else 1


def record(text: str, day: date) -> None:
    """Add a run to the results."""
    with RESULTS.open("a", encoding="utf-8") as file:
        file.write(f"\n## {day.isoformat()}\n\n{text}\n")


if __name__ == "__main__":
    raise SystemExit(main())
