"""The bus dies at every step, runners die or fall silent: nothing is lost, nothing is done twice."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from bus.client import Away, Lease, Overseer, Worker, ask_with_content, publish_now
from bus.messages import Note, Progress
from config.names import OUTGOING, Instance
from tests.support.bus_clients import Zombie, make_front, make_worker, run, until
from tests.support.bus_process import BusProcess, make_item, make_output, make_settings, running_bus

pytestmark = pytest.mark.slow
PLACES = (
    "bus.publish.received",
    "bus.commit.before",
    "bus.commit.after",
    "bus.confirm.before",
    "bus.confirm.after",
    "bus.job.before",
    "bus.job.after",
)


@contextlib.asynccontextmanager
async def restarting(bus: BusProcess) -> AsyncIterator[None]:
    """Start the bus again whenever it has died, as master would: from the main thread, whose end would be its end."""

    async def watch() -> None:
        while True:
            await asyncio.sleep(0.01)
            if bus.process is not None and bus.process.poll() is not None:
                bus.wait()
                bus.start()

    task = asyncio.create_task(watch())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@pytest.mark.parametrize("passage", [1, 3])
@pytest.mark.parametrize("place", PLACES)
def test_killed_at_any_step_nothing_is_lost_or_doubled(tmp_path: Path, place: str, passage: int) -> None:
    """A front-end and two runners go on over the death of the bus; each message ends once in the last queue."""
    with running_bus(tmp_path) as bus:
        bus.kill()
        bus.start(f"{place}=kill@{passage}")
        items = [make_item(list_id=name) for name in ("a", "a", "b", "b", "")]
        delivered: list[str] = []

        async def handle(worker: Worker, finish: Callable[[Lease], Awaitable[bool]]) -> None:
            async for lease in worker:
                await finish(lease)

        async def forward(lease: Lease) -> bool:
            return await lease.ack([make_output(lease.item, "outgoing")])

        async def deliver(lease: Lease) -> bool:
            is_ours = await lease.ack()
            delivered.append(lease.item.root_id)
            return is_ours

        async def work() -> None:
            incoming, outgoing = make_worker(bus), make_worker(bus, "outgoing-1:1", OUTGOING, 2)
            async with restarting(bus), make_front(bus) as front, incoming, outgoing:
                tasks = [
                    asyncio.create_task(handle(incoming, forward)),
                    asyncio.create_task(handle(outgoing, deliver)),
                ]
                futures = [front.publish([item], b"x" * 4096) for item in items]
                results = await asyncio.gather(*futures)
                assert results == [(item.id,) for item in items]
                await until(lambda: bus.queue("outgoing")["done"] == len(items))
                incoming.stop()
                outgoing.stop()
                await asyncio.gather(*tasks)

        run(work)
        assert set(delivered) == {item.id for item in items}
        for name in ("incoming", "outgoing"):
            status = bus.queue(name)
            assert (status["done"], status["ready"], status["leased"], status["balanced"]) == (5, 0, 0, True)
        incoming = bus.queue("incoming")
        assert incoming["accepted"] - incoming["suppressed"] == 5  # what was sent again was here already
        assert bus.queue("outgoing")["produced"] == 5


def test_a_lease_of_a_silent_runner_waits_until_master_says_that_it_is_gone(tmp_path: Path) -> None:
    """Lost after three beats, given to another only after Gone; the zombie's settlement is stale."""
    lost: list[Instance] = []

    async def work() -> None:
        item = make_item()
        with Zombie(bus, "incoming-1:dead") as zombie:
            async with (
                make_front(bus) as front,
                Overseer(bus.settings, Instance("master:1"), lost.extend, lambda: ()) as overseer,
            ):
                await front.publish([item], b"x")
                job = await asyncio.to_thread(zombie.take_job)
                async with make_worker(bus, "incoming-2:1") as other:
                    await until(lambda: lost)
                    assert set(lost) == {zombie.instance}
                    with pytest.raises(TimeoutError):
                        await asyncio.wait_for(anext(other), 0.5)
                    overseer.gone([zombie.instance], crashed=True)
                    lease = await anext(other)
                    assert (lease.item.id, lease.crashes) == (item.id, 1)
                    assert await asyncio.to_thread(zombie.settle, job) == "hello"
                    assert await lease.ack()

    with running_bus(tmp_path) as bus:
        run(work)
        assert bus.queue("incoming")["done"] == 1
        assert [line["crashes"] for line in bus.events("lease.revoked")] == [1]


