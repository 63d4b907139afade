"""What dies or hangs under bin/master is replaced, and nothing else notices."""

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from master.plan import BUILT_IN_RUNNERS
from tests.support.site import Site
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

NAMES = ("bus", "lmtp-1", *(f"{queue}-1" for queue in BUILT_IN_RUNNERS))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with Site(tmp_path_factory.mktemp("restarts"), '[runners.later]\naddresses = ["-later"]\n') as made:
        yield made


@pytest.fixture(autouse=True)
def healthy(site: Site) -> None:
    site.wait_healthy()


def pids(site: Site) -> dict[str, int]:
    return {each["name"]: each["pid"] for each in site.status()["processes"]}


def replaced(site: Site, name: str, pid: int) -> dict[str, Any] | None:
    child = site.child(name)
    return child if child["state"] == "ready" and child["pid"] != pid else None


@pytest.mark.parametrize("name", NAMES)
def test_a_killed_process_is_back_within_two_seconds(site: Site, name: str) -> None:
    before = pids(site)
    count = site.child(name)["restarts"]
    pid = site.kill(name)
    child = wait_until(lambda: replaced(site, name, pid), 2.5, what=f"{name} is back")
    assert child["restarts"] == count + 1
    after = pids(site)
    assert {each for each in before if before[each] != after[each]} == {name}


@pytest.mark.parametrize("name", ["bus", "lmtp-1", "incoming-1"])
def test_a_stopped_process_is_killed_and_replaced(site: Site, name: str) -> None:
    began = time.monotonic()
    pid = site.kill(name, signal.SIGSTOP)
    wait_until(lambda: replaced(site, name, pid), 10, what=f"{name} is replaced")
    assert time.monotonic() - began > 4  # three beats, not one
    (line,) = [line for line in site.log("child.exited") if line["pid"] == pid]
    assert line["signal"] == "SIGKILL"


def test_a_process_that_ends_by_itself_is_replaced_too(site: Site) -> None:
    pid = site.kill("owner-1", signal.SIGTERM)
    wait_until(lambda: replaced(site, "owner-1", pid), 5)


def test_one_that_dies_again_and_again_is_started_at_most_once_a_second(site: Site) -> None:
    began, starts = time.monotonic(), site.child("owner-1")["restarts"]
    while time.monotonic() < began + 4:
        child = site.child("owner-1")
        if child["pid"] is not None:
            site.kill("owner-1")
    assert site.child("owner-1")["restarts"] - starts <= 6
    site.wait_healthy()


def test_a_restart_replaces_everybody_but_master_and_refuses_no_client(site: Site) -> None:
    before = pids(site)
    refused: list[str] = []
    ending = threading.Event()

    def connect() -> None:
        while not ending.is_set():
            try:
                with socket.create_connection(("127.0.0.1", site.port), timeout=20) as client:
                    greeting = client.recv(512)
                    if not greeting.startswith((b"220", b"421")):
                        refused.append(repr(greeting))
            except OSError as error:
                refused.append(repr(error))

    thread = threading.Thread(target=connect)
    thread.start()
    try:
        done = site.master("restart")
    finally:
        ending.set()
        thread.join(30)
    assert (done.returncode, done.stderr) == (0, "")
    assert refused == []
    after = pids(site)
    assert site.status()["state"] == "healthy"
    assert {name for name in before if before[name] == after[name]} == {"master"}


def test_scaling_starts_and_drains_and_is_remembered(site: Site) -> None:
    before = pids(site)
    assert site.master("scale", "incoming", "3").returncode == 0
    assert {"incoming-1", "incoming-2", "incoming-3"} <= set(pids(site))
    assert site.master("scale", "lmtp", "2").returncode == 0
    assert site.status()["state"] == "healthy"
    site.stop()
    site.start()
    assert {"incoming-3", "lmtp-2"} <= set(pids(site))
    assert site.master("scale", "incoming", "1").returncode == 0
    assert site.master("scale", "lmtp", "1").returncode == 0
    assert set(pids(site)) == set(before)
    drained = [line for line in site.log("child.exited") if line["child"] == "incoming-3"]
    assert {line["code"] for line in drained} == {0}


def test_a_master_that_stood_still_blames_nobody(site: Site) -> None:
    """Beats that came meanwhile are read before anybody is called silent; mail flows on without master."""
    before = pids(site)
    stuck = len(site.log("child.stuck"))
    master = site.kill("master", signal.SIGSTOP)
    time.sleep(8)  # the length of the fault, longer than three beats
    os.kill(master, signal.SIGCONT)
    assert pids(site) == before
    time.sleep(1)  # would be the time of a stack dump
    assert pids(site) == before
    assert len(site.log("child.stuck")) == stuck


def test_what_cannot_be_scaled_is_refused_with_the_reason(site: Site) -> None:
    for arguments, text in (
        (("later", "1"), "no runner class"),
        (("nosuch", "1"), "there is no"),
        (("incoming", "65"), "0 to 64"),
    ):
        done = site.master("scale", *arguments)
        assert (done.returncode, text in done.stderr) == (1, True)


def test_a_stuck_process_leaves_its_stacks_in_the_output(site: Site) -> None:
    """What master does to a stuck one, by hand: SIGUSR2 writes every thread's stack to stderr."""
    before = site.output().count("Current thread")
    site.kill("incoming-1", signal.SIGUSR2)
    wait_until(lambda: site.output().count("Current thread") > before)
