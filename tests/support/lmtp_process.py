"""Real front-ends beside a real bus and a real list store: `lmtp.main` as master would start it, on sockets bound here.

with running_post(tmp_path) as post:
    post.store.create_list("ant@example.org", ["generic_nonmember_action=accept"], [])
    post.start_front()
    with Wire.connect(post.tcp) as wire: ...
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from config import settings as settings_module
from config.lmtp_settings import LmtpSettings
from config.settings import Settings
from lists.store import Store
from tests.support import bus_process
from tests.support.bus_process import BusProcess

CHECKOUT = Path(__file__).resolve().parents[2]
START_S = 15.0
STOP_S = 30.0


@dataclass
class FrontProcess:
    """One front-end."""

    process: subprocess.Popen[bytes]
    life: int  # our end of its life pipe

    def kill(self) -> None:
        """kill -9."""
        self.process.kill()
        self.wait()

    def terminate(self) -> None:
        """Ask it to end, and do not wait."""
        self.process.send_signal(signal.SIGTERM)

    def wait(self) -> int:
        """Wait for its end; returns the exit status."""
        return self.process.wait(STOP_S)

    def lose_master(self) -> None:
        """End its life pipe."""
        os.close(self.life)
        self.life = -1


@dataclass
class Post:
    """A site without master and runners."""

    settings: Settings
    bus: BusProcess
    store: Store
    sockets: list[socket.socket]
    fronts: list[FrontProcess] = field(default_factory=list)

    @property
    def tcp(self) -> tuple[str, int]:
        """Where the TCP socket listens."""
        host, port = self.sockets[0].getsockname()
        return host, port

    @property
    def unix(self) -> Path:
        """Where the unix socket listens."""
        return Path(self.sockets[1].getsockname())

    def start_front(self, failpoints: str = "", *, wait: bool = True) -> FrontProcess:
        """Start one more front-end on the same sockets; with `wait`, return when it is ready."""
        number = len(self.fronts) + 1
        folder = Path(self.settings.site.var)
        file = folder / "settings.json"
        file.write_bytes(settings_module.encode(self.settings))
        notice, child_notice = os.pipe()
        child_life, life = os.pipe()
        command = [sys.executable, "-m", "lmtp.main", "--settings", str(file), "--name", f"lmtp-{number}"]
        command += ["--notice-fd", str(child_notice), "--life-fd", str(child_life)]
        fds = [each.fileno() for each in self.sockets]
        for fd in fds:
            command += ["--listen-fd", str(fd)]
        with (folder / "stderr.txt").open("ab") as stderr:
            process = subprocess.Popen(
                command,
                cwd=CHECKOUT,
                env={**os.environ, "POSTROOM_FAILPOINTS": failpoints},
                pass_fds=(child_notice, child_life, *fds),
                stderr=stderr,
            )
        os.close(child_notice)
        os.close(child_life)
        front = FrontProcess(process, life)
        self.fronts.append(front)
        with open(notice, "rb", buffering=0) as notices:
            while wait:
                line = notices.readline()
                assert line, f"the front-end ended with {process.wait(START_S)}: {self.errors()}"
                wait = line != b"READY\n"
        return front

    def errors(self) -> str:
        """Return what the processes wrote to stderr."""
        return (Path(self.settings.site.var) / "stderr.txt").read_text()

    def lines(self, event: str) -> list[dict[str, Any]]:
        """Return the log's lines of one event."""
        lines = Path(self.settings.logs.file).read_bytes().splitlines()
        return [line for line in map(msgspec.json.decode, lines) if line["event"] == event]

    def queued(self, queue: str = "incoming") -> int:
        """Return how many items wait in a queue."""
        return int(self.bus.queue(queue)["ready"])


@contextlib.contextmanager
def running_post(
    folder: Path, *, bus: bool = True, site: Mapping[str, Any] | None = None, **lmtp: Any
) -> Iterator[Post]:
    """Run a bus (unless `bus` is false), and bind a TCP and a unix socket; `site` and `lmtp` are settings of these tables.

    What still runs in the end is killed.
    """
    short = Path(tempfile.mkdtemp(prefix="pr-", dir="/tmp"))  # socket paths end at 100 octets
    settings = bus_process.make_settings(folder)
    settings = replace(
        settings,
        site=replace(settings.site, run=str(short), name="lists.example.org", **(site or {})),
        lists=replace(settings.lists, store=f"sqlite:///{folder}/lists.db"),
        lmtp=LmtpSettings(**lmtp),
    )
    tcp = socket.create_server(("127.0.0.1", 0), backlog=100)
    unix = socket.socket(socket.AF_UNIX)
    unix.bind(str(short / "lmtp.sock"))
    unix.listen(100)
    with tcp, unix, Store(settings) as store:
        post = Post(settings, BusProcess(settings), store, [tcp, unix])
        try:
            if bus:
                post.bus.start()
            yield post
        finally:
            for front in post.fronts:
                front.kill()
                if front.life >= 0:
                    os.close(front.life)
            post.bus.kill()
            shutil.rmtree(short, ignore_errors=True)
