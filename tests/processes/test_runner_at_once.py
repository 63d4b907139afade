"""What a runner can say of an item without waiting (`Runner.at_once`): settled in order, once each, and `work` asked for all the rest."""

import signal
from collections.abc import Sequence
from pathlib import Path

import pytest

from config.names import OUTGOING, ItemId
from tests.support.bus_clients import make_worker, run
from tests.support.runners import RunnerSite, make_site, wait_for_number

pytestmark = pytest.mark.slow

LARGE = 300 * 1024  # octets: such acks go one after the other
MINE = """\
from runners import Ack, Output, Retry, Runner, Shunt

def copy(content, queue="outgoing", path=""):
    return Output(queue, content=content, recipient="anne@example.net", reverse_path=path)

class Mine(Runner):
    run = 8

    def at_once(self, lease):
        content = lease.content
        if content.startswith(b"quick"):
            return Ack(outputs=[copy(content)], reason="at once")
        if content == b"large":
            return Ack(outputs=[copy(content.ljust({large}))], reason="at once")
        if content == b"raise":
            raise ValueError("told")
        if content == b"retry":
            return Retry("not an ack")
        if content == b"nowhere":
            return Ack(outputs=[copy(content, "no-such-queue")])
        if content == b"path":
            return Ack(outputs=[copy(content, path=None)])
        return None

    async def handle(self, item, content):
        if content == b"shunt":
            return Shunt("unwanted")
        return Ack(outputs=[copy(content)], reason="worked")
"""


def make(folder: Path) -> RunnerSite:
    """Make a site with this runner."""
    return make_site(folder, MINE.replace("{large}", str(LARGE)), mine={"class": "mysite:Mine"})


def post_all(site: RunnerSite, contents: Sequence[str]) -> list[ItemId]:
    site.create_list("ant@example.org")
    return [site.post("ant@example.org", content.encode(), "mine").id for content in contents]


def made(site: RunnerSite, count: int) -> list[str]:
    """Return what went on to outgoing, in the order in which it is there."""
    found: list[str] = []

    async def take() -> None:
        async with make_worker(site.bus, "outgoing-1:1", OUTGOING) as worker:
            while len(found) < count:
                lease = await anext(worker)
                found.append(lease.content.decode().rstrip())
                assert await lease.ack()

    run(take)
    return found


def told(site: RunnerSite) -> dict[str, tuple[str, str]]:
    return {line["item_id"]: (line["outcome"], line["reason"]) for line in site.lines("item.handled")}


def test_a_run_is_settled_in_its_order_by_whoever_can_say_it(tmp_path: Path) -> None:
    contents = ["quick 1", "large", "quick 2", "raise", "quick 3", "retry", "path", "quick 4"]
    with make(tmp_path) as site:
        ids = post_all(site, contents)
        site.start("mine")
        site.wait_empty("mine")
        assert made(site, len(contents)) == contents
        words = [told(site)[item_id] for item_id in ids]
        # The run's beginning is said at once; behind one that must be worked on all are, in their order.
        assert words == [("ack", "at once")] * 3 + [("ack", "worked")] * 5
        assert len(site.lines("item.handled")) == len(contents), "one line for each"
        assert [line["item_id"] for line in site.lines("item.failed")] == [ids[3]], "what raised is told of"
        assert site.bus.queue("mine")["balanced"]


def test_every_line_names_its_own_item(tmp_path: Path) -> None:
    with make(tmp_path) as site:
        ids = post_all(site, [f"quick {number}" for number in range(8)])
        site.start("mine")
        site.wait_empty("mine")
        lines = site.lines("item.handled")
        assert [line["item_id"] for line in lines] == ids
        assert all(line["settled"] and line["queue"] == "mine" for line in lines)
        assert all(line["transit_ms"] >= line["wait_ms"] >= 0 for line in lines)


def test_what_cannot_be_settled_so_is_told_by_work(tmp_path: Path) -> None:
    with make(tmp_path) as site:
        ids = post_all(site, ["quick 1", "nowhere", "shunt", "quick 2"])
        site.start("mine")
        site.wait_empty("mine")
        assert made(site, 3) == ["quick 1", "nowhere", "quick 2"], "the queue that work names is there"
        assert {shunt["item_id"]: shunt["reason"] for shunt in site.shunts()} == {ids[2]: "unwanted"}


@pytest.mark.parametrize("place", ["runner.handle.after", "runner.ack.before", "runner.settled.before"])
def test_a_death_on_the_way_loses_and_doubles_nothing(tmp_path: Path, place: str) -> None:
    contents = [f"quick {number}" for number in range(6)]
    with make(tmp_path) as site:
        post_all(site, contents)
        assert site.reap(site.start("mine", f"{place}=kill@3")) == -signal.SIGKILL
        site.start("mine")
        wait_for_number(lambda: site.bus.queue("mine")["done"], len(contents))
        assert made(site, len(contents)) == contents
        assert site.bus.queue("outgoing")["produced"] == len(contents)
        assert site.bus.queue("mine")["balanced"]
