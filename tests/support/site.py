"""A whole site in a folder of its own, through bin/master and bin/postroom as a person would use them.

with Site(tmp_path, '[lmtp]\\nprocesses = 2\\n') as site:
    site.postroom("lists", "create", "ant@example.org")
    ...  # LMTP to site.port or site.unix

The configuration is the caller's text; where it is silent, [lmtp] listen is a free port and a unix socket, and [site] run is a
short folder under /tmp, since pytest's are too long for socket paths.
"""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import tomllib
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.support.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]
MASTER = ROOT / "bin" / "master"
POSTROOM = ROOT / "bin" / "postroom"
READY_S = 30.0
STOP_S = 60.0


class Site:
    """One site; as a context manager it is started, and ended whatever happens."""

    def __init__(self, folder: Path, config: str = "", env: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self.config = folder / "postroom.toml"
        self.env = {**os.environ, **(env or {})}
        self.process: subprocess.Popen[bytes] | None = None
        self._short = Path(tempfile.mkdtemp(prefix="pr-", dir="/tmp"))
        tree = tomllib.loads(config)
        tree.setdefault("site", {}).setdefault("run", str(self._short))
        self.port = free_port()
        listen = tree.setdefault("lmtp", {}).setdefault(
            "listen", [f"127.0.0.1:{self.port}", f"unix:{self._short}/lmtp.sock"]
        )
        for text in listen:
            if not text.startswith("unix:"):
                self.port = int(text.rpartition(":")[2])
        self.unix = next((Path(text[5:]) for text in listen if text.startswith("unix:")), None)
        self.var = folder / tree["site"].get("var", "var")
        self.run = folder / tree["site"]["run"]
        folder.mkdir(parents=True, exist_ok=True)
        self.config.write_text(write_toml(tree), "utf-8")

    def start(self, *, ready: bool = True) -> None:
        """Start master; with `ready`, return when every process does its work."""
        if self.process is not None:  # one that was killed
            self.process.wait(STOP_S)
        with (self.folder / "master.out").open("ab") as output:
            self.process = subprocess.Popen(
                [MASTER, "start", "--config", self.config],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=self.env,
                cwd="/",
            )
        if ready:
            self.wait_healthy()

    def wait_healthy(self, timeout_s: float = READY_S) -> dict[str, Any]:
        """Wait until status says healthy, and return it."""

        def healthy() -> dict[str, Any] | None:
            assert self.process is None or self.process.poll() is None, f"master ended:\n{self.output()}"
            status = self.status()
            return status if status["state"] == "healthy" else None

        try:
            return wait_until(healthy, timeout_s, what="the site is healthy", every_s=0.1)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.output()[-4000:]}") from None

    def master(self, *arguments: str, timeout_s: float = 90.0) -> subprocess.CompletedProcess[str]:
        """Run bin/master with this site's configuration."""
        return self._run(MASTER, *arguments, "--config", str(self.config), timeout_s=timeout_s)

    def postroom(self, *arguments: str, timeout_s: float = 90.0) -> subprocess.CompletedProcess[str]:
        """Run bin/postroom with this site's configuration."""
        return self._run(POSTROOM, *arguments, "--config", str(self.config), timeout_s=timeout_s)

    def _run(self, program: Path, *arguments: str, timeout_s: float) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [program, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            env=self.env,
            check=False,
        )

    def status(self) -> dict[str, Any]:
        """Return what `bin/master status --json` says."""
        done = self.master("status", "--json")
        assert done.stdout, done.stderr
        status: dict[str, Any] = json.loads(done.stdout)
        return status

    def child(self, name: str) -> dict[str, Any]:
        """Return one process as status shows it."""
        found = [each for each in self.status()["processes"] if each["name"] == name]
        assert len(found) == 1, f"{name}: {found}"
        return dict(found[0])

    def queue(self, name: str) -> dict[str, Any]:
        """Return one queue as status shows it."""
        found = [each for each in self.status()["queues"] if each["queue"] == name]
        assert len(found) == 1, f"{name}: {found}"
        return dict(found[0])

    def kill(self, name: str, number: signal.Signals = signal.SIGKILL) -> int:
        """Send a signal to a process of this site and return its pid."""
        pid = int(self.child(name)["pid"])
        os.kill(pid, number)
        return pid

    def stop(self) -> subprocess.CompletedProcess[str]:
        """End the site with `bin/master stop` and wait for the end of what `start` started."""
        done = self.master("stop")
        if self.process is not None:
            self.process.wait(STOP_S)
            self.process = None
        return done

    def output(self) -> str:
        """Return what master and its children wrote to stdout and stderr."""
        with contextlib.suppress(FileNotFoundError):
            return (self.folder / "master.out").read_text("utf-8", "replace")
        return ""

    def log(self, event: str | None = None) -> list[dict[str, Any]]:
        """Return the log's lines, all or those of one event."""
        file = self.var / "log" / "postroom.jsonl"
        lines = file.read_bytes().splitlines() if file.exists() else []
        told = [json.loads(line) for line in lines]
        return [line for line in told if event is None or line["event"] == event]

    def processes(self) -> list[int]:
        """Return the pids of every process of this site: those that hold its lock."""
        lock = str(self.var / "master.lock")
        return [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if _has_open(pid, lock)]

    def __enter__(self) -> Self:
        if self.process is None:
            self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    def end(self) -> None:
        """End everything, in order if it can be, and remove the folder of sockets."""
        try:
            if self.process is not None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self.process.terminate()
                    self.process.wait(STOP_S)
        finally:
            for pid in self.processes():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            if self.process is not None:
                self.process.wait(STOP_S)
                self.process = None
            shutil.rmtree(self._short, ignore_errors=True)


def _has_open(pid: int, path: str) -> bool:
    folder = f"/proc/{pid}/fd"
    with contextlib.suppress(OSError):
        for name in os.listdir(folder):
            with contextlib.suppress(OSError):
                if os.readlink(f"{folder}/{name}") == path:
                    return True
    return False


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that nobody has at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def write_toml(tree: Mapping[str, Any], table: str = "") -> str:
    """Write a tree of plain values as TOML; JSON's spelling of a string, number or list is TOML's too."""
    plain = [f"{key} = {json.dumps(value)}\n" for key, value in tree.items() if not isinstance(value, dict)]
    text = (f"[{table}]\n" if table else "") + "".join(plain)
    for key, value in tree.items():
        if isinstance(value, dict):
            text += write_toml(value, f"{table}.{key}" if table else key)
    return text
