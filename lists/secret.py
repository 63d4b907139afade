"""The site key on disk, `var/secret`: 32 random octets, for our user alone (0600).

Whoever needs it first makes it: master at its first start, before any child; a child or a command run by hand does the same. No lock is needed, for
the file gets its name only when it is whole and on the disk, by link(2), which fails when there is one: then that one is the key.
The key is never changed by us. Without it every token that was sent is void, so it belongs into the backup.
"""

import os
import stat
import tempfile
from pathlib import Path
from typing import Final

from config.settings import Settings
from lists.errors import BadSecret
from lists.tokens import SiteKey

NAME: Final = "secret"  # in [site] var
KEY_OCTETS: Final = 32  # as long as the hash of the HMAC: more adds nothing (RFC 2104 3)
OTHERS: Final = 0o077  # mode bits that let anybody but the owner at it


def load_site_key(settings: Settings) -> SiteKey:
    """Return the key of this site, made when there is none.

    Raises BadSecret when there is one that cannot be used, or none can be made: a person must look (exit 78).
    """
    file = Path(settings.site.var) / NAME
    try:
        return _read(file)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise BadSecret(str(file), f"cannot be read: {error.strerror}") from error
    try:
        _make(file)
        return _read(file)
    except OSError as error:
        raise BadSecret(str(file), f"cannot be made: {error.strerror}") from error


def _read(file: Path) -> SiteKey:
    with file.open("rb") as stream:
        found = os.fstat(stream.fileno())
        octets = stream.read(KEY_OCTETS)
    if found.st_size != KEY_OCTETS:
        problem = f"has {found.st_size} octets instead of {KEY_OCTETS}; restore it from a backup, or remove it and all tokens sent so far are void"
        raise BadSecret(str(file), problem)
    if found.st_mode & OTHERS:
        mode = stat.S_IMODE(found.st_mode)
        raise BadSecret(str(file), f"others may use it (mode {mode:04o}); if nobody has, chmod 600")
    return SiteKey(octets)


def _make(file: Path) -> None:
    """Give a new key its name, unless another process was faster; durable when this returns."""
    fd, written = tempfile.mkstemp(prefix=f".{NAME}.", dir=file.parent)  # 0600 from the start
    try:
        with os.fdopen(fd, "wb") as stream:
            stream.write(os.urandom(KEY_OCTETS))
            stream.flush()
            os.fsync(stream.fileno())
        try:
            os.link(written, file)
        except FileExistsError:
            return
    finally:
        os.unlink(written)
    folder = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
