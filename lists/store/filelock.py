"""A kernel lock on a small file: let go of when its process dies, however it dies."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lists.errors import StoreAway


@contextmanager
def locked(file: Path, timeout_s: float, poll_s: float, what: str) -> Iterator[None]:
    """Hold the lock of `file`, which is made where it is missing; raises StoreAway after `timeout_s`.

    Each call opens the file anew, since flock tells descriptions apart, not threads. `poll_s`: flock has no time-out of its own.
    """
    try:
        fd = os.open(file, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StoreAway(f"{file}: {error.strerror}", "check that the folder is there and ours") from error
    try:
        _wait_for(fd, timeout_s, poll_s, what)
        yield
    finally:
        os.close(fd)


def _wait_for(fd: int, timeout_s: float, poll_s: float, what: str) -> None:
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise StoreAway(f"{what} for {timeout_s:g} s", "look for a process that hangs") from None
            time.sleep(poll_s)
        else:
            return
