"""The rows that every target has: accepting and callouts, measured in turns.

One round takes every target through every row; each other round goes through the targets backwards, so that a drift of the machine
hits all alike. Before each cell every target's queues are empty.
"""

import time
from collections.abc import Callable, Iterator, Sequence

from msgspec import Struct

from bench.load import (
    Letter,
    Load,
    LoadFailed,
    Mail,
    Script,
    Tally,
    call_out,
    deliver,
    hand_in_all,
    make_messages,
)
from bench.measure import cpu_s, forget_peak, peak_rss, percentile, rss
from bench.targets import LISTS, Target, TargetFailed, list_address

WARM_S = 0.3  # connections made, code paths warm
BIG = 10 * 2**20  # octets of the message whose way through memory is looked at
BIG_S = 60.0  # for that one message


class Row(Struct, frozen=True):
    """One kind of load that every target gets."""

    key: str
    title: str
    sessions: int
    size: int = 4096  # octets
    per_connection: int | None = None  # messages
    callouts: bool = False
    pipelines: bool = False  # where the target offers it


ROWS = (
    Row("accept-10", "accept 4 KiB, 10 sessions", 10),
    Row("accept-50", "accept 4 KiB, 50 sessions", 50),
    Row("accept-100k", "accept 100 KiB, 10 sessions", 10, size=102400),
    Row("connections", "one 4 KiB message a connection, 10 at a time", 10, per_connection=1),
    Row("pipelined-10", "4 KiB, 10 sessions as an MTA: pipelined where offered", 10, pipelines=True),
    Row("pipelined-50", "4 KiB, 50 sessions as an MTA: pipelined where offered", 50, pipelines=True),
    Row("callouts", "callouts on 10 kept connections", 10, callouts=True),
)


class Cell(Struct, frozen=True):
    """What one target did in one row of one round."""

    rate: float  # messages or callouts a second
    cpu_ms: float  # server CPU of one
    p50_ms: float
    p99_ms: float


Table = dict[tuple[str, str], list[Cell]]  # (row, target) -> a cell each round


def measure_rows(
    targets: Sequence[Target], rows: Sequence[Row], rounds: int, window_s: float, say: Callable[[str], None]
) -> Table:
    """Fill the table. A target that fails once is left out from there on; `say` is told of progress and failures."""
    table: Table = {}
    failed: set[str] = set()
    for number in range(rounds):
        for row in rows:
            for target in targets if number % 2 == 0 else tuple(reversed(targets)):
                if target.name in failed:
                    continue
                try:
                    cell = measure_cell(target, row, f"{row.key}-{number}", window_s)
                except (LoadFailed, TargetFailed, OSError) as error:
                    failed.add(target.name)
                    say(f"{target.name} failed in {row.key}: {error}")
                    continue
                table.setdefault((row.key, target.name), []).append(cell)
                say(
                    f"round {number + 1}  {row.key:12} {target.name:9} {cell.rate:8.0f}/s {cell.cpu_ms:7.3f} ms CPU"
                )
    return table


def measure_cell(target: Target, row: Row, run: str, window_s: float) -> Cell:
    """Give one target one row's load for a window."""
    addresses = [list_address(number) for number in range(LISTS)]
    return measure_load(target, row, Mail(row.size, addresses, run=run), target.pids(), window_s)


def measure_load(target: Target, row: Row, mail: Mail, pids: Sequence[int], window_s: float) -> Cell:
    """Give a target the load of a row, count the CPU of `pids`, and empty the target's queues afterwards."""
    tally = Tally()
    with Load(target.address, row.sessions, tally, _scripts(row, mail, tally)) as load:
        load.turn(WARM_S)
        first, cpu, start = len(tally.latencies), cpu_s(pids), time.monotonic()
        load.turn(window_s)
        latencies = tally.latencies[first:]
        elapsed, cpu = time.monotonic() - start, cpu_s(pids) - cpu
    target.settle()
    if not latencies:
        raise LoadFailed(f"nothing was answered within {window_s:g} s")
    return Cell(
        rate=len(latencies) / elapsed,
        cpu_ms=1000 * cpu / len(latencies),
        p50_ms=1000 * percentile(latencies, 0.5),
        p99_ms=1000 * percentile(latencies, 0.99),
    )


def _scripts(row: Row, mail: Mail, tally: Tally) -> Callable[[], Script]:
    messages: Iterator[bytes] = make_messages(mail)
    if row.callouts:
        return lambda: call_out(mail, tally)
    return lambda: deliver(mail, messages, tally, per_connection=row.per_connection, pipelines=row.pipelines)


def measure_big(target: Target, run: str) -> float:
    """Hand in one message of 10 MiB; return the most extra memory of the front-end meanwhile, in sizes of that message.

    For a target that was just started: memory that an earlier load has left free would be used again and not be seen.
    Raises LoadFailed, TargetFailed.
    """
    small, big = (_letter(Mail(size, [list_address(0)], run=f"{run}-{size}")) for size in (4096, BIG))
    hand_in_all(target.address, [small], 1, BIG_S)  # code paths warm
    pids = target.front_end()
    before = rss(pids)
    forget_peak(pids)
    hand_in_all(target.address, [big], 1, BIG_S)
    extra = peak_rss(pids) - before
    target.settle()
    return extra / len(big.content)


def _letter(mail: Mail) -> Letter:
    return Letter(mail.sender, mail.recipients[0], next(make_messages(mail, 1)))
