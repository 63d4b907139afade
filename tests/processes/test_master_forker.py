"""The children of a site are forked, and nothing depends on who forks them."""

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.site import Site
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

STRAYING = """
import subprocess
from runners import Runner

class Straying(Runner):
    async def open(self):
        subprocess.run(["sh", "-c", "sleep 0.3 &"], check=True)
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("forker")
    (folder / "straying.py").write_text(STRAYING)
    with Site(folder, '[runners.straying]\nclass = "straying:Straying"\n') as made:
        yield made


@pytest.fixture(autouse=True)
def healthy(site: Site) -> None:
    site.wait_healthy()


def forker(site: Site) -> int:
    pid: int | None = (site.status()["forker"] or {}).get("pid")
    return pid or 0


def heap(pid: int) -> str:
    """Where a process's heap lies: at random for each program, the same for all that one process has forked."""
    found = re.search(r"^(\w+)-\w+ .*\[heap\]$", Path(f"/proc/{pid}/maps").read_text(), re.MULTILINE)
    return found[1] if found else ""


def heaps(site: Site) -> dict[str, str]:
    return {
        each["name"]: heap(each["pid"]) for each in site.status()["processes"] if each["name"] != "master"
    }


def parent_and_state(pid: int) -> tuple[int, str]:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return int(fields[1]), fields[0]


def kill_and_wait(site: Site, name: str) -> int:
    """Kill a process; returns the pid of the one in its place, when that is ready."""
    pid = site.kill(name)
    wait_until(lambda: (child := site.child(name))["state"] == "ready" and child["pid"] != pid, 15)
    return int(site.child(name)["pid"])


def test_every_child_is_forked_and_masters_own(site: Site) -> None:
    assert set(heaps(site).values()) == {heap(forker(site))}
    master = site.child("master")["pid"]
    for each in site.status()["processes"]:
        if each["name"] != "master":
            assert parent_and_state(each["pid"])[0] == master
            assert os.getpgid(each["pid"]) == each["pid"]
            assert Path(f"/proc/{each['pid']}/cmdline").read_bytes().startswith(b"postroom ")


def test_a_killed_child_is_forked_again(site: Site) -> None:
    assert heap(kill_and_wait(site, "incoming-1")) == heap(forker(site))


def test_a_restart_has_a_forker_with_the_code_of_now(site: Site) -> None:
    before = forker(site)
    assert site.master("restart").returncode == 0
    after = forker(site)
    assert after not in (0, before)
    assert not Path(f"/proc/{before}").exists()
    assert set(heaps(site).values()) == {heap(after)}


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "stopped"])
def test_the_end_of_the_forker_is_nothing_to_its_children(site: Site, number: signal.Signals) -> None:
    """They go on; what is to be started meanwhile is started by exec; a restart has another."""
    before = {each["name"]: each["pid"] for each in site.status()["processes"]}
    old, failed = forker(site), len(site.log("forker.failed"))
    os.kill(old, number)
    pid = kill_and_wait(site, "incoming-1")
    wait_until(lambda: len(site.log("forker.failed")) == failed + 1)
    assert heap(pid) not in ("", *(heap(before[name]) for name in ("bus", "lmtp-1", "owner-1")))
    assert not Path(f"/proc/{old}").exists()
    status = site.status()
    assert (status["state"], status["forker"]) == ("healthy", None)
    after = {each["name"]: each["pid"] for each in status["processes"]}
    assert {name for name in before if before[name] != after[name]} == {"incoming-1"}
    assert site.master("restart").returncode == 0
    assert set(heaps(site).values()) == {heap(forker(site))}


def test_what_a_runner_leaves_behind_is_no_zombie(site: Site) -> None:
    """Its orphans fall to master, as the sub-reaper of all of them."""
    master = site.child("master")["pid"]

    def is_reaped() -> bool:
        known = {each["pid"] for each in site.status()["processes"]} | {forker(site)}
        children = Path(f"/proc/{master}/task/{master}/children").read_text().split()
        return not {int(pid) for pid in children} - known

    wait_until(is_reaped)


def test_the_forker_ends_with_master_however_that_ends(site: Site) -> None:
    old = forker(site)
    site.kill("master")
    wait_until(lambda: not Path(f"/proc/{old}").exists() or parent_and_state(old)[1] == "Z")
    site.start()
    old = forker(site)
    assert site.stop().returncode == 0
    assert not Path(f"/proc/{old}").exists()
    site.start()
