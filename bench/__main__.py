"""`make bench`: measure in turns, print the tables, with --record also add them to bench/RESULTS.md.

Takes less than 15 minutes; nothing else should run on the machine. See load.py for how the load is made and report.py for how figures are to be read.
"""

import argparse
import contextlib
import signal
import sys
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path

import msgspec
from msgspec import Struct

from bench import report, whole
from bench.load import LoadFailed
from bench.rows import ROWS, measure_rows
from bench.site import Postroom, Sink
from bench.targets import LISTS, Mailman, Stock, Target, TargetFailed
from config.clock import Clock

RESULTS = Path(__file__).with_name("RESULTS.md")


class Plan(Struct, frozen=True):
    """How long and how often."""

    rounds: int = 5
    window_s: float = 2.0
    pairs: int = 9  # of callouts with few and with many lists
    bursts: int = 3  # each list
    ten_posts: int = 600
    thousand_posts: int = 30
    idle_posts: int = 11
    starts: int = 5


QUICK = Plan(
    rounds=1, window_s=0.7, pairs=1, bursts=1, ten_posts=60, thousand_posts=5, idle_posts=3, starts=1
)


def say(text: str) -> None:
    """Show progress; the tables alone go to stdout."""
    print(text, file=sys.stderr, flush=True)


@contextlib.contextmanager
def started(targets: Sequence[Target]) -> Iterator[list[Target]]:
    """Start targets one after the other, leave out those that cannot be, end all in the end."""
    running: list[Target] = []
    try:
        for target in targets:
            say(f"starting {target.name}")
            try:
                target.start()
            except (TargetFailed, OSError) as error:
                say(f"{target.name} is left out: {error}")
                target.stop()
                continue
            running.append(target)
        yield running
    finally:
        for target in running:
            target.stop()


def measure(plan: Plan, names: Sequence[str]) -> report.Results:
    """Measure what `names` has: A, M, P."""
    results = report.Results()
    with contextlib.ExitStack() as stack:
        sink = Sink()
        stack.callback(sink.stop)
        sink.start()
        site = Postroom(sink.port)
        targets = [one for one in (Stock(), Mailman(), site) if one.name in names]
        running = stack.enter_context(started(targets))
        results.table = measure_rows(running, ROWS, plan.rounds, plan.window_s, say)
        for target in running:
            if target is not site:
                target.stop()  # the rest is the site's alone
        if site in running:
            try:
                measure_site(site, sink, plan, results)
            except (LoadFailed, TargetFailed, OSError) as error:
                say(f"P failed: {error}")
    return results


def measure_site(site: Postroom, sink: Sink, plan: Plan, results: report.Results) -> None:
    """Measure what only a whole site has. Raises LoadFailed, TargetFailed."""
    results.memory_mib.append(whole.measure_memory(site))
    for number in range(plan.idle_posts):
        results.idle_s.append(whole.measure_idle_post(site, sink, "ten@example.org", f"idle-{number}"))
    for number in range(plan.bursts):
        say(f"mail end to end, burst {number + 1}")
        results.ten.append(
            whole.measure_posts(site, sink, "ten@example.org", plan.ten_posts, f"ten-{number}")
        )
        results.thousand.append(
            whole.measure_posts(site, sink, "thousand@example.org", plan.thousand_posts, f"thousand-{number}")
        )
    many = Postroom(sink.port, "postroom-many", lists=whole.MANY_LISTS, members=False)
    with started([many]) as running:
        if running:
            lists = (LISTS, whole.MANY_LISTS)
            results.callout_pairs = whole.measure_pairs(site, many, lists, plan.pairs, plan.window_s, say)
    for number in range(plan.starts):
        say(f"start {number + 1}")
        results.starts.append(whole.measure_start(site))
        site.wait_until_ready()
        results.memory_mib.append(whole.measure_memory(site))


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
    settings = f"median of {plan.rounds} rounds of {plan.window_s:g} s (least-most)"
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
