"""What is measured: A (aiosmtpd), M (GNU Mailman's LMTP runner) and, in site.py, Postroom.

A target is started once, stays up for the whole run, and empties its queues before each row. Each has its own folder under bench/out/.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import venv
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from bench.load import Address

REPOSITORY = Path(__file__).resolve().parents[1]
OUT = REPOSITORY / "bench" / "out"
BANNER_S = 60.0  # Mailman needs some 8 s on this kind of machine
STOP_S = 30.0
MAILMAN = "mailman==3.3.10"  # the newest in November 2026
LISTS = 3


class TargetFailed(Exception):
    """A target could not be installed, started or emptied; its rows are left out."""


class Target(Protocol):
    """Something that speaks LMTP."""

    name: str
    address: Address

    def start(self) -> None:
        """Start it and wait for its banner. Raises TargetFailed."""

    def stop(self) -> None:
        """End it; safe to call twice and before `start`."""

    def settle(self) -> None:
        """Empty its queues. Raises TargetFailed."""

    def pids(self) -> Sequence[int]:
        """Return the processes whose CPU counts as the cost of accepting."""

    def front_end(self) -> Sequence[int]:
        """Return the processes that have a message's octets in memory while it comes in."""


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that nothing listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def wait_for_banner(address: Address, process: subprocess.Popen[bytes], log: Path) -> None:
    """Return when a 220 is read from `address`. Raises TargetFailed when the process ends before or the time is over."""
    deadline = time.monotonic() + BANNER_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise TargetFailed(f"ended with {process.returncode} before its banner; see {log}")
        try:
            with socket.create_connection(address, timeout=5) as connection:
                if connection.recv(512).startswith(b"220"):
                    return
        except OSError:
            time.sleep(0.005)  # nobody tells when a port opens; start times are read to this precision
    raise TargetFailed(f"no banner within {BANNER_S:g} s; see {log}")


def session_pids(leader: int) -> list[int]:
    """Return the processes of a session that was begun by `leader`, dead ones that nobody has asked for left out."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # ended meanwhile
            fields = path.read_bytes().rpartition(b")")[2].split()  # state, ppid, pgrp, session (proc(5))
            if int(fields[3]) == leader and fields[0] != b"Z":
                found.append(int(path.parent.name))
    return found


class Process:
    """A server in a session of its own, its output in a file."""

    def __init__(self, command: Sequence[str | Path], folder: Path, log: Path) -> None:
        with log.open("ab") as output:
            self.popen = subprocess.Popen(
                [str(part) for part in command],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self.log = log

    def stop(self) -> None:
        """Ask it to end, then end it, and whatever else is left of its session: nothing it has started stays."""
        if self.popen.poll() is None:
            self.popen.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.popen.wait(STOP_S)
        deadline = time.monotonic() + STOP_S
        while rest := session_pids(self.popen.pid):
            if time.monotonic() > deadline:
                raise TargetFailed(f"processes {rest} do not end")
            for pid in rest:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self.popen.poll()  # reap it, if it was among them
            time.sleep(0.01)  # the kernel ends them, and says nothing to those who are not their parent
        self.popen.wait()


class Stock:
    """A: aiosmtpd's own LMTP class, see stock.py."""

    name = "A"

    def __init__(self) -> None:
        self.address: Address = ("127.0.0.1", free_port())
        self._process: Process | None = None

    def start(self) -> None:
        """Start it."""
        OUT.mkdir(parents=True, exist_ok=True)
        command = (sys.executable, "-m", "bench.stock", "--port", str(self.address[1]))
        self._process = Process(command, REPOSITORY, OUT / "aiosmtpd.log")
        wait_for_banner(self.address, self._process.popen, self._process.log)

    def stop(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.stop()

    def settle(self) -> None:
        """It keeps nothing."""

    def pids(self) -> Sequence[int]:
        """Return its one process."""
        return [self._process.popen.pid] if self._process is not None else []

    front_end = pids


class Mailman:
    """M: Mailman's LMTP runner alone, its other runners not started, so that they take no CPU from it; three lists, or those named."""

    name = "M"

    def __init__(self, lists: Sequence[str] = (), folder: str = "mailman") -> None:
        self.address: Address = ("127.0.0.1", free_port())
        self._lists = lists or [list_address(number) for number in range(LISTS)]
        self._folder = OUT / folder
        self._programs = OUT / "mailman" / "venv" / "bin"
        self._database = self._folder / "var" / "mailman.db"
        self.queue = self._folder / "var" / "queue"
        self._process: Process | None = None

    def start(self) -> None:
        """Install it when it is not there yet, make the lists, start the runner."""
        self._prepare()
        # Alone like this it needs no master; the slice says that it is the only one of its kind.
        command = (self._programs / "runner", "-C", "mailman.cfg", "--runner=lmtp:0:1")
        self._process = Process(command, self._folder, self._folder / "runner.log")
        wait_for_banner(self.address, self._process.popen, self._process.log)

    def stop(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.stop()

    def settle(self) -> None:
        """Throw away what it queued."""
        for path in self.queue.glob("*/*.pck"):
            path.unlink()

    def pids(self) -> Sequence[int]:
        """Return the runner."""
        return [self._process.popen.pid] if self._process is not None else []

    front_end = pids

    def _prepare(self) -> None:
        """Make a new, empty Mailman with its lists."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._install()
        shutil.rmtree(self._folder / "var", ignore_errors=True)
        (self._folder / "mailman.cfg").write_text(self._configuration())
        for address in self._lists:
            self._run("mailman", *root_option(), "-C", "mailman.cfg", "create", address)

    def _install(self) -> None:
        environment = self._programs.parent
        stamp = environment / MAILMAN
        if stamp.exists():
            return
        venv.create(environment, clear=True, with_pip=True)
        self._run("python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", MAILMAN)
        stamp.touch()

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._programs / program), *arguments]
        result = subprocess.run(
            command, cwd=self._folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        if result.returncode:
            raise TargetFailed(f"{program} {' '.join(arguments)}: {(result.stderr or result.stdout)[-500:]}")

    def _configuration(self) -> str:
        return f"""\
[mailman]
layout: bench
[paths.bench]
var_dir: {self._folder / "var"}
bin_dir: {self._programs}
[database]
url: sqlite:///{self._database}
[mta]
incoming: mailman.mta.null.NullMTA
lmtp_host: 127.0.0.1
lmtp_port: {self.address[1]}
"""


def list_address(number: int) -> str:
    """Return the address of a list without members, the same in each target."""
    return f"bench-{number}@example.org"


def root_option() -> Sequence[str]:
    """Mailman's command refuses to run as root unless told that this is meant; its runner does not mind."""
    return ["--run-as-root"] if os.geteuid() == 0 else []
