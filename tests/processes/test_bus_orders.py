"""What operators order, what the bus refuses, and what it does with messages that make no sense."""

import asyncio
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bus import messages
from bus.client import BusError, PublishRefused, ask_with_content, publish_now
from bus.messages import Ack, Gone, Hello, LeaseToken, Problem, Publish, RecipientList, Refused
from config.names import OUTGOING, Instance
from tests.support.bus_clients import Zombie, make_front, make_worker, run, until
from tests.support.bus_process import BusProcess, make_item, make_output, running_bus, wait_until

pytestmark = pytest.mark.slow
MIB = 2**20


@pytest.fixture(name="bus")
def run_bus(tmp_path: Path) -> Iterator[BusProcess]:
    with running_bus(tmp_path) as process:
        yield process


def test_the_same_mail_again_is_one_item_until_its_reply_was_read(bus: BusProcess) -> None:
    """Same content key, other ids: suppressed while nobody knows whether the client read our 250."""

    async def work() -> None:
        first, second, third = make_item(), make_item(), make_item()
        async with make_front(bus) as front:
            assert await front.publish([first], b"x", [b"key"]) == (first.id,)
            assert await front.publish([second], b"x", [b"key"]) == (first.id,)
            front.note_replied([first.id])
            await until(lambda: bus.ask("holds", ids=[first.id]))
            while await front.publish([third], b"x", [b"key"]) != (third.id,):  # the note is lazy
                third = make_item()
                await asyncio.sleep(0.05)

    run(work)
    status = bus.queue("incoming")
    assert status["balanced"]
    assert status["ready"] == 2
    assert status["suppressed"] == status["accepted"] - 2
    assert bus.events("item.suppressed")


def test_the_same_ids_again_are_confirmed_again(bus: BusProcess) -> None:
    items = [make_item(), make_item("owner")]
    for _ in range(2):
        assert publish_now(bus.settings, items, b"x") == tuple(item.id for item in items)
    assert (bus.queue("incoming")["ready"], bus.queue("owner")["ready"]) == (1, 1)


def test_a_paused_queue_gives_no_work_also_after_a_restart(bus: BusProcess) -> None:
    async def work() -> None:
        async with make_worker(bus) as worker:
            await until(lambda: worker.connected)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(anext(worker), 1.5)
            assert bus.ask("resume", queue="incoming") == {"queue": "incoming", "paused": False}
            assert await (await anext(worker)).ack()

    assert bus.ask("pause", queue="incoming") == {"queue": "incoming", "paused": True}
    publish_now(bus.settings, [make_item()], b"x")
    bus.kill()
    bus.start()
    assert bus.queue("incoming")["paused"]
    run(work)


def test_a_shunted_item_can_be_shown_released_and_dropped(bus: BusProcess) -> None:
    async def work() -> None:
        async with make_worker(bus) as worker:
            for _ in range(3):
                assert await (await anext(worker)).shunt("handler-error", "it broke")
            assert bus.ask("unshunt", ids=[items[0].id]) == {"count": 1}
            lease = await anext(worker)
            assert (lease.item.id, lease.attempt) == (items[0].id, 1)
            assert await lease.ack()

    items = [make_item(list_id=f"{name}.example.org") for name in "abc"]
    for item in items:
        publish_now(bus.settings, [item], item.list_id.encode())
    run(work)
    listed: list[dict[str, Any]] = bus.ask("shunts")
    assert {one["item_id"] for one in listed} == {items[1].id, items[2].id}
    assert bus.ask("shunts", queue="owner") == []
    (one,) = bus.ask("shunts", list_id="b.example.org")
    assert (one["queue"], one["reason"], one["detail"]) == ("incoming", "handler-error", "it broke")
    shown, content = ask_with_content(bus.settings, "shunt", id=items[1].id)
    assert (shown["item_id"], shown["item"]["recipient"], content) == (
        items[1].id,
        "ant@example.org",
        b"b.example.org",
    )
    with pytest.raises(BusError):
        bus.ask("shunt", id=items[0].id)
    assert bus.ask("drop", queue="incoming") == {"count": 2}
    status = bus.queue("incoming")
    assert (status["done"], status["dropped"], status["shunted"], status["balanced"]) == (1, 2, 0, True)
    assert len(bus.events("item.shunted")) == 3


