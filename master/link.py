"""Starts the forker (forker.py), and is the line to it.

Imports next to nothing: `bin/master start` does this first of all, so that the forker imports the programs while master imports itself.
"""

import contextlib
import ctypes
import socket
import subprocess
import sys
from typing import NamedTuple, Self

PR_SET_CHILD_SUBREAPER = 36  # prctl(2)
CLOSE_S = 1.0  # for the kernel to end a process that was killed

# In the order in which they are wanted: the bus opens its journal while the others are imported. lists.directory is the larger
# half of lmtp.main, named so that an order for the bus waits for one half at most.
MODULES = ("bus.broker", "lists.directory", "lmtp.main", "runners.main")


class Link(NamedTuple):
    """A forker that was started, warm or not."""

    popen: subprocess.Popen[bytes]
    socket: socket.socket

    @classmethod
    def start(cls) -> Self | None:
        """Start a forker; None where there can be none, and every process is started by exec.

        It belongs to the main thread: what the forker forks becomes a child of this process (its sub-reaper), and that ends with it.
        Raises OSError when the system has no process or descriptor left.
        """
        if ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
            return None  # a sandbox forbids it
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        with theirs:
            # -P: the folder that master was started in is no place to import from
            command = [
                sys.executable,
                "-P",
                "-m",
                "master.forker",
                "--link-fd",
                str(theirs.fileno()),
                *MODULES,
            ]
            try:
                popen = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    pass_fds=(theirs.fileno(),),
                    process_group=0,  # Ctrl-C reaches master alone
                )
            except BaseException:
                ours.close()
                raise
        return cls(popen, ours)

    def close(self) -> None:
        """End it, at once: it has nothing to finish."""
        self.socket.close()
        self.popen.kill()
        with contextlib.suppress(
            subprocess.TimeoutExpired
        ):  # in a read from a disk that hangs; reaped as a stray
            self.popen.wait(CLOSE_S)