def test_a_settlement_survives_the_death_of_the_bus(tmp_path: Path) -> None:
    """The ack waits for the next bus, is adopted there, and counts; meanwhile nobody else gets the item."""

    async def work() -> None:
        item = make_item()
        async with (
            make_front(bus) as front,
            make_worker(bus) as worker,
            make_worker(bus, "incoming-2:1") as other,
        ):
            await front.publish([item], b"x")
            lease = await first_of(worker, other)
            bus.kill()
            ack = lease.ack([make_output(item, "outgoing")])
            bus.start()
            assert await ack
            await until(lambda: bus.queue("incoming")["done"] == 1)
            assert not lease.lost

    with running_bus(tmp_path) as bus:
        run(work)
        assert bus.queue("outgoing")["ready"] == 1


async def first_of(*workers: Worker) -> Lease:
    """Return the lease that any of them gets first."""
    tasks = [asyncio.create_task(anext(worker)) for worker in workers]
    done, rest = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in rest:
        task.cancel()
    return done.pop().result()


def test_what_was_begun_goes_to_nobody_else_over_a_restart_of_the_bus(tmp_path: Path) -> None:
    async def work() -> None:
        item = make_item("outgoing", part=None)
        async with (
            make_front(bus) as front,
            make_worker(bus, "outgoing-1:1", OUTGOING) as worker,
        ):
            await front.publish([item], b"x")
            lease = await anext(worker)
            instance = Instance("outgoing-1:1")
            assert await lease.progress(Note(number=0, part=(0, 1), instance=instance))
            bus.kill()
            bus.start()
            async with make_worker(bus, "outgoing-2:1", OUTGOING) as other:
                await until(lambda: worker.connected and other.connected)
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(anext(other), 1.5)
                done = Note(number=0, part=(0, 1), instance=instance, results=((250, "ok"),))
                assert await lease.progress(done)
                assert not lease.lost
                assert await lease.ack(note=done)

    with running_bus(tmp_path) as bus:
        run(work)
        assert bus.queue("outgoing")["done"] == 1


def test_what_was_begun_is_given_on_when_its_process_is_gone(tmp_path: Path) -> None:
    """The notes travel with the next lease."""

    async def work() -> None:
        with Zombie(bus, "outgoing-1:1", OUTGOING) as worker:
            item = make_item("outgoing")
            async with make_front(bus) as front:
                await front.publish([item], b"x")
                job = await asyncio.to_thread(worker.take_job)
                note = Note(number=0, part=(0, 1), instance=worker.instance)
                worker.say(Progress(job.lease, note))
                await asyncio.to_thread(worker.hear)
        bus.kill()
        bus.start()
        living = (Instance("outgoing-2:1"), worker.instance)
        async with make_worker(bus, "outgoing-2:1", OUTGOING) as other:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(anext(other), 1.5)
            async with Overseer(bus.settings, Instance("master:1"), print, lambda: living) as overseer:
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(anext(other), 0.5)
                overseer.gone([worker.instance], crashed=True)
                lease = await anext(other)
                assert lease.notes == (note,)
                assert await lease.ack()

    with running_bus(tmp_path) as bus:
        run(work)


def test_a_bus_that_starts_is_told_who_lives(tmp_path: Path) -> None:
    """Begun by a process that master does not know: free at once."""

    async def work() -> None:
        with Zombie(bus, "outgoing-1:1", OUTGOING) as worker:
            async with make_front(bus) as front:
                await front.publish([make_item("outgoing")], b"x")
                job = await asyncio.to_thread(worker.take_job)
                worker.say(Progress(job.lease, Note(number=0, part=(0, 1), instance=worker.instance)))
                await asyncio.to_thread(worker.hear)
        bus.kill()
        bus.start()
        async with (
            Overseer(bus.settings, Instance("master:1"), print, lambda: ()),
            make_worker(bus, "outgoing-2:1", OUTGOING) as other,
        ):
            assert await (await anext(other)).ack()

    with running_bus(tmp_path) as bus:
        run(work)