def test_a_message_is_found_by_its_ids_and_its_message_id(bus: BusProcess) -> None:
    item = make_item(message_id="<1@example.org>")
    publish_now(bus.settings, [item], b"x")
    for text in (item.id, item.root_id, "<1@example.org>"):
        (found,) = bus.ask("find", id=text)
        assert (found["item_id"], found["state"], found["queue"]) == (item.id, "ready", "incoming")
    assert bus.ask("find", id="f" * 32) == []
    assert bus.ask("holds", ids=[item.id, "f" * 32, "nonsense"]) == [item.id]


def test_status_lists_every_queue_and_every_client(bus: BusProcess) -> None:
    async def work() -> None:
        async with make_front(bus), make_worker(bus) as worker:
            await until(lambda: worker.connected)
            status = await asyncio.to_thread(bus.ask, "status")
            assert {client["name"] for client in status["clients"]} == {"lmtp-1", "incoming-1"}
            assert {one["queue"] for one in status["queues"]} >= {
                "incoming",
                "outgoing",
                "request",
                "bounces",
            }
            assert status["flow"] == {
                "state": "ok", "reason": "", "full": [], "resting": [], "delay_ms": 0, "fronts": 1,
            }  # fmt: skip

    run(work)


@pytest.mark.parametrize(
    ("what", "args"),
    [("nothing", {}), ("pause", {}), ("pause", {"queue": "x"}), ("drop", {}), ("holds", {"ids": 7})],
)
def test_a_question_that_makes_no_sense_is_told_so(bus: BusProcess, what: str, args: dict[str, Any]) -> None:
    with pytest.raises(BusError):
        bus.ask(what, **args)


def test_a_retry_comes_back_and_the_fifth_failure_sets_aside(bus: BusProcess) -> None:
    async def work() -> None:
        async with make_worker(bus) as worker:
            for attempt in range(1, 6):
                lease = await anext(worker)
                assert lease.attempt == attempt
                assert await lease.retry("it broke", 0.0)
            await until(lambda: bus.ask("shunts"))

    publish_now(bus.settings, [make_item()], b"x")
    run(work)
    assert bus.ask("shunts")[0]["reason"] == "max-attempts"
    assert [line["reason"] for line in bus.events("item.retried")] == ["it broke"] * 4


def test_a_moved_clock_brings_what_is_due(bus: BusProcess) -> None:
    async def work() -> None:
        async with make_worker(bus) as worker:
            lease = await anext(worker)
            assert await lease.retry("later", 3000.0, declared=True)
            assert bus.queue("incoming")["deferred"] == 1
            await asyncio.to_thread(Path(bus.settings.site.clock_file).write_text, "3600")
            assert (await anext(worker)).attempt == 2

    publish_now(bus.settings, [make_item()], b"x")
    run(work)


def test_an_item_that_goes_round_in_a_circle_is_set_aside(bus: BusProcess) -> None:
    async def work() -> None:
        async with make_worker(bus) as worker:
            lease = await anext(worker)
            assert await lease.ack([make_output(lease.item, "incoming")])
            await until(lambda: bus.ask("shunts"))

    publish_now(bus.settings, [make_item(hop=messages.MAX_HOP)], b"x")
    run(work)
    assert bus.ask("shunts")[0]["reason"] == "hop-limit"


def test_a_slice_arrives_with_its_recipients_and_a_range_without(bus: BusProcess) -> None:
    addresses = tuple(f"{number}@example.net" for number in range(1200))
    body = messages.encode(RecipientList(addresses))

    async def work() -> None:
        async with make_worker(bus) as incoming, make_worker(bus, "outgoing-1:1", OUTGOING) as outgoing:
            lease = await anext(incoming)
            outputs = [
                make_output(lease.item, "outgoing", 0, recipients=0, part=(0, 500), recipient=""),
                make_output(lease.item, "outgoing", 1, recipients=0, part=(500, 1200), recipient=""),
            ]
            assert await lease.ack(outputs, [body])
            first = await anext(outgoing)
            assert (first.item.recipients, first.recipient_count) == (addresses[:500], 500)
            assert await first.ack()
            second = await anext(outgoing)
            assert (second.item.recipients, second.recipient_count, second.content) == ((), 700, b"post")
            assert await second.ack(
                [make_output(second.item, "outgoing", 0, recipients=-1, part=(500, 1000))]
            )
            assert (await anext(outgoing)).item.recipients == addresses[500:1000]

    publish_now(bus.settings, [make_item()], b"post")
    run(work)


