"""Writes mail into one Maildir per recipient, for a first try without an MTA: DIR/ADDRESS/new/NAME.

The name comes from the item's id and the recipient, so a second run finds the file (in new/ or cur/) and writes nothing.
Durable when `deliver` returns: file synced, linked into new/, folder synced. Trusts its own folder; addresses it does not trust.
Leaves to the reader of a Maildir what happens after new/.
"""

import errno
import os
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path

from bus.messages import Item
from config.failpoints import fail

MAX_NAME = 200  # octets of a folder's name; file systems end at 255
_KEPT = frozenset(b"abcdefghijklmnopqrstuvwxyz0123456789@._+=-")


def folder_name(address: str) -> str:
    """Turn an address into the name of its folder: one path component, never "." or "..", at most MAX_NAME octets."""
    octets = address.lower().encode("utf-8", "surrogateescape")
    name = "".join(
        chr(octet) if octet in _KEPT and not (index == 0 and octet == 0x2E) else f"%{octet:02X}"
        for index, octet in enumerate(octets)
    )
    if len(name) <= MAX_NAME:
        return name
    return name[: MAX_NAME - 33] + "=" + blake2b(octets, digest_size=16).hexdigest()


def file_name(item: Item, recipient: str) -> str:
    """Name the file of one recipient's copy: the same for every run of the same item, another for any other."""
    mark = blake2b(recipient.encode("utf-8", "surrogateescape"), digest_size=8).hexdigest()
    return f"{int(item.accepted_at.timestamp())}.{item.id}{mark}.postroom"


class Maildirs:
    """The folder of all Maildirs."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def deliver(self, item: Item, recipient: str, content: bytes) -> bool:
        """Write one copy durably; False: it was there already. Raises OSError: nothing is sure, do it again later."""
        folder = self._root / folder_name(recipient)
        name = file_name(item, recipient)
        _make(folder)
        if _is_there(folder, name):
            return False
        temporary = folder / "tmp" / f"{name}.{os.getpid()}"
        _write(temporary, _delivery_lines(item, recipient) + content)
        try:
            fail("maildir.link.before")
            os.link(temporary, folder / "new" / name)
        except FileExistsError:  # another process was faster with the very same mail
            return False
        finally:
            temporary.unlink()
            _sync_folder(folder / "new")
        fail("maildir.link.after")
        return True


def _delivery_lines(item: Item, recipient: str) -> bytes:
    """Return what a delivery agent writes on top: the envelope, which is not in the message (RFC 5321 4.4)."""
    return f"Return-Path: <{item.reverse_path}>\r\nDelivered-To: {recipient}\r\n".encode("utf-8", "replace")


def _make(folder: Path) -> None:
    """Make a Maildir that is not there yet, and make that durable too."""
    if (folder / "new").is_dir():
        return
    for part in ("tmp", "cur", "new"):  # new/ last: it says that the others are there
        (folder / part).mkdir(mode=0o700, parents=True, exist_ok=True)
    _sync_folder(folder)
    _sync_folder(folder.parent)


def _is_there(folder: Path, name: str) -> bool:
    """Say whether this copy was delivered before; a reader moves it to cur/ and adds flags to its name."""
    return (folder / "new" / name).exists() or any(there.startswith(name) for there in _names(folder / "cur"))


def _names(folder: Path) -> Iterator[str]:
    with os.scandir(folder) as entries:
        for entry in entries:
            yield entry.name


def _write(path: Path, data: bytes) -> None:
    """Write a new file and sync it; a leftover of a process with the same pid goes."""
    path.unlink(missing_ok=True)
    with path.open("xb", buffering=0) as file:
        view = memoryview(data)
        while view:
            view = view[file.write(view) :]
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a file system that cannot sync folders syncs them with the file
            raise
    finally:
        os.close(fd)
