"""Runs: consecutive items of one list that a runner has in hand together. In order, once each, whatever fails or dies."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from bus.client import publish_now
from bus.messages import Ack, Acks, Item, Job, LeaseToken, Settled
from config.names import OUTGOING, ItemId, ListId
from tests.support.bounces import block, make_dsn
from tests.support.bus_clients import Zombie, make_worker, run, until
from tests.support.bus_process import BusProcess, make_item, make_output, running_bus, wait_until
from tests.support.runners import RunnerSite, make_site, wait_for_number

pytestmark = pytest.mark.slow

ANT = ListId("ant.example.org")
MEMBERS = tuple(f"m{number}@place-{number}.example.net" for number in range(5))
JOINING = """\
import os
from pathlib import Path
from lists.changes import JoinMember
from runners import Ack, Retry, Runner, Shunt
from runners.site import Decision

class Mine(Runner):
    run = 8

    async def handle(self, item, content):
        if content == b"shunt":
            return Shunt("unwanted")

        def decide(roster):
            if content == b"die":
                os._exit(9)
            if content == b"raise":
                raise ValueError("poison")
            if content == b"retry" and not Path("{folder}/healed").exists():
                return Decision(Retry("not now"))
            return Decision(Ack(reason="joined"), (JoinMember(item.list_id, content.decode() + "@example.net"),))

        return await self.site.store.apply_once(item.id, decide)