def test_a_runner_that_dies_with_one_item_is_a_witness_against_it(tmp_path: Path) -> None:
    """Three deaths set the item aside; its neighbours are handled."""

    async def work() -> None:
        poison, good = make_item(list_id=""), make_item(list_id="")
        async with (
            make_front(bus) as front,
            Overseer(bus.settings, Instance("master:1"), print, lambda: ()) as overseer,
        ):
            await front.publish([poison], b"x")
            for life in range(3):
                with Zombie(bus, f"incoming-1:{life}") as victim:
                    job = await asyncio.to_thread(victim.take_job)
                    assert (job.item.id, job.crashes) == (poison.id, life)
                    overseer.gone([victim.instance], crashed=True)
            await front.publish([good], b"x")
            async with make_worker(bus, "incoming-2:1") as worker:
                assert (await anext(worker)).item.id == good.id

    with running_bus(tmp_path) as bus:
        run(work)
        (shunted,) = bus.ask("shunts")
        assert (shunted["reason"], shunted["crashes"]) == ("crash-loop", 3)


def test_a_clean_stop_gives_back_what_was_not_begun(tmp_path: Path) -> None:
    async def work() -> None:
        items = [make_item(list_id="") for _ in range(3)]
        async with make_front(bus) as front, make_worker(bus, "incoming-2:1") as other:
            async with make_worker(bus, "incoming-1:1", slots=2) as leaving:
                bus.ask("pause", queue="incoming")
                await asyncio.gather(*(front.publish([item], b"x") for item in items))
                bus.ask("resume", queue="incoming")
                await until(lambda: bus.queue("incoming")["leased"] == 3)
                in_hand = await anext(leaving)
                leaving.stop()
                with pytest.raises(StopAsyncIteration):
                    await anext(leaving)
                assert await in_hand.ack()
            for _ in range(2):
                assert await (await anext(other)).ack()
        assert bus.queue("incoming")["done"] == 3

    with running_bus(tmp_path) as bus:
        run(work)
        assert not bus.events("lease.revoked")


def test_a_second_bus_on_the_same_journal_ends_and_the_first_keeps_its_sockets(tmp_path: Path) -> None:
    with running_bus(tmp_path) as bus:
        first = bus.process
        assert first is not None
        second = bus.start(wait=False)
        assert second.wait(10) == 1
        assert "journal.db" in bus.errors()
        assert "Traceback" not in bus.errors()
        bus.process = first
        item = make_item()
        assert publish_now(bus.settings, [item], b"x", timeout_s=5) == (item.id,)


def test_a_journal_that_cannot_be_made_is_a_configuration_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    bus = BusProcess(make_settings(tmp_path, journal=f"sqlite:///{tmp_path}/file/journal.db"))
    assert bus.start(wait=False).wait(10) == 78
    assert "file" in bus.errors()
    bus.kill()


@pytest.mark.parametrize("place", ["bus.commit.before", "bus.publish.received"])
def test_an_error_that_nobody_expects_ends_the_bus(tmp_path: Path, place: str) -> None:
    """In either thread. Nothing of what was being written is confirmed; only a new start can tell what is on the disk."""
    with running_bus(tmp_path) as bus:
        bus.kill()
        bus.start(f"{place}=error")
        with pytest.raises(Away):
            publish_now(bus.settings, [make_item()], b"x", timeout_s=1)
        assert bus.wait() == 70
        bus.start()
        assert bus.queue("incoming")["accepted"] == 0


def test_a_body_that_is_not_what_was_stored_is_set_aside_and_can_be_looked_at(tmp_path: Path) -> None:
    async def work() -> None:
        async with make_worker(bus) as worker:
            assert (await anext(worker)).item.id == good.id

    with running_bus(tmp_path) as bus:
        bad, good = make_item(list_id=""), make_item(list_id="")
        publish_now(bus.settings, [bad], b"spoiled")
        publish_now(bus.settings, [good], b"sound")
        assert bus.stop() == 0
        journal = tmp_path / "journal.db"
        journal.write_bytes(journal.read_bytes().replace(b"spoiled", b"rotten!"))
        bus.start()
        run(work)
        shown, content = ask_with_content(bus.settings, "shunt", id=bad.id)
        assert (shown["reason"], content) == ("corrupt-body", b"")
        assert bus.ask("drop", ids=[bad.id]) == {"count": 1}


def test_a_bus_whose_master_is_gone_ends_in_order(tmp_path: Path) -> None:
    with running_bus(tmp_path) as bus:
        process = bus.process
        assert process is not None
        bus.let_go()
        assert process.wait(10) == 0
        assert bus.events("process.stopped")
