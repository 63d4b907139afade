"""How much memory is left before the kernel ends a process: of the machine, and of the control groups that this process is in.

Reads small files of /proc and /sys, nothing else. What is left is what Linux calls available: page cache that is not in use counts as free. Where a
file is not there or not readable (no control groups, a sandbox), it sets no limit.
"""

from collections.abc import Iterator
from pathlib import Path

UNLIMITED = 2**62  # octets; version 1 writes a number near 2**63 for "no limit"
_NAMES = (  # limit, use, the line of memory.stat with cache that can go; control groups version 2, then version 1
    ("memory.max", "memory.current", "inactive_file"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)


def find_groups(root: Path = Path("/")) -> tuple[Path, ...]:
    """Return the folders of the control groups whose memory this process uses up, the innermost first. `root` is for tests."""
    found = []
    for line in _read(root / "proc/self/cgroup").splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0":
            mount = root / "sys/fs/cgroup"
        elif "memory" in controllers.split(","):
            mount = root / "sys/fs/cgroup/memory"
        else:
            continue
        found += list(_with_parents(mount, path))
    return tuple(found)


def _with_parents(mount: Path, path: str) -> Iterator[Path]:
    parts = [part for part in path.split("/") if part]
    for length in range(len(parts), -1, -1):
        folder = mount.joinpath(*parts[:length])
        if any((folder / names[0]).exists() for names in _NAMES):
            yield folder


def available_octets(groups: tuple[Path, ...], root: Path = Path("/")) -> int:
    """Return how many octets are left; UNLIMITED when nothing says so."""
    lefts = [_left_in_group(folder) for folder in groups]
    line = _line_of(_read(root / "proc/meminfo"), "MemAvailable:")
    if line:
        lefts.append(int(line[0]) * 1024)
    return min(lefts, default=UNLIMITED)


def _left_in_group(folder: Path) -> int:
    for limit_name, use_name, cache_name in _NAMES:
        limit, use = _read(folder / limit_name).strip(), _read(folder / use_name).strip()
        if not (limit.isdigit() and use.isdigit()) or int(limit) >= UNLIMITED:  # "max"
            continue
        cache = _line_of(_read(folder / "memory.stat"), cache_name)
        return max(0, int(limit) - int(use) + (int(cache[0]) if cache else 0))
    return UNLIMITED


def _line_of(text: str, name: str) -> list[str]:
    """Return the words behind a name that begins a line; none when there is no such line."""
    return next((words[1:] for line in text.splitlines() if (words := line.split())[:1] == [name]), [])


def _read(file: Path) -> str:
    try:
        return file.read_text("ascii")
    except (OSError, UnicodeDecodeError):
        return ""
