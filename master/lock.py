"""Who owns a site's state: a kernel lock (flock) on VAR/master.lock, so there is no stale one.

Children inherit it: it is free when the last of them has ended, even if master was killed, and then nobody of an
earlier life writes any more. The text in the file is the holder's pid, for messages; an orderly end empties it.
"""

import contextlib
import fcntl
import os
import signal
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from config.settings import Settings

ORPHANS_S = 30.0  # what the children of a killed master may take to end; their own grace is 20 s
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
        self.unclean = False  # the last holder did not end in order

    def take(self) -> None:
        """Take it, or raise Held; waits for the children of a master that was killed, and for one that is just going."""
        self.fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        began = time.monotonic()
        while not self._try(fcntl.LOCK_EX):
            pid = self._read_pid()
            if (pid and _is_alive(pid)) or time.monotonic() > began + (ORPHANS_S if pid else GOING_S):
                os.close(self.fd)
                self.fd = -1
                raise Held(pid)
            time.sleep(POLL_S)
        self.unclean = self._read_pid() != 0
        os.pwrite(self.fd, f"{os.getpid()}\n".encode(), 0)
        os.ftruncate(self.fd, len(f"{os.getpid()}\n"))

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

    def release(self) -> None:
        """Say that this was an orderly end; the kernel frees the lock when the last descriptor is closed."""
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

    def __enter__(self) -> Self:
        self.take()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def terminate(pid: int) -> None:
    """Ask a master that does not answer on its socket to end."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGTERM)