def test_a_body_of_30_mib_goes_through(bus: BusProcess) -> None:
    content = os.urandom(30 * MIB)

    async def work() -> None:
        async with make_front(bus) as front, make_worker(bus) as worker:
            item = make_item()
            assert await front.publish([item], content) == (item.id,)
            lease = await anext(worker)
            assert lease.content == content
            assert await lease.ack([make_output(item, "outgoing", content=0)], [content[:-1]])
            with pytest.raises(PublishRefused) as refused:
                await front.publish([make_item()], bytes(32 * MIB))
            assert refused.value.kind == "size"

    run(work)


def test_a_full_queue_is_told_to_front_ends_and_opens_again(tmp_path: Path) -> None:
    async def work() -> None:
        async with make_front(bus) as front, make_worker(bus, slots=4) as worker:
            bus.ask("pause", queue="incoming")
            for _ in range(11):
                await front.publish([make_item(list_id="")], b"x")
            await until(lambda: front.flow.full == ("incoming",))
            await front.publish([make_item("owner")], b"x")
            for _ in range(2):  # was under way
                await front.publish([make_item(list_id="")], b"x")
            with pytest.raises(PublishRefused) as refused:
                await front.publish([make_item(list_id="")], b"x")
            assert refused.value.kind == "full"
            bus.ask("resume", queue="incoming")
            for _ in range(13):
                assert await (await anext(worker)).ack()
            await until(lambda: not front.flow.full)

    with running_bus(tmp_path, max_items=10) as bus:
        run(work)
        assert [line["full"] for line in bus.events("flow.changed")] == [["incoming"], []]


def test_a_full_outgoing_queue_stops_incoming_and_not_the_front_ends(tmp_path: Path) -> None:
    async def work() -> None:
        async with make_front(bus) as front, make_worker(bus) as incoming:
            for _ in range(11):
                await front.publish([make_item("outgoing", "")], b"x")
            await until(lambda: bus.ask("status")["flow"]["resting"] == ["incoming"])
            await front.publish([make_item()], b"x")
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(anext(incoming), 1)
            assert front.flow.full == ()
            async with make_worker(bus, "outgoing-1:1", OUTGOING) as outgoing:
                for _ in range(3):
                    assert await (await anext(outgoing)).ack()
                assert await (await anext(incoming)).ack()

    with running_bus(tmp_path, max_items=10) as bus:
        run(work)


# What makes no sense ----------------------------------------------------------------------------------------------------


GARBAGE = [
    b"",
    b"\xff" * 100,
    b"\x81\xa4type\xa7nothing",
    messages.encode(Problem("a", "b")),
    messages.encode({"type": "publish.v1", "items": "none"}),
    b"\x91" * 100_000,
    b"\x81\xa4type\xa2\xff\xfe",
]


@pytest.mark.parametrize("socket", ["work.sock", "pub.sock"])
def test_garbage_is_answered_and_changes_nothing(bus: BusProcess, socket: str) -> None:
    with Zombie(bus, "stranger:1", socket=socket) as stranger:
        for frame in GARBAGE:
            stranger.say_frames(frame)
            answer = stranger.hear()
            assert isinstance(answer, Problem)
            assert answer.code == "undecodable"
        stranger.say_frames(messages.encode(Gone((Instance("a"),))))
        assert stranger.hear() == Problem("hello", "say hello first")
    assert publish_now(bus.settings, [make_item()], b"x")
    assert len(bus.events("bus.problem")) == len(GARBAGE)


