"""The disk that the journal is on: its kind, its free space, and the ballast that is given up when it is full.

SQLite cannot even delete on a full disk, so without ballast a full journal could never be emptied (bus.md D 4). Sizes come from
`[bus] min_free` and `ballast`, less on a small disk. When to give up and take again is the broker's decision.
"""

import ctypes
import errno
import os
from collections.abc import Mapping
from pathlib import Path

from bus.journal.api import Unusable

# f_type of statfs(2), from linux/magic.h: file systems on which a lock or an fsync is a promise of somebody far away.
# Not here: FUSE and 9p, which may be local as well.
NETWORK_FILE_SYSTEMS = {
    0x6969: "NFS",
    0x517B: "SMB",
    0xFF534D42: "CIFS",
    0xFE534D42: "SMB2",
    0x5346414F: "AFS",
    0x73757245: "Coda",
    0x564C: "NCP",
    0x00C36400: "Ceph",
    0x0BD00BD0: "Lustre",
    0x01161970: "GFS2",
    0x7461636F: "OCFS2",
}

PROBE = 64 * 1024  # octets written to find out whether an error means "no space"


def refuse_network(folder: Path, refused: Mapping[int, str] = NETWORK_FILE_SYSTEMS) -> None:
    """Raise Unusable when a folder is on a network file system."""
    name = refused.get(file_system(folder))
    if name is not None:
        raise Unusable(
            f"{folder} is on a network file system ({name}), where a crash can lose mail. Set [bus] journal to a local disk."
        )


def file_system(folder: Path) -> int:
    """Return the f_type of the file system that a folder is on (statfs(2))."""
    libc = ctypes.CDLL(None, use_errno=True)
    buffer = (ctypes.c_ulong * 32)()  # struct statfs begins with f_type, a long, and has 120 octets
    if libc.statfs(os.fsencode(folder), ctypes.byref(buffer)) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(folder))
    return int(buffer[0]) & 0xFFFFFFFF


def free_octets(folder: Path) -> tuple[int, int]:
    """Return what may still be written, and the size of the file system, in octets."""
    status = os.statvfs(folder)
    return status.f_bavail * status.f_frsize, status.f_blocks * status.f_frsize


def min_free(setting: int, total: int) -> int:
    """Return under how many free octets no new mail is taken: `[bus] min_free`, a tenth of a small disk."""
    return min(setting, total // 10)


def is_out_of_space(error: OSError) -> bool:
    """Say whether an error of the system means that nothing more fits."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


def has_no_space(probe: Path) -> bool:
    """Find out by writing a file: SQLite reports a quota that is used up like any other I/O error."""
    try:
        fd = os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            written = os.write(fd, bytes(PROBE))
            os.fsync(fd)
        finally:
            os.close(fd)
            os.unlink(probe)
    except OSError as error:
        return is_out_of_space(error)
    return written < PROBE


class Ballast:
    """A file that holds space: `size` octets, or a twentieth of a small disk. `keep_free` is `[bus] min_free`."""

    def __init__(self, path: Path, size: int, keep_free: int) -> None:
        self._path = path
        self._size = size
        self._keep_free = keep_free

    def target(self) -> int:
        """Return how much it is to hold here, in octets."""
        return min(self._size, free_octets(self._path.parent)[1] // 20)

    def give_up(self) -> None:
        """Free the space."""
        self._path.unlink(missing_ok=True)

    def restore(self) -> None:
        """Take the space, unless that would leave too little for new mail; does nothing while it is taken."""
        size = self.target()
        if self._path.exists():
            if self._path.stat().st_size == size:
                return
            self.give_up()  # the setting has changed
        free, total = free_octets(self._path.parent)
        if size > 0 and free - size >= min_free(self._keep_free, total):
            self._take(size)

    def _take(self, size: int) -> None:
        fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(fd, 0, size)
        except OSError:  # somebody was faster, or this file system cannot: we live without
            self.give_up()
        finally:
            os.close(fd)
