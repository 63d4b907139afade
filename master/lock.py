"""Who owns a site's state: a kernel lock (flock) on VAR/master.lock, so there is no stale one.

Children inherit it: it is free when the last of them has ended, even if master was killed, and then nobody of an
earlier life writes any more. The text in the file is the holder's pid, for messages; an orderly end empties it.
"""

import contextlib
import fcntl
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from config.settings import Settings

ORPHANS_S = 30.0  # what the children of a killed master may take to end; their own grace is 20 s
KILL_S = 5.0  # for the kernel to end those that were killed
GOING_S = 1.0  # what is left of an orderly end once the pid is gone, or of a command that only looks
POLL_S = 0.02  # flock(2) has no time-out


class Held(Exception):
    """Another master has this state; `pid` is 0 when it is not known."""

    def __init__(self, pid: int) -> None:
        super().__init__(pid)
        self.pid = pid


class Lock:
    """VAR/master.lock, held until `release` or the end of this process and all its children."""

    def __init__(self, settings: Settings) -> None:
        self.path = Path(settings.site.var) / "master.lock"
        self.fd = -1

    def take(self, tell: Callable[[str], None]) -> None:
        """Take it, or raise Held.

        Waits for the children of a master that was killed, and kills those that do not end: as long as one lives,
        another would write beside it. `tell` gets a line for a person when this takes time.
        """
        self.fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            self._wait(tell)
        except BaseException:
            os.close(self.fd)
            self.fd = -1
            raise
        text = f"{os.getpid()}\n".encode()
        os.pwrite(self.fd, text, 0)
        os.ftruncate(self.fd, len(text))

    def _wait(self, tell: Callable[[str], None]) -> None:
        began, told = time.monotonic(), False
        while not self._try(fcntl.LOCK_EX):
            pid, waited = self._read_pid(), time.monotonic() - began
            if (pid and _is_alive(pid)) or waited > (ORPHANS_S + KILL_S if pid else GOING_S):
                raise Held(pid)
            if pid and not told and waited > GOING_S:
                tell(f"waiting for the children of a master that was killed (pid {pid})")
                told = True
            if pid and waited > ORPHANS_S:
                for orphan in self._orphans():
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(orphan, signal.SIGKILL)
            time.sleep(POLL_S)

    def _orphans(self) -> Iterator[int]:
        """Find the processes that inherited this lock; a command that only looks at it is none."""
        mine = os.fstat(self.fd)
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                command = (process / "cmdline").read_bytes()
                if not (command.startswith(b"postroom ") or b"--lock-fd" in command):
                    continue
                if any(os.path.samestat(mine, file.stat()) for file in (process / "fd").iterdir()):
                    yield int(process.name)

    def wait_until_free(self, timeout_s: float) -> bool:
        """Wait until nobody holds it, without taking it; False when the time is over."""
        try:
            self.fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return True
        try:
            deadline = time.monotonic() + timeout_s
            while not self._try(fcntl.LOCK_SH):  # shared: those who only look do not see each other
                if time.monotonic() > deadline:
                    return False
                time.sleep(POLL_S)
            return True
        finally:
            os.close(self.fd)  # and the lock with it
            self.fd = -1

    def holder(self) -> int | None:
        """Return the pid of who holds it, None when nobody does, 0 when the holder has not written it yet."""
        if self.wait_until_free(0.0):
            return None
        with contextlib.suppress(OSError, ValueError):
            return int(self.path.read_text("ascii") or 0)
        return 0

    def release(self, *, orderly: bool) -> None:
        """Let go; the kernel frees the lock when the last child has, too. `orderly`: all of them have ended."""
        if orderly:
            os.ftruncate(self.fd, 0)
        os.close(self.fd)
        self.fd = -1

    def _try(self, kind: int) -> bool:
        try:
            fcntl.flock(self.fd, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _read_pid(self) -> int:
        text = os.pread(self.fd, 32, 0).strip()
        return int(text) if text.isdigit() else 0


def _is_alive(pid: int) -> bool:
    """Say whether a process runs; one that ended and was not reaped by its parent does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(b") ")[2][:1] not in (b"Z", b"X")  # proc(5): the name before it may hold anything


def terminate(pid: int) -> None:
    """Ask a master that does not answer on its socket to end."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGTERM)
