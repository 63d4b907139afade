"""One life of master: from open sockets to the last child's end. Trusts that the lock is taken and the folders are there."""

import asyncio
import contextlib
import os
import signal
import socket
import time
from collections.abc import Mapping
from typing import Any

import structlog

from bus.client import Away, BusError, Overseer
from config.names import Instance
from config.settings import Settings
from master import control, state
from master.control import MasterError
from master.log_tail import LogTail
from master.plan import CannotScale, configured
from master.sockets import Listening
from master.status import describe
from master.supervisor import Stopping, Supervisor

BUS_ANSWER_S = 1.0  # how long a status waits for the bus


class Master:
    """What the control socket and the signals reach."""

    def __init__(self, supervisor: Supervisor, overseer: Overseer, listening: list[Listening]) -> None:
        self.stopping = asyncio.Event()
        self._supervisor = supervisor
        self._overseer = overseer
        self._listening = listening
        self._operation = asyncio.Lock()  # one restart or scale at a time
        self._since = time.monotonic()
        self._log = structlog.get_logger()

    async def handle(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Do what a client of the control socket asks; raises MasterError to refuse."""
        match request:
            case {"do": "status"}:
                return await self._status()
            case {"do": "stop"}:
                self.drain()
                return {"pid": os.getpid()}
            case {"do": "restart"}:
                async with self._one_operation():
                    await self._supervisor.replace_all()
                return {}
            case {"do": "scale", "what": str(what), "number": int(number)}:
                async with self._one_operation():
                    await self._scale(what, number)
                return {}
            case _:
                raise MasterError(f"unknown request: {dict(request)}")

    def drain(self) -> None:
        """Begin to stop in order; asked again, it goes on as it does."""
        if not self.stopping.is_set():
            self._log.info("master.stopping")
        self.stopping.set()

    def stop(self) -> None:
        """Drain; a second signal kills what is left."""
        if self.stopping.is_set():
            self._supervisor.hurry()
        self.drain()

    async def _status(self) -> dict[str, Any]:
        bus: Mapping[str, Any] | None = None
        if self._supervisor.is_bus_ready():  # else the answer would be late and the same
            with contextlib.suppress(Away, BusError):
                bus = await self._overseer.ask("status", timeout_s=BUS_ANSWER_S)
        at = "draining" if self.stopping.is_set() else "ready"
        return {
            **describe(self._supervisor, bus, at, self._since),
            "listen": [each.name for each in self._listening],
        }

    async def _scale(self, what: str, number: int) -> None:
        settings = self._supervisor.settings
        try:
            await self._supervisor.scale(what, number)
        except CannotScale as error:
            raise MasterError(str(error)) from error
        finally:
            try:
                state.write_scale(settings, configured(settings), self._supervisor.scaled)
            except OSError as error:
                raise MasterError(f"done, but not remembered for the next start: {error.strerror}") from error

    @contextlib.asynccontextmanager
    async def _one_operation(self) -> Any:
        if self.stopping.is_set():
            raise MasterError("master is stopping")
        if self._operation.locked():
            raise MasterError("another restart or scale is going on")
        async with self._operation:
            try:
                yield
            except TimeoutError:
                raise MasterError(f"not ready in time: {self._not_ready()}; tried on") from None
            except Stopping:
                raise MasterError("master is stopping") from None
            if not self._supervisor.is_ready():
                raise MasterError(f"done, but not ready: {self._not_ready()}")

    def _not_ready(self) -> str:
        children = self._supervisor.children.values()
        return ", ".join(
            f"{child.place.name} is in {child.life.state}"
            for child in children
            if child.life.state != "ready"
        )


async def serve(
    supervisor: Supervisor, listening: list[Listening], commands: socket.socket, tail: LogTail
) -> None:
    """Run the site until it is told to stop."""
    settings: Settings = supervisor.settings
    overseer = Overseer(
        settings, Instance(f"master:{os.urandom(4).hex()}"), supervisor.lost, supervisor.living
    )
    with supervisor.nursery:
        async with overseer, asyncio.TaskGroup() as tasks:
            supervisor.reaped = overseer
            master = Master(supervisor, overseer, listening)
            _catch_signals(master, supervisor)
            watch = tasks.create_task(supervisor.watch(), name="watch")
            supervisor.start()
            announce = tasks.create_task(_announce(supervisor, listening, tail), name="announce")
            async with control.serve(commands, master.handle):
                await master.stopping.wait()
                announce.cancel()
                await supervisor.stop()
            watch.cancel()


def _catch_signals(master: Master, supervisor: Supervisor) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, master.stop)
    # Caught, not ignored: what is ignored here would be ignored in the children too.
    loop.add_signal_handler(signal.SIGHUP, structlog.get_logger().info, "master.hangup")
    loop.add_signal_handler(signal.SIGCHLD, supervisor.reap_strays)


async def _announce(supervisor: Supervisor, listening: list[Listening], tail: LogTail) -> None:
    """Say once that everything works."""
    began = time.monotonic()
    await supervisor.until_ready()
    places = [each.name for each in listening]
    structlog.get_logger().info(
        "master.ready", pid=os.getpid(), listen=places, duration_ms=int((time.monotonic() - began) * 1000)
    )
    tail.say(f"postroom: ready (pid {os.getpid()}), takes mail by LMTP on {' and '.join(places)}")
