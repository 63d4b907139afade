"""Runner processes on a real bus for tests: started, killed, stopped, with a list store, and somebody who plays master.

with RunnerSite(tmp_path, outgoing=OutgoingSettings(smtp=sink.address)) as site:
    site.create_list("ant@example.org", members=["anne@example.net"])
    site.start("incoming"); site.start("outgoing")
    site.post("ant@example.org", MAIL)
"""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from bus.client import Overseer, publish_now
from bus.messages import Item
from config import settings as settings_module
from config.names import Instance, ListId
from config.settings import ListsSettings, RunnerSettings, Settings
from lists.store import Store
from tests.support.bus_process import CHECKOUT, BusProcess, make_item, make_settings, wait_until

READY_S = 15.0
STOP_S = 30.0


@dataclass
class RunnerProcess:
    """One life of one runner process."""

    process: subprocess.Popen[bytes]
    instance: Instance
    notices: int  # file descriptor
    life: int
    errors: Path
    is_reaped: bool = field(default=False)

    def wait_ready(self) -> None:
        """Wait for its READY."""
        with open(self.notices, "rb", buffering=0, closefd=False) as notices:
            line = notices.readline()
        assert line == b"READY\n", f"ended with {self.process.wait(READY_S)}: {self.errors.read_text()}"


class RunnerSite:
    """A bus, a list store, and as many runner processes as a test wants; the test process plays master."""

    def __init__(self, folder: Path, **changes: Any) -> None:
        self.run = Path(tempfile.mkdtemp(prefix="pr-", dir="/tmp"))
        made = make_settings(folder)
        self.settings: Settings = msgspec.structs.replace(
            made,
            site=msgspec.structs.replace(made.site, run=str(self.run), name="lists.example.org"),
            lists=ListsSettings(store=f"sqlite:///{folder}/lists.db"),
            **changes,
        )
        self.folder = folder
        self.bus = BusProcess(self.settings)
        self.runners: list[RunnerProcess] = []
        self.store = Store(self.settings)
        self._master = _Master(self)
        self._lives = 0

    def __enter__(self) -> Self:
        self.bus.start()
        self.store.open()
        self._master.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for runner in self.runners:
            if not runner.is_reaped:
                self.kill(runner)
        self._master.stop()
        self.bus.kill()
        self.store.close()
        shutil.rmtree(self.run, ignore_errors=True)

    # Processes --------------------------------------------------------------------------------------------------------

    def start(self, queue: str, failpoints: str = "", *, ready: bool = True) -> RunnerProcess:
        """Start a runner process of this queue."""
        self._lives += 1
        instance = Instance(f"{queue}-1:{self._lives}")
        file = self.folder / "settings.json"
        file.write_bytes(settings_module.encode(self.settings))
        notice, child_notice = os.pipe()
        child_life, life = os.pipe()
        command = [sys.executable, "-m", "runners.main", "--settings", str(file), "--queue", queue]
        command += ["--name", f"{queue}-1", "--instance", instance]
        command += ["--notice-fd", str(child_notice), "--life-fd", str(child_life)]
        errors = self.folder / f"{instance}.stderr"
        with errors.open("ab") as stderr:
            process = subprocess.Popen(
                command,
                cwd=CHECKOUT,
                env={**os.environ, "POSTROOM_FAILPOINTS": failpoints},
                pass_fds=(child_notice, child_life),
                stderr=stderr,
            )
        os.close(child_notice)
        os.close(child_life)
        runner = RunnerProcess(process, instance, notice, life, errors)
        self.runners.append(runner)
        if ready:
            runner.wait_ready()
        return runner

    def kill(self, runner: RunnerProcess) -> None:
        """kill -9, and tell the bus as master does."""
        runner.process.send_signal(signal.SIGKILL)
        self.reap(runner)

    def stop(self, runner: RunnerProcess) -> int:
        """SIGTERM; returns the exit status."""
        runner.process.send_signal(signal.SIGTERM)
        return self.reap(runner)

    def reap(self, runner: RunnerProcess) -> int:
        """Wait for the end of a process and tell the bus as master does."""
        status = runner.process.wait(STOP_S)
        os.close(runner.notices)
        os.close(runner.life)
        runner.is_reaped = True
        self._master.gone(runner.instance, crashed=status != 0)
        return status

    def living(self) -> tuple[Instance, ...]:
        """Return the instances that live, as master tells a bus that starts."""
        return tuple(runner.instance for runner in self.runners if not runner.is_reaped)

    # Mail -------------------------------------------------------------------------------------------------------------

    def create_list(
        self,
        address: str,
        members: Sequence[str] = (),
        owners: Sequence[str] = (),
        settings: Sequence[str] = (),
    ) -> ListId:
        """Make a list that takes anybody's posts, with members."""
        options = ["generic_nonmember_action=accept", *settings]
        list_id = self.store.create_list(address, options, owners).list_id
        self.store.add_members(list_id, members)
        return list_id

    def publish(self, item: Item, content: bytes) -> Item:
        """Publish one item durably."""
        publish_now(self.settings, [item], content)
        return item

    def post(self, address: str, content: bytes, queue: str = "incoming", **fields: Any) -> Item:
        """Publish mail to one address, as the front-end would."""
        name, _, domain = address.partition("@")
        list_id = fields.pop("list_id", f"{name}.{domain}")
        fields.setdefault("reverse_path", "anne@example.net")
        return self.publish(make_item(queue, list_id, recipient=address, **fields), content)

    def wait_empty(self, *queues: str, within_s: float = 20.0) -> None:
        """Wait until these queues have nothing that is to be done."""

        def empty() -> bool:
            status = {one["queue"]: one for one in self.bus.ask("status")["queues"]}
            return all(not status[queue][key] for queue in queues for key in ("ready", "leased", "deferred"))

        wait_until(empty, within_s)

    def lines(self, event: str) -> list[dict[str, Any]]:
        """Return what was logged under one event."""
        return self.bus.events(event)

    def shunts(self) -> list[dict[str, Any]]:
        """Return what was set aside."""
        shunts: list[dict[str, Any]] = self.bus.ask("shunts")
        return shunts


