"""One child process: spawned by exec, heard through its notice pipe, ended by signals, reaped through its pidfd.

Everything here runs in master's main thread: PDEATHSIG of a child fires when the *thread* that made it ends. Children get
their own process group, so that Ctrl-C reaches master alone, and stderr as it is, so that a traceback or a stack dump is
never lost. What to do with a child is not decided here: policy.py.
"""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
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
    """A running child; `close` it when it is reaped."""

    def __init__(self, instance: Instance, popen: subprocess.Popen[bytes], notice_fd: int) -> None:
        self.instance = instance
        self.pid = popen.pid
        self.pidfd = os.pidfd_open(popen.pid)
        self.notice_fd = notice_fd
        self._popen = popen
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
        return self._popen.poll()

    def close(self) -> None:
        """Let go of the descriptors."""
        os.close(self.pidfd)
        os.close(self.notice_fd)


def spawn(place: Place, kit: Kit) -> Process:
    """Start the program of a place; raises OSError when the system has no process or descriptor left."""
    instance = Instance(f"{place.name}:{os.urandom(4).hex()}")
    notice_read, notice_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        listen_fds = kit.listen_fds if place.role == "lmtp" else ()
        popen = subprocess.Popen(
            _command(place, instance, kit, notice_write, listen_fds),
            stdin=subprocess.DEVNULL,
            pass_fds=(notice_write, kit.life_fd, kit.lock_fd, *listen_fds),
            process_group=0,
        )
    except BaseException:
        os.close(notice_read)
        raise
    finally:
        os.close(notice_write)
    if place.nice:
        with contextlib.suppress(OSError):  # it has ended, or the limits forbid it: slower mail is still mail
            os.setpriority(os.PRIO_PROCESS, popen.pid, min(19, os.nice(0) + place.nice))
    return Process(instance, popen, notice_read)


def _command(
    place: Place, instance: Instance, kit: Kit, notice_fd: int, listen_fds: Sequence[int]
) -> list[str]:
    # -P: the folder that master was started in is no place to import from
    command = [sys.executable, "-P", "-m", place.module]
    command += ["--settings", str(kit.settings_file), "--name", place.name, "--instance", instance]
    command += ["--notice-fd", str(notice_fd), "--life-fd", str(kit.life_fd), "--lock-fd", str(kit.lock_fd)]
    if place.queue is not None:
        command += ["--queue", place.queue]
    for number in listen_fds:
        command += ["--listen-fd", str(number)]
    return command
