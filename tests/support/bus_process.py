"""A real bus process for tests: started, killed, started again; and builders of what is sent to it."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from bus.client import Away, ask
from bus.messages import Item, Placed
from config import settings as settings_module
from config.clock import Clock
from config.names import ListId, Queue, new_item_id, output_id
from config.settings import BusSettings, LogSettings, Settings, SiteSettings
from tests.support import waiting

START_S = 10.0
T = TypeVar("T")
CHECKOUT = Path(__file__).parents[2]


def make_settings(folder: Path, **bus: Any) -> Settings:
    """Make settings of a site whose state is all in `folder`; `bus` changes options of [bus]."""
    return Settings(
        site=SiteSettings(var=str(folder), run=str(folder / "run"), clock_file=str(folder / "clock")),
        bus=BusSettings(**{"journal": f"sqlite:///{folder}/journal.db", **bus}),
        logs=LogSettings(file=str(folder / "log.jsonl"), level="debug"),
    )


def make_item(queue: str = "incoming", list_id: str = "ant.example.org", **fields: Any) -> Item:
    """Make an item as a front-end would."""
    clock = Clock()
    item_id = fields.pop("id", None) or new_item_id(clock.time_ms())
    return Item(
        id=item_id,
        root_id=fields.pop("root_id", item_id),
        queue=Queue(queue),
        list_id=ListId(list_id),
        recipient=fields.pop("recipient", "ant@example.org"),
        accepted_at=fields.pop("accepted_at", datetime.fromtimestamp(clock.time_s(), UTC)),
        **fields,
    )


def make_output(parent: Item, queue: str, index: int = 0, **fields: Any) -> Placed:
    """Make an output as the runners' loop would."""
    content = fields.pop("content", -1)
    recipients = fields.pop("recipients", None)
    item = msgspec.structs.replace(
        parent,
        id=output_id(parent.id, index, Queue(queue)),
        queue=Queue(queue),
        hop=parent.hop + 1,
        **fields,
    )
    return Placed(item=item, content=content, recipients=recipients)


@dataclass
class BusProcess:
    """One bus after another on one journal."""

    settings: Settings
    environment: Mapping[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None
    lives: int = 0

    def start(self, failpoints: str = "", *, wait: bool = True) -> subprocess.Popen[bytes]:
        """Start a bus and wait until it is ready."""
        folder = Path(self.settings.site.var)
        folder.mkdir(exist_ok=True)
        file = folder / "settings.json"
        file.write_bytes(settings_module.encode(self.settings))
        notice, child_notice = os.pipe()
        child_life, self._life = os.pipe()
        self.lives += 1
        command = [sys.executable, "-m", "bus.broker", "--settings", str(file), "--name", "bus"]
        command += [
            "--instance",
            f"bus:{self.lives}",
            "--notice-fd",
            str(child_notice),
            "--life-fd",
            str(child_life),
        ]
        environment = {**os.environ, **self.environment, "POSTROOM_FAILPOINTS": failpoints}
        with (folder / "stderr.txt").open("ab") as stderr:
            process = subprocess.Popen(
                command, cwd=CHECKOUT, env=environment, pass_fds=(child_notice, child_life), stderr=stderr
            )
        os.close(child_notice)
        os.close(child_life)
        with open(notice, "rb", buffering=0) as notices:
            if wait:
                line = notices.readline()
                assert line == b"READY\n", f"the bus ended with {process.wait(START_S)}: {self.errors()}"
        self.process = process
        return process

    def errors(self) -> str:
        """Return what it wrote to stderr."""
        return (Path(self.settings.site.var) / "stderr.txt").read_text()

    def kill(self) -> None:
        """kill -9."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """Ask it to end; returns its exit status."""
        return self._end(signal.SIGTERM)

    def let_go(self) -> None:
        """End the life pipe, as the death of master does."""
        os.close(self._life)
        self._life = os.open(os.devnull, os.O_RDONLY)

    def wait(self) -> int:
        """Wait for its end, which something else brings about."""
        return self._end(None)

    def _end(self, number: int | None) -> int:
        process, self.process = self.process, None
        if process is None:
            return 0
        if number is not None:
            process.send_signal(number)
        status = process.wait(START_S)
        os.close(self._life)
        return status

    def ask(self, what: str, **args: Any) -> Any:
        """Ask the bus."""
        return ask(self.settings, what, **args)

    def queue(self, name: str) -> dict[str, Any]:
        """Return one queue of the status."""
        return next(one for one in self.ask("status")["queues"] if one["queue"] == name)

    def events(self, name: str) -> list[dict[str, Any]]:
        """Return the lines of one event that it logged."""
        lines = Path(self.settings.logs.file).read_bytes().splitlines()
        return [line for line in map(msgspec.json.decode, lines) if line["event"] == name]


@contextlib.contextmanager
def running_bus(folder: Path, failpoints: str = "", **bus: Any) -> Iterator[BusProcess]:
    """Run a bus; it is killed in the end if it still lives."""
    process = BusProcess(make_settings(folder, **bus))
    process.start(failpoints)
    try:
        yield process
    finally:
        process.kill()


def wait_until(condition: Callable[[], T | None], timeout_s: float = 10.0) -> T:
    """Wait until something is true of a bus that may be away for a moment, and return it."""

    def is_there() -> T | None:
        try:
            return condition()
        except Away:
            return None

    return waiting.wait_until(is_there, timeout_s)