def make_site(folder: Path, source: str, **tables: dict[str, Any]) -> RunnerSite:
    """Make a site that has this source as mysite.py, and these tables [runners.NAME]."""
    (folder / "mysite.py").write_text(source)
    site = RunnerSite(
        folder, runners={name: msgspec.convert(table, RunnerSettings) for name, table in tables.items()}
    )
    python_path = msgspec.structs.replace(site.settings.site, python_path=[str(folder)])
    site.settings = site.bus.settings = msgspec.structs.replace(site.settings, site=python_path)
    return site


def wait_for_number(count: Callable[[], int], number: int) -> None:
    """Wait until there are at least so many."""
    wait_until(lambda: count() >= number)


class _Master:
    """Tells the bus which processes have ended; in a thread, since it lives on an event loop."""

    def __init__(self, site: RunnerSite) -> None:
        self._site = site
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="master", daemon=True)
        self._up = threading.Event()
        self._overseer: Overseer | None = None
        self._ending: asyncio.Event | None = None

    def start(self) -> None:
        self._thread.start()
        assert self._up.wait(READY_S)

    def stop(self) -> None:
        assert self._ending is not None
        self._loop.call_soon_threadsafe(self._ending.set)
        self._thread.join(READY_S)
        self._loop.close()

    def gone(self, instance: Instance, *, crashed: bool) -> None:
        assert self._overseer is not None
        self._loop.call_soon_threadsafe(self._overseer.gone, [instance], crashed)

    def _run(self) -> None:
        self._loop.run_until_complete(self._serve())

    async def _serve(self) -> None:
        self._ending = asyncio.Event()
        overseer = Overseer(self._site.settings, Instance("master:1"), lambda _: None, self._site.living)
        async with overseer as self._overseer:
            self._up.set()
            await self._ending.wait()