"""


# The bus --------------------------------------------------------------------------------------------------------------


def publish(bus: BusProcess, names: Sequence[str], size: int = 1) -> list[Item]:
    """Publish an item for each of these lists, each with a content of its own."""
    items = [make_item(list_id=name, size=size) for name in names]
    for number, item in enumerate(items):
        publish_now(bus.settings, [item], str(number).encode() * size)
    return items


def test_a_run_is_lent_at_once_and_in_order_and_its_list_waits_for_it(tmp_path: Path) -> None:
    async def go() -> None:
        items = publish(bus, "aaaba")
        async with make_worker(bus, slots=2, lent=3) as worker:
            first = await anext(worker)
            of_a = (first, *worker.rest_of(first))
            of_b = await anext(worker)
            assert [lease.item.id for lease in of_a] == [item.id for item in items[:3]]
            assert [lease.content for lease in of_a] == [b"0", b"1", b"2"]
            assert (of_b.item.id, worker.rest_of(of_b)) == (items[3].id, ())
            for lease in of_a[:2]:
                assert await lease.ack()
            assert bus.queue("incoming")["ready"] == 1
            assert await of_a[2].ack()
            last = await anext(worker)
            assert last.item.id == items[4].id

    with running_bus(tmp_path) as bus:
        run(go)


@pytest.mark.parametrize("dies", [False, True], ids=["at once", "over a death of the bus"])
def test_acks_of_one_moment_keep_their_order_and_their_outputs(tmp_path: Path, dies: bool) -> None:
    """They leave as one message; a large one leaves alone, and overtakes nobody."""
    sizes = (3, 200_000, 5, 4)

    async def go() -> None:
        publish(bus, "aaaa")
        async with make_worker(bus, lent=4) as worker:
            first = await anext(worker)
            leases = (first, *worker.rest_of(first))
            if dies:
                bus.kill()
            acks = [
                lease.ack(
                    [
                        make_output(lease.item, "outgoing", 0, content=1),
                        make_output(lease.item, "outgoing", 1),
                    ],
                    [b"unused", bytes([48 + number]) * size],
                )
                for number, (lease, size) in enumerate(zip(leases, sizes, strict=True))
            ]
            if dies:
                await until(lambda: not worker.connected)  # what they have said is lost
                bus.start()
            assert [await ack for ack in acks] == [True] * 4
        async with make_worker(bus, "outgoing-1:1", OUTGOING, slots=8) as worker:
            for number, size in enumerate(sizes):
                for content in (bytes([48 + number]) * size, str(number).encode()):
                    made = await anext(worker)
                    assert made.content == content
                    assert await made.ack()

    with running_bus(tmp_path) as bus:
        run(go)
        assert bus.queue("incoming")["done"] == 4
        assert bus.queue("incoming")["balanced"]
        assert bus.queue("outgoing")["balanced"]


def test_one_bad_ack_among_others_is_set_aside_alone(tmp_path: Path) -> None:
    with running_bus(tmp_path) as bus, Zombie(bus, "incoming-1:1") as zombie:
        publish(bus, "abc")
        zombie.hello(slots=3)
        jobs = [zombie.hear() for _ in range(3)]
        acks = []
        for number, job in enumerate(jobs):
            assert isinstance(job, Job)
            outputs = (
                (make_output(job.item, "outgoing", content=1),) if number == 1 else ()
            )  # its frames: one
            acks.append((Ack(lease=job.lease, outputs=outputs), 1))
        zombie.say(Acks(tuple(acks)), b"0", b"1", b"2")
        results: dict[LeaseToken, str] = {}
        while len(results) < 3:
            heard = zombie.hear()
            assert isinstance(heard, Settled)
            results |= dict(heard.results)
        assert [results[ack.lease] for ack, _ in acks] == ["done", "refused", "done"]
        assert [bus.queue("incoming")[state] for state in ("done", "shunted")] == [2, 1]


def test_who_takes_no_runs_gets_none(tmp_path: Path) -> None:
    async def go() -> None:
        publish(bus, "aa")
        async with make_worker(bus, slots=2) as worker:
            lease = await anext(worker)
            assert worker.rest_of(lease) == ()
            assert bus.queue("incoming")["ready"] == 1

    with running_bus(tmp_path) as bus:
        run(go)


def test_what_is_read_from_the_journal_keeps_its_order_among_what_is_at_hand(tmp_path: Path) -> None:
    """After a start the old items have to be read, and the new ones are still in memory."""

    async def go() -> None:
        before = publish(bus, "aa")
        bus.kill()
        bus.start()
        after = publish(bus, "aa")
        async with make_worker(bus, lent=8) as worker:
            first = await anext(worker)
            assert [lease.item.id for lease in (first, *worker.rest_of(first))] == [
                item.id for item in before + after
            ]

    with running_bus(tmp_path) as bus:
        run(go)


def test_a_run_in_hand_outlives_the_bus(tmp_path: Path) -> None:
    async def go() -> None:
        publish(bus, "aaa")
        async with make_worker(bus, lent=3) as worker:
            first = await anext(worker)
            leases = (first, *worker.rest_of(first))
            assert await leases[0].ack()
            async with make_worker(bus, "incoming-2:1", lent=3) as other:
                await until(lambda: other.connected)
                bus.kill()
                bus.start()
                assert [await lease.ack() for lease in leases[1:]] == [True, True]

    with running_bus(tmp_path) as bus:
        run(go)
        assert bus.queue("incoming")["done"] == 3
        assert bus.queue("incoming")["balanced"]


def test_what_goes_back_before_a_retry_waits_with_it(tmp_path: Path) -> None:
    async def go() -> None:
        publish(bus, "aaa")
        async with make_worker(bus, lent=3) as worker:
            first = await anext(worker)
            rest = worker.rest_of(first)
            for lease in rest:
                lease.give_back()
            assert await first.retry("not now", declared=True)
            queue = bus.queue("incoming")
            assert (queue["ready"], queue["leased"], queue["deferred"]) == (2, 0, 1)

    with running_bus(tmp_path) as bus:
        run(go)


# Runners --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def source(tmp_path: Path) -> str:
    return JOINING.replace("{folder}", str(tmp_path))


def joined(site: RunnerSite) -> list[str]:
    """Return who has joined, in that order."""
    members = sorted(site.store.members(ANT), key=lambda member: member.id)
    return [member.address.partition("@")[0] for member in members]


def post_all(site: RunnerSite, contents: Sequence[str]) -> list[ItemId]:
    site.create_list("ant@example.org")
    return [site.post("ant@example.org", content.encode(), "mine").id for content in contents]


def handled(site: RunnerSite) -> list[tuple[str, str]]:
    return [(line["item_id"], line["outcome"]) for line in site.lines("item.handled")]


def test_a_run_is_handled_in_order_and_settled_as_a_whole(tmp_path: Path, source: str) -> None:
    with make_site(tmp_path, source, mine={"class": "mysite:Mine"}) as site:
        ids = post_all(site, [f"x{number}" for number in range(12)])
        site.start("mine")
        site.wait_empty("mine")
        assert joined(site) == [f"x{number}" for number in range(12)]
        assert handled(site) == [(item_id, "ack") for item_id in ids]
        assert site.bus.queue("mine")["balanced"]


def test_what_has_to_come_again_is_overtaken_by_nobody(tmp_path: Path, source: str) -> None:
    with make_site(tmp_path, source, mine={"class": "mysite:Mine"}) as site:
        post_all(site, ["a", "b", "retry", "c", "d"])
        site.start("mine")
        wait_until(lambda: site.bus.queue("mine")["deferred"])
        queue = site.bus.queue("mine")
        assert (queue["done"], queue["ready"], queue["leased"]) == (2, 2, 0)
        assert joined(site) == ["a", "b"]
        (tmp_path / "healed").touch()
        (tmp_path / "clock").write_text("20")
        site.wait_empty("mine")
        assert joined(site) == ["a", "b", "retry", "c", "d"]


def test_one_that_raises_fails_alone(tmp_path: Path, source: str) -> None:
    with make_site(tmp_path, source, mine={"class": "mysite:Mine"}) as site:
        ids = post_all(site, ["a", "raise", "b", "shunt", "c"])
        site.start("mine")
        for number in range(1, 5):
            wait_for_number(lambda: len(site.lines("item.retried")), number)
            assert len(site.lines("item.failed")) == number, "told of once for each attempt"
            (tmp_path / "clock").write_text(str(number * 7200))
        site.wait_empty("mine")
        assert joined(site) == ["a", "b", "c"]
        assert {shunt["item_id"]: shunt["reason"] for shunt in site.shunts()} == {
            ids[1]: "max-attempts",
            ids[3]: "unwanted",
        }


def test_one_that_kills_its_runner_is_set_aside_and_the_rest_of_its_run_is_not_blamed(
    tmp_path: Path, source: str
) -> None:
    with make_site(tmp_path, source, mine={"class": "mysite:Mine"}) as site:
        ids = post_all(site, ["a", "b", "die", "c", "d"])
        for _ in range(1 + site.settings.bus.crashes_before_shunt):  # of several in hand none is blamed
            assert site.reap(site.start("mine")) == 9
        site.start("mine")
        site.wait_empty("mine")
        assert joined(site) == ["a", "b", "c", "d"]
        assert [(shunt["item_id"], shunt["reason"]) for shunt in site.shunts()] == [(ids[2], "crash-loop")]
        assert site.bus.queue("mine")["done"] == 4


def test_who_joins_and_leaves_in_one_run_does_so_in_that_order(tmp_path: Path) -> None:
    with RunnerSite(tmp_path) as site:
        site.create_list(
            "ant@example.org", settings=["subscription_policy=open", "unsubscription_policy=open"]
        )
        for purpose in ("join", "leave", "join", "leave", "join"):
            site.post(
                f"ant-{purpose}@example.org",
                b"From: zoe@example.net\r\nSubject: x\r\n\r\n",
                "membership",
                list_id=ANT,
                reverse_path="zoe@example.net",
            )
        site.start("membership")
        site.wait_empty("membership")
        told = [each.what for each in site.store.records.history(ANT, "zoe@example.net")]
        assert list(reversed(told)) == ["joined", "left", "joined", "left", "joined"]
        assert len(site.lines("item.handled")) == 5
        assert site.bus.queue("outgoing")["produced"] == 5


# Bounces --------------------------------------------------------------------------------------------------------------


def bounce_all(site: RunnerSite) -> None:
    site.create_list("ant@example.org", MEMBERS)
    for number, member in enumerate(MEMBERS):
        site.post(
            "ant-bounces@example.org",
            make_dsn(block(member)),
            "bounces",
            list_id=ANT,
            reverse_path="",
            message_id=f"<{number}@x>",
        )


def scores(site: RunnerSite) -> dict[str, list[Any]]:
    """Return what is known of each member: evidence, and what the history tells."""
    records = site.store.records
    return {
        member: [
            [each.bounce_class for each in records.evidence(ANT, member)],
            [(each.what, each.new) for each in records.history(ANT, member)],
        ]
        for member in MEMBERS
    }


PLACES = (
    "runner.handle.before@3",
    "runner.handle.after",
    "store.commit.before",
    "store.commit.after",
    "runner.ack.before",
    "runner.ack.before@3",
    "runner.ack.after@2",
    "runner.settled.before",
    "runner.settled.before@4",
)


@pytest.mark.crash
@pytest.mark.parametrize("place", PLACES)
def test_a_run_whose_runner_dies_is_counted_once(tmp_path: Path, place: str) -> None:
    name, _, passage = place.partition("@")
    with RunnerSite(tmp_path) as site:
        bounce_all(site)
        site.start("bounces", f"{name}=kill@{passage or 1}", ready=False)
        site.reap(site.runners[-1])
        site.start("bounces")
        site.wait_empty("bounces")
        expected = [
            ["bad-mailbox"],
            [("bounce_score", "1"), ("bounced", "bad-mailbox 5.1.1"), ("joined", "member")],
        ]
        assert scores(site) == dict.fromkeys(MEMBERS, expected)
        assert site.bus.queue("bounces")["done"] == len(MEMBERS)
        assert site.bus.queue("bounces")["balanced"]
        assert site.shunts() == []


def test_a_run_goes_on_over_the_death_of_the_bus(tmp_path: Path) -> None:
    with RunnerSite(tmp_path) as site:
        bounce_all(site)
        site.start("bounces", "store.commit.before=sleep:1@1")
        wait_until(lambda: site.bus.queue("bounces")["leased"] == len(MEMBERS) or None)
        site.bus.kill()
        site.bus.start()
        site.wait_empty("bounces")
        assert [line["settled"] for line in site.lines("item.handled")] == [True] * len(MEMBERS)
        assert all(len(evidence) == 1 for evidence, _ in scores(site).values())
        assert site.bus.queue("bounces")["done"] == len(MEMBERS)
