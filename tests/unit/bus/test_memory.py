"""How much memory is left: on files as Linux writes them."""

from pathlib import Path

import pytest

from bus.memory import UNLIMITED, available_octets, find_groups

MIB = 2**20
MEMINFO = (
    "MemTotal:       2048000 kB\nMemFree:          10240 kB\nMemAvailable:    1024000 kB\nBuffers: 1 kB\n"
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A machine with 1000 MiB available."""
    write(tmp_path / "proc/meminfo", MEMINFO)
    return tmp_path


def write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def write_group(folder: Path, limit: str, use: int, cache: int = 0) -> None:
    """Write a group of version 2."""
    write(folder / "memory.max", f"{limit}\n")
    write(folder / "memory.current", f"{use}\n")
    write(folder / "memory.stat", f"anon {use - cache}\ninactive_file {cache}\nactive_file 0\n")


def test_this_machine_has_memory_left() -> None:
    """Whatever it is: the files are there and say a number."""
    assert 0 < available_octets(find_groups()) < UNLIMITED


def test_without_groups_the_machine_decides(root: Path) -> None:
    """What Linux calls available, not what is free."""
    assert find_groups(root) == ()
    assert available_octets((), root) == 1000 * MIB


def test_a_group_with_a_limit_decides_when_less_is_left_in_it(root: Path) -> None:
    """Cache that is not in use counts as free; a group without a limit sets none."""
    groups = root / "sys/fs/cgroup"
    write(root / "proc/self/cgroup", "0::/system.slice/postroom.service\n")
    write_group(groups / "system.slice/postroom.service", str(300 * MIB), 250 * MIB, 30 * MIB)
    write_group(groups / "system.slice", "max", 900 * MIB)
    assert available_octets(find_groups(root), root) == 80 * MIB


def test_a_limit_of_an_outer_group_counts_too(root: Path) -> None:
    """A container's limit, seen from a service within."""
    groups = root / "sys/fs/cgroup"
    write(root / "proc/self/cgroup", "0::/a/b\n")
    write_group(groups / "a/b", "max", 10 * MIB)
    write_group(groups / "a", str(100 * MIB), 60 * MIB)
    assert available_octets(find_groups(root), root) == 40 * MIB


def test_the_older_control_groups_are_read_as_well(root: Path) -> None:
    """Their number for "no limit" is near 2**63."""
    folder = root / "sys/fs/cgroup/memory"
    write(root / "proc/self/cgroup", "9:cpu,cpuacct:/x\n4:memory:/x\n")
    for place, limit in ((folder / "x", 200 * MIB), (folder, 9223372036854771712)):
        write(place / "memory.limit_in_bytes", f"{limit}\n")
        write(place / "memory.usage_in_bytes", f"{150 * MIB}\n")
        write(place / "memory.stat", f"inactive_file 1\ntotal_inactive_file {10 * MIB}\n")
    assert available_octets(find_groups(root), root) == 60 * MIB


def test_where_nothing_can_be_read_nothing_is_limited(tmp_path: Path) -> None:
    """A sandbox without /proc."""
    assert available_octets(find_groups(tmp_path), tmp_path) == UNLIMITED
