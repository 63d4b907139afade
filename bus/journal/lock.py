"""Who owns a journal: a kernel lock, which no crash can leave behind, on a file beside it.

While the journal is open the file names its owner. A name found there at the next start means that the last stop was none, so the
write-ahead log must still be there: without it, mail that was answered 250 would be gone without a word.
"""

import contextlib
import fcntl
import os
from pathlib import Path

from bus.journal.api import Busy


class Lock:
    """The lock of the journal at `path`; raises Busy when another process has it."""

    def __init__(self, path: Path) -> None:
        self.path = path.with_name(path.name + ".lock")
        self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            owner = os.pread(self._fd, 100, 0).decode("ascii", "replace").strip()
            os.close(self._fd)
            raise Busy(
                f"{path} is in use by another process{f' ({owner})' if owner else ''}. Stop it first."
            ) from error
        self.was_unclean = os.fstat(self._fd).st_size > 0

    def mark(self) -> None:
        """Write down that the journal is open, and by whom."""
        self.clear()
        with contextlib.suppress(OSError):  # a full disk: the lock itself holds
            os.pwrite(self._fd, f"pid {os.getpid()}\n".encode("ascii"), 0)

    def clear(self) -> None:
        """Write down that the journal is about to be closed in order."""
        os.ftruncate(self._fd, 0)

    def release(self) -> None:
        """Let another process have it."""
        fd, self._fd = self._fd, -1
        os.close(fd)

    def abandon(self) -> None:
        """Clear and release it, if that was not done."""
        if self._fd >= 0:
            self.clear()
            self.release()
