"""`make fuzz`: every target for its share of the time, one after the other, with what was found at the end.

Inputs that reached something new lie in tests/fuzz/out/TARGET and are there for the next run; crashes, time-outs and memory eaters in tests/fuzz/crashes, with the
command that replays each. What should stay for ever is copied to tests/fuzz/corpus/TARGET by --keep: few and small inputs that together reach all that was reached.
"""

import argparse
import re
import subprocess
import sys
from collections.abc import Iterable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Final

from msgspec import Struct

from tests.fuzz.reach import reach
from tests.fuzz.seeds import CORPUS, kept, seeds
from tests.fuzz.targets import MAX_INPUT, TARGETS

HERE: Final = Path(__file__).resolve().parent
OUT: Final = HERE / "out"
CRASHES: Final = HERE / "crashes"
SHARES: Final = {"dialogue": 4}  # of the time; every other target has 1
SLOW_S: Final = 10  # for one input
MEMORY_MB: Final = 1024
MAX_KEPT: Final = 40  # files of a target's corpus
MAX_KEPT_SIZE: Final = 512  # octets of each
_RUNS: Final = re.compile(r"stat::number_of_executed_units:\s+(\d+)")
_COVERAGE: Final = re.compile(r"cov: (\d+) ft: (\d+) corp: (\d+)")


class Found(Struct, frozen=True):
    """What came of one target."""

    target: str
    runs: int
    edges: int
    features: int
    crashes: tuple[Path, ...]


def fuzz(target: str, seconds: int) -> Found:
    """Run one target in a process of its own, since libFuzzer ends it."""
    out = OUT / target
    out.mkdir(parents=True, exist_ok=True)
    CRASHES.mkdir(exist_ok=True)
    _write(out, seeds(target))
    before = set(CRASHES.glob(f"{target}-*"))
    command = [sys.executable, "-m", "tests.fuzz.fuzz", target, f"-max_total_time={seconds}"]
    command += [
        f"-dict={HERE / 'words.dict'}",
        f"-max_len={MAX_INPUT}",
        f"-timeout={SLOW_S}",
        f"-rss_limit_mb={MEMORY_MB}",
        "-print_final_stats=1",
    ]
    command += [
        f"-artifact_prefix={CRASHES / target}-",
        str(out),
        *([str(CORPUS / target)] if kept(target) else []),
    ]
    done = subprocess.run(
        command,
        cwd=HERE.parents[1],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    crashes = tuple(sorted(set(CRASHES.glob(f"{target}-*")) - before))
    if done.returncode or crashes:
        print(done.stdout[-2000:], done.stderr[-4000:], sep="\n", flush=True)
    if done.returncode and not crashes:
        raise SystemExit(f"{target}: the fuzzer itself failed, status {done.returncode}")
    runs, coverage = _RUNS.search(done.stderr), _COVERAGE.findall(done.stderr)
    edges, features, _ = map(int, coverage[-1]) if coverage else (0, 0, 0)
    return Found(target, int(runs[1]) if runs else 0, edges, features, crashes)


def keep(target: str) -> int:
    """Put small inputs into the corpus that reach what neither the seeds nor the kept ones do; returns how many are new."""
    reached = reach(target, [*seeds(target), *(path.read_bytes() for path in kept(target))])
    found = sorted((path.read_bytes() for path in (OUT / target).glob("*")), key=len)
    new: list[bytes] = []
    for octets in found:
        if len(octets) > MAX_KEPT_SIZE or len(kept(target)) + len(new) >= MAX_KEPT:
            break
        places = reach(target, [octets])
        if not places <= reached:
            reached |= places
            new.append(octets)
    (CORPUS / target).mkdir(parents=True, exist_ok=True)
    _write(CORPUS / target, new)
    return len(new)


def _write(folder: Path, inputs: Iterable[bytes]) -> None:
    for octets in inputs:
        (folder / sha256(octets).hexdigest()[:16]).write_bytes(octets)


def main(argv: Sequence[str] | None = None) -> int:
    """Fuzz; 1 when something was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=600, help="for all targets together")
    parser.add_argument(
        "--keep", action="store_true", help="copy what reached new places to tests/fuzz/corpus"
    )
    parser.add_argument("targets", nargs="*", default=[], metavar="TARGET", help=", ".join(TARGETS))
    options = parser.parse_args(argv)
    targets = options.targets or list(TARGETS)
    share_s = options.seconds / sum(SHARES.get(target, 1) for target in targets)
    crashes: list[Path] = []
    print(f"{'target':12} {'inputs run':>12} {'edges':>8} {'features':>9} {'new kept':>9}", flush=True)
    for target in targets:
        found = fuzz(target, max(1, round(share_s * SHARES.get(target, 1))))
        new = keep(target) if options.keep else 0
        print(f"{target:12} {found.runs:12} {found.edges:8} {found.features:9} {new:9}", flush=True)
        crashes += found.crashes
    for path in crashes:
        target = path.name.partition("-")[0]
        print(f"found: {path}\nreplay: python -m tests.fuzz.fuzz {target} {path}")
    return int(bool(crashes))


if __name__ == "__main__":
    sys.exit(main())
