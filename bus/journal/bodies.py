"""Contents and recipient lists: in the database up to a size, above it each in a file of its own.

A large row would be written twice (WAL, checkpoint) and stall everybody in its commit; a file is written once. A file is durable (fsync,
rename, fsync of the folder) before the row that names it is committed, and unlinked after the commit that drops its last
use. What a crash leaves behind has no row and is swept at the next start. Every body is checked when it is read: a file by blake2b, a row by
crc32 (measured: 0.8 against 3.7 us for 4 KiB). Which body is used by whom is the ledger's; transactions are sqlite.py's.
"""

import contextlib
import os
import sqlite3
import zlib
from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping
from hashlib import blake2b
from pathlib import Path

from bus.journal import tables
from config.failpoints import fail

SPILL_ABOVE = (
    2**20
)  # octets; measured: row and file are equal at 1 MiB, a file is three times as fast at 10 MiB
RECENT = 64 * 2**20  # octets kept in memory, so that what came a moment ago is leased without a read


class Damaged(Exception):
    """A body is not what was stored, or not there."""


class Recent:
    """The bodies used last, up to a number of octets."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._bodies: OrderedDict[int, bytes] = OrderedDict()
        self._octets = 0

    def get(self, body: int) -> bytes | None:
        """Return a body that is still in memory."""
        data = self._bodies.get(body)
        if data is not None:
            self._bodies.move_to_end(body)
        return data

    def put(self, body: int, data: bytes) -> None:
        """Keep a body and let the oldest go; one that would push out a quarter of the others is not kept."""
        if len(data) * 4 > self._limit or body in self._bodies:
            return
        self._bodies[body] = data
        self._octets += len(data)
        while self._octets > self._limit:
            self._octets -= len(self._bodies.popitem(last=False)[1])

    def forget(self, bodies: Iterable[int]) -> None:
        """Let these go."""
        for body in bodies:
            self._octets -= len(self._bodies.pop(body, b""))


class Bodies:
    """Writes and reads bodies. `write` runs inside a transaction; `committed` or `rolled_back` must follow it."""

    def __init__(self, connection: sqlite3.Connection, folder: Path, spill_above: int = SPILL_ABOVE) -> None:
        self.recent = Recent(RECENT)
        self._connection = connection
        self._folder = folder
        self._spill_above = spill_above
        self._files: set[int] = set()  # bodies that have a file
        self._written: list[int] = []  # files of the transaction that is open

    def sweep(self) -> None:
        """Learn which bodies have a file, and remove the files that no row names."""
        query = "SELECT id FROM body WHERE is_file = 1"
        self._files = {body for (body,) in self._connection.execute(query)}
        with contextlib.suppress(FileNotFoundError), os.scandir(self._folder) as entries:
            for entry in entries:
                if not entry.name.isdecimal() or int(entry.name) not in self._files:
                    os.unlink(entry.path)

    def write(self, bodies: Mapping[int, bytes], uses: Mapping[int, int]) -> None:
        """Store new bodies, each with the number of items that use it."""
        rows: list[tuple[object, ...]] = []
        octets: list[tuple[object, ...]] = []
        for body, data in bodies.items():
            if len(data) > self._spill_above:
                self._written.append(body)
                self._spill(body, data)
                rows.append((body, uses[body], len(data), 1, _digest(data)))
            else:
                rows.append((body, uses[body], len(data), 0, _checksum(data)))
                octets.append((body, data))
        if self._written:
            sync_folder(self._folder)
            fail("bus.spill.after")
        tables.insert(self._connection, "INSERT INTO body (id, refs, size, is_file, digest)", rows)
        tables.insert(self._connection, "INSERT INTO octets (body, data)", octets)

    def _spill(self, body: int, data: bytes) -> None:
        if not self._folder.is_dir():
            self._folder.mkdir(mode=0o700)
            sync_folder(self._folder.parent)
        path = self._path(body)
        temporary = path.with_suffix(".tmp")
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(fd, view) :]
            os.fsync(fd)
        finally:
            os.close(fd)
        fail("bus.spill.before")
        os.rename(temporary, path)

    def committed(self, bodies: Mapping[int, bytes], dropped: Collection[int]) -> None:
        """Keep what was written in mind, and remove what nobody uses any more."""
        for body, data in bodies.items():
            self.recent.put(body, data)
        self.recent.forget(dropped)
        self._files.update(self._written)
        self._written.clear()
        gone = self._files.intersection(dropped)
        self._files -= gone
        self._unlink(gone)

    def rolled_back(self) -> None:
        """Remove the files of a transaction that did not happen."""
        self._unlink(self._written)
        self._written.clear()

    def _unlink(self, bodies: Iterable[int]) -> None:
        for body in bodies:
            for path in (self._path(body), self._path(body).with_suffix(".tmp")):
                with contextlib.suppress(OSError):  # what cannot be removed now is swept at the next start
                    path.unlink(missing_ok=True)

    def read(self, body: int) -> bytes:
        """Return one body; raises Damaged."""
        data = self.recent.get(body)
        if data is not None:
            return data
        data, size, checked = self._read(body)
        if len(data) != size or not checked:
            raise Damaged(f"body {body} is not what was stored")
        self.recent.put(body, data)
        return data

    def _read(self, body: int) -> tuple[bytes, int, bool]:
        query = "SELECT size, is_file, digest, data FROM body LEFT JOIN octets ON octets.body = body.id WHERE body.id = ?"
        try:
            row = self._connection.execute(query, (body,)).fetchone()
        except sqlite3.DatabaseError as error:
            if tables.primary_code(error) == sqlite3.SQLITE_CORRUPT:  # its pages alone, as far as we know
                raise Damaged(f"body {body}: {error}") from error
            raise
        if row is None:
            raise Damaged(f"body {body} is not there")
        size, is_file, digest, data = row
        if not is_file:
            data = data or b""
            return data, size, digest == _checksum(data)
        try:
            data = self._path(body).read_bytes()
        except OSError as error:
            raise Damaged(f"{self._path(body)}: {error.strerror}") from error
        return data, size, digest == _digest(data)

    def _path(self, body: int) -> Path:
        return self._folder / str(body)


def _checksum(data: bytes) -> bytes:
    return zlib.crc32(data).to_bytes(4, "big")


def _digest(data: bytes) -> bytes:
    return blake2b(data, digest_size=16).digest()


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
