"""What the kernel says of processes: CPU time, memory; and what is said of several figures: median, least, most.

Trusts /proc. CPU is user and system time of /proc/PID/stat, in ticks of 10 ms, so a window of two seconds is read to about one per cent.
"""

import os
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path

from msgspec import Struct

TICKS_S = os.sysconf("SC_CLK_TCK")


class Spread(Struct, frozen=True):
    """The median of some rounds, with the least and the most."""

    median: float
    least: float
    most: float


def spread(values: Sequence[float]) -> Spread:
    """Sum up one figure's rounds; there is at least one."""
    return Spread(statistics.median(values), min(values), max(values))


def ratios(above: Sequence[float], below: Sequence[float]) -> Spread:
    """Compare round by round, since noise that lasts longer than a round is then in both."""
    return spread([one / other for one, other in zip(above, below, strict=True) if other])


def percentile(values: Iterable[float], share: float) -> float:
    """Return the value that `share` of them do not exceed; 0 of none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def cpu_s(pids: Iterable[int]) -> float:
    """Return the CPU seconds, user and system, that these processes have used so far."""
    ticks = 0
    for pid in pids:
        # The name in field 2 may hold anything, so count from behind its closing parenthesis (proc(5)).
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / TICKS_S


def pss_mib(pids: Iterable[int]) -> float:
    """Return the memory of these processes in MiB, each shared page divided among those that share it."""
    total_kib = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total_kib += int(line.split()[1])
    return total_kib / 1024


def rss(pids: Iterable[int]) -> int:
    """Return the resident memory of these processes, octets."""
    return sum(_status_octets(pid, "VmRSS") for pid in pids)


def forget_peak(pids: Iterable[int]) -> None:
    """Let the kernel's note of the most resident memory begin again at what it is now (proc(5), clear_refs)."""
    for pid in pids:
        Path(f"/proc/{pid}/clear_refs").write_text("5")


def peak_rss(pids: Iterable[int]) -> int:
    """Return the most resident memory since `forget_peak`, octets, each process at its own moment."""
    return sum(_status_octets(pid, "VmHWM") for pid in pids)


def _status_octets(pid: int, field: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    return 0
