"""One child process: what it is given, heard through its notice pipe, ended by signals, reaped through its pidfd.

Everything here runs in master's main thread: PDEATHSIG of a child fires when the *thread* that made it ends. Children get
their own process group, so that Ctrl-C reaches master alone, and stderr as it is, so that a traceback or a stack dump is
never lost. Where a child comes from is nursery.py's, what to do with one is policy.py's.
"""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Container
from pathlib import Path

from msgspec import Struct

from config.names import Instance
from master.plan import Place

_READY = b"READY"


class Kit(Struct, frozen=True):
    """What every child of one master is given."""

    settings_file: Path
    life_fd: int  # read end; the write end is master's alone, so its end is master's end
    lock_fd: int  # keeps the state locked until the last child has ended, whatever became of master
    listen_fds: tuple[int, ...] = ()  # for lmtp


class Process:
    """A running child; `close` it when it is reaped. Raises OSError, and closes `notice_fd`, when there is no such child."""

    def __init__(
        self, instance: Instance, pid: int, notice_fd: int, poll: Callable[[], int | None] | None = None
    ) -> None:
        self.instance = instance
        self.pid = pid
        self.notice_fd = notice_fd
        try:
            self.pidfd = os.pidfd_open(pid)
        except OSError:
            os.close(notice_fd)
            raise
        self._poll = poll or self._wait
        self._tail = b""

    def send(self, number: signal.Signals) -> None:
        """Send a signal; one that has ended meanwhile gets none."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.pidfd, number)

    def read_notices(self) -> tuple[list[bool], bool]:
        """Return what it said since the last call, True for READY and False for a beat, and whether it can say more."""
        said: list[bool] = []
        while True:
            try:
                data = os.read(self.notice_fd, 4096)
            except BlockingIOError:
                return said, True
            if not data:
                return said, False
            *lines, self._tail = (self._tail + data).split(b"\n")
            said += [line == _READY for line in lines]

    def reap(self) -> int | None:
        """Return the exit code (negative: the signal that ended it), or None while it lives."""
        return self._poll()

    def _wait(self) -> int | None:
        found, status = os.waitpid(self.pid, os.WNOHANG)
        return os.waitstatus_to_exitcode(status) if found else None

    def close(self) -> None:
        """Let go of the descriptors."""
        os.close(self.pidfd)
        os.close(self.notice_fd)


class Birth:
    """A child that is not there yet: who it will be, and what it gets. Ends with `process`, `execute` or `abandon`."""

    def __init__(self, place: Place, kit: Kit) -> None:
        self.place = place
        self.instance = Instance(f"{place.name}:{os.urandom(4).hex()}")
        self._kit = kit
        self._notice_read, self._notice_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)

    def arguments(self) -> list[str]:
        """Return the command line, but for the descriptors."""
        found = ["--settings", str(self._kit.settings_file), "--name", self.place.name]
        found += ["--instance", self.instance]
        if self.place.queue is not None:
            found += ["--queue", self.place.queue]
        return found

    def fds(self) -> list[tuple[str, int]]:
        """Return the descriptors that it gets, each with the option that tells it the number."""
        kit = self._kit
        found = [("--notice-fd", self._notice_write), ("--life-fd", kit.life_fd), ("--lock-fd", kit.lock_fd)]
        if self.place.role == "lmtp":
            found += [("--listen-fd", fd) for fd in kit.listen_fds]
        return found

    def process(self, pid: int, poll: Callable[[], int | None] | None = None) -> Process:
        """Return the child, now that it is there; raises OSError when it has gone already."""
        os.close(self._notice_write)
        return Process(self.instance, pid, self._notice_read, poll)

    def abandon(self) -> None:
        """Let go: there will be no such child."""
        os.close(self._notice_write)
        os.close(self._notice_read)

    def execute(self) -> Process:
        """Start it as a program of its own; raises OSError when the system has no process or descriptor left."""
        # -P: the folder that master was started in is no place to import from
        command = [sys.executable, "-P", "-m", self.place.module, *self.arguments()]
        for option, fd in self.fds():
            command += [option, str(fd)]
        try:
            popen = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                pass_fds=[fd for _, fd in self.fds()],
                process_group=0,
            )
        except BaseException:
            self.abandon()
            raise
        if self.place.nice:
            with contextlib.suppress(
                OSError
            ):  # it has ended, or the limits forbid it: slower mail is still mail
                os.setpriority(os.PRIO_PROCESS, popen.pid, min(19, os.nice(0) + self.place.nice))
        return self.process(popen.pid, popen.poll)


def reap_strays(ours: Container[int]) -> None:
    """Reap what ended and is nobody's: the children of a child that has ended fall to master, its sub-reaper.

    Those of `ours` are left to whoever waits for them; one of them hides what ended after it, so ask again when it is reaped.
    """
    with contextlib.suppress(ChildProcessError):
        while found := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            if found.si_pid in ours:
                return
            os.waitpid(found.si_pid, os.WNOHANG)
