"""Clients of a real bus for tests, and one that does nothing by itself."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Self

import zmq

from bus import messages
from bus.client import Front, Worker
from bus.messages import Ack, Hello, Job, Problem, Settled, Welcome
from bus.sockets import connect, receive, send
from config.clock import Clock
from config.names import INCOMING, Instance, Queue
from tests.support.bus_process import BusProcess, wait_until


def make_front(bus: BusProcess, instance: str = "lmtp-1:1") -> Front:
    return Front(bus.settings, "lmtp-1", Instance(instance), Clock())


def make_worker(
    bus: BusProcess, instance: str = "incoming-1:1", queue: Queue = INCOMING, slots: int = 1, lent: int = 1
) -> Worker:
    """Make a runner's client; `lent`: so many consecutive items of one list at once."""
    return Worker(bus.settings, instance.partition(":")[0], Instance(instance), queue, slots, 60, lent)


def run(work: Callable[[], Awaitable[None]], within_s: float = 40) -> None:
    """Run an async test with a deadline."""

    async def go() -> None:
        async with asyncio.timeout(within_s):
            await work()

    asyncio.run(go())


async def until(condition: Callable[[], object]) -> None:
    """Wait for something that a bus in another process must bring about."""
    await asyncio.to_thread(wait_until, lambda: bool(condition()) or None)


class Zombie:
    """A runner without a loop, so that it does nothing that it is not told to."""

    def __init__(
        self,
        bus: BusProcess,
        instance: str,
        queue: Queue = INCOMING,
        *,
        role: str = "runner",
        socket: str = "work.sock",
    ) -> None:
        self.instance = Instance(instance)
        self._queue = queue
        self._role = role
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = connect(self._context, Path(bus.settings.site.run) / socket)

    def say(self, message: messages.FromClient, *bodies: bytes) -> None:
        self.say_frames(messages.encode(message), *bodies)

    def say_frames(self, *frames: bytes) -> None:
        wait_until(lambda: send(self._socket, frames) or None)

    def hear(self) -> messages.FromBus:
        assert self._socket.poll(10_000)
        frames = receive(self._socket)
        assert frames is not None
        message: messages.FromBus = messages.decode_from_bus(frames[0])
        return message

    def hello(self, slots: int = 1) -> None:
        self.say(
            Hello(
                role=self._role,
                name="z",
                instance=self.instance,
                pid=os.getpid(),
                queue=self._queue,
                slots=slots,
            )
        )
        assert isinstance(self.hear(), Welcome)

    def take_job(self) -> Job:
        self.hello()
        job = self.hear()
        assert isinstance(job, Job)
        return job

    def settle(self, job: Job) -> str:
        self.say(Ack(lease=job.lease))
        answer = self.hear()
        if isinstance(answer, Problem):
            return answer.code
        assert isinstance(answer, Settled)
        return answer.results[0][1]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()
        self._context.term()