def test_a_runner_may_not_speak_for_master_nor_a_front_end_for_a_runner(bus: BusProcess) -> None:
    with Zombie(bus, "incoming-1:1") as runner:
        runner.hello()
        runner.say(Gone((Instance("a"),)))
        answer = runner.hear()
        assert isinstance(answer, Problem)
        assert answer.code == "role"
        runner.say(Hello(role="front", name="x", instance=Instance("x"), pid=1))
        answer = runner.hear()
        assert isinstance(answer, Problem)
        assert answer.code == "role"


def test_a_publish_that_makes_no_sense_is_refused_whole(bus: BusProcess) -> None:
    with Zombie(bus, "lmtp-1:1", socket="pub.sock", role="front") as front:
        front.hello()
        good, twin = make_item(), make_item()
        for items, bodies, keys in (
            ((), [b"x"], ()),
            ((good,), [], ()),
            ((good,), [b"x", b"y"], ()),
            ((good, twin), [b"x"], (b"k",)),
            ((good, good), [b"x"], ()),
            ((good, make_item(id="../etc")), [b"x"], ()),
            ((make_item("No Queue"),), [b"x"], ()),
            ((make_item(part=(0, 5)),), [b"x"], ()),
            ((make_item(recipients=("a",)),), [b"x"], ()),
        ):
            front.say(Publish(items=items, content_keys=keys), *bodies)
            answer = front.hear()
            assert isinstance(answer, Refused)
            assert answer.kind == "bad"
    assert bus.queue("incoming")["accepted"] == 0


def test_an_ack_that_makes_no_sense_sets_its_item_aside(bus: BusProcess) -> None:
    async def work() -> None:
        async with make_worker(bus) as worker:
            lease = await anext(worker)
            assert not await lease.ack([make_output(lease.item, "outgoing", content=3)], [b"only one"])
            lease = await anext(worker)
            assert not await lease.ack([make_output(lease.item, "outgoing", index) for index in range(101)])
            assert not await lease.ack()

    for _ in range(2):
        publish_now(bus.settings, [make_item()], b"x")
    run(work)
    assert [one["reason"] for one in bus.ask("shunts")] == ["bad-ack"] * 2


def test_a_token_of_another_life_is_stale(bus: BusProcess) -> None:
    publish_now(bus.settings, [make_item()], b"x")
    with Zombie(bus, "incoming-1:1") as runner:
        job = runner.take_job()
        runner.say(Ack(lease=LeaseToken("1.other", job.lease.number)))
        assert runner.hear() == messages.Settled(((LeaseToken("1.other", job.lease.number), "stale"),))
        assert runner.settle(job) == "done"
        assert runner.settle(job) == "done"  # the answer may have been lost
    assert bus.queue("incoming")["done"] == 1


# A full disk --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        refuse = pytest.fail if os.environ.get("CI") else pytest.skip
        refuse(f"cannot mount a small disk: {mounted.stderr.decode()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_refuses_new_mail_drains_and_takes_mail_again(small_disk: Path, tmp_path: Path) -> None:
    """The file alone has filled the disk, so it must shrink before there is room again."""

    async def work() -> None:
        count = 0
        async with make_front(bus) as front, make_worker(bus, slots=2) as worker:
            bus.ask("pause", queue="incoming")
            refused = None
            while refused is None:
                try:
                    await front.publish([make_item(list_id="")], os.urandom(200_000))
                    count += 1
                except PublishRefused as error:
                    refused = error
            assert refused.kind == "full"
            assert count > 20
            await until(lambda: front.flow.state == "stop")
            assert bus.ask("resume", queue="incoming") == {"queue": "incoming", "paused": False}
            for _ in range(count):
                lease = await anext(worker)
                assert await lease.ack()
            await until(lambda: front.flow.state == "ok")
            item = make_item()
            assert await front.publish([item], b"again") == (item.id,)
        assert bus.queue("incoming")["done"] == count

    with running_bus(tmp_path, journal=f"sqlite:///{small_disk}/journal.db") as bus:
        run(work)
        assert [line["reason"] for line in bus.events("flow.changed")] == ["disk", ""]
        assert bus.queue("incoming")["balanced"]
        assert wait_until(lambda: bus.events("journal.resumed"))
