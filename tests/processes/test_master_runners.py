"""Runners of one's own that misbehave harm themselves alone."""

from collections.abc import Iterator

import pytest

from tests.support.site import Site
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

CONFIG = """
[runners.crashing]
class = "own_runners:Crashing"
[runners.misspelled]
class = "own_runners:NoSuchClass"
"""

RUNNERS = """
import os
from runners import Ack, Runner

class Crashing(Runner):
    async def open(self):
        os._exit(3)
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("own")
    (folder / "own_runners.py").write_text(RUNNERS)
    made = Site(folder, CONFIG)
    made.start(ready=False)
    wait_until(lambda: made.status()["state"] != "down", 15)
    yield made
    made.end()


def test_one_that_ends_before_it_is_ready_backs_off_and_harms_nobody(site: Site) -> None:
    delays = wait_until(
        lambda: (found := [line["delay_s"] for line in site.log("child.delayed")])[3:] and found,
        40,
        every_s=0.3,
    )
    assert delays == sorted(delays)
    assert delays[0] <= 2.0
    others = [
        each for each in site.status()["processes"] if each["name"] not in ("crashing-1", "misspelled-1")
    ]
    assert {(each["state"], each["restarts"]) for each in others} == {("ready", 0)}
    assert site.child("crashing-1")["state"] in ("backoff", "starting")
    assert site.status()["state"] == "degraded"


def test_one_whose_configuration_is_bad_is_not_started_again(site: Site) -> None:
    wait_until(lambda: site.child("misspelled-1")["state"] == "failed", 15)
    child = site.child("misspelled-1")
    assert (child["restarts"], child["pid"]) == (0, None)
    assert [line["child"] for line in site.log("child.failed")] == ["misspelled-1"]
    assert site.master("status").returncode == 1


def test_a_site_with_broken_runners_stops_in_order(site: Site) -> None:
    assert site.stop().returncode == 0
    assert site.processes() == []
