"""A message's way through a real bus: publish, confirm, lease, ack with outputs."""

import asyncio
from functools import partial
from pathlib import Path

import pytest

from bus.client import Front, Outcome, Then, Worker
from config.clock import Clock
from config.failpoints import Failpoint
from config.names import Instance, Queue
from tests.support.bus_process import make_item, make_output, running_bus

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_message_goes_through_two_queues(tmp_path: Path, loop: str) -> None:
    """Also where the event loop is uvloop: both watch ZeroMQ's descriptor."""
    factory = asyncio.new_event_loop if loop == "asyncio" else pytest.importorskip("uvloop").new_event_loop

    async def go() -> None:
        async with (
            Front(bus.settings, "lmtp-1", Instance("lmtp-1:1"), Clock()) as front,
            Worker(
                bus.settings, "incoming-1", Instance("incoming-1:1"), Queue("incoming"), 1, 60
            ) as incoming,
            Worker(
                bus.settings, "outgoing-1", Instance("outgoing-1:1"), Queue("outgoing"), 1, 60
            ) as outgoing,
        ):
            item = make_item()
            assert await front.publish([item], b"a post") == (item.id,)
            lease = await anext(incoming)
            assert (lease.item.id, lease.content, lease.attempt) == (item.id, b"a post", 1)
            assert lease.is_first
            assert await lease.ack([make_output(item, "outgoing", content=0)], [b"with a footer"])
            lease = await anext(outgoing)
            assert (lease.item.root_id, lease.content) == (item.id, b"with a footer")
            assert lease.is_first
            lease.give_back()
            lease = await anext(outgoing)
            assert not lease.is_first
            assert await lease.ack()

    with running_bus(tmp_path) as bus:
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(asyncio.wait_for(go(), 10))
        incoming, outgoing = bus.queue("incoming"), bus.queue("outgoing")
        assert (incoming["accepted"], incoming["done"], outgoing["produced"], outgoing["done"]) == (
            1,
            1,
            1,
            1,
        )
        assert incoming["balanced"]
        assert outgoing["balanced"]
        assert bus.stop() == 0


def test_whoever_raises_when_told_keeps_nobody_else_from_being_told(tmp_path: Path) -> None:
    """What one message of the bus confirms is told in one step; a bug in one session must not cost the others their replies."""
    raised: list[object] = []

    async def go() -> None:
        asyncio.get_running_loop().set_exception_handler(
            lambda _, context: raised.append(context["exception"])
        )
        async with Front(bus.settings, "lmtp-1", Instance("lmtp-1:1"), Clock()) as front:
            items = [make_item() for _ in range(20)]
            told = asyncio.Queue[int]()

            def reply(number: int) -> None:
                told.put_nowait(number)
                if number % 3 == 1:
                    raise ZeroDivisionError

            def tell(number: int, outcome: Outcome) -> Then:
                assert outcome == (items[number].id,)
                if number % 3 == 0:
                    told.put_nowait(number)
                    raise ZeroDivisionError
                return partial(reply, number)

            for number, item in enumerate(items):
                front.submit([item], b"a post", [], partial(tell, number))
            assert {await told.get() for _ in items} == set(range(20))

    with running_bus(tmp_path) as bus:
        asyncio.run(asyncio.wait_for(go(), 10))
        assert len(raised) >= 7  # one of each pair may be the context of the other
        assert {type(error) for error in raised} == {ZeroDivisionError}
        assert bus.stop() == 0


def test_a_submit_that_raises_is_told_nothing_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The session has answered by then, and the next transaction must not take the answer for its own."""
    told: list[Outcome] = []

    def break_once(place: str) -> None:
        monkeypatch.undo()
        raise Failpoint(place)

    async def go() -> None:
        async with Front(bus.settings, "lmtp-1", Instance("lmtp-1:1"), Clock()) as front:
            first, second = make_item(), make_item()
            assert await front.publish([make_item()], b"connected") != ()
            monkeypatch.setattr("bus.front.fail", break_once)
            with pytest.raises(Failpoint):
                front.submit([first], b"a post", [], told.append)
            assert await front.publish([second], b"another") == (second.id,)
        assert told == []

    with running_bus(tmp_path) as bus:
        asyncio.run(asyncio.wait_for(go(), 10))
        assert bus.stop() == 0
