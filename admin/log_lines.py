"""Finds the lines of one message in the log: the file, and what logrotate made of it beside it.

Reads octets in blocks and decodes a line only when it holds an id that is looked for, so a log of gigabytes costs little time and
no memory. Trusts nothing it reads: what is torn or is no JSON object is passed over.
"""

import contextlib
import os
import re
from collections.abc import Collection, Iterator, Sequence
from io import BufferedReader
from pathlib import Path
from typing import IO, Any, cast

import msgspec

BLOCK = 1 << 20  # octets read at a time
MAX_LINE = 1 << 22  # octets; nothing of ours is longer, so what is longer is torn
ID_KEYS = (
    "item_id",
    "root_id",
    "first_id",
    "item_ids",
)  # under which a line names the items that it is about
MAX_LINES = 100_000  # of one trace; a message that has more is told by its first ones

_ROTATED = re.compile(
    r"[.-][0-9]+(?:-[0-9]+)?(?:\.gz)?"
)  # FILE.1, FILE.2.gz, FILE-20261123, FILE-20261123-1795

_ITEM = re.compile(rb'"item_id":"([0-9a-f]{32})"')

Entry = dict[str, Any]


class LogFiles:
    """The log as it is now, each file opened once: one that is renamed meanwhile is neither missed nor read twice."""

    def __init__(self, file: Path) -> None:
        self._open: list[tuple[BufferedReader, bool]] = []
        seen: set[tuple[int, int]] = set()
        for path in _with_neighbours(file):
            try:
                stream = path.open("rb")
            except FileNotFoundError:
                continue
            status = os.fstat(stream.fileno())
            if (status.st_dev, status.st_ino) in seen:
                stream.close()
                continue
            seen.add((status.st_dev, status.st_ino))
            self._open.append((stream, path.suffix == ".gz"))
        self._open.sort(key=lambda opened: os.fstat(opened[0].fileno()).st_mtime_ns)  # oldest first

    def __enter__(self) -> "LogFiles":
        return self

    def __exit__(self, *_: object) -> None:
        for stream, _is_packed in self._open:
            stream.close()

    def entries(self, needles: Collection[str]) -> Iterator[Entry]:
        """Yield every line that holds one of `needles` anywhere, decoded, in no order across files."""
        octets = [msgspec.json.encode(needle)[1:-1] for needle in needles]
        for stream, is_packed in self._open:
            stream.seek(0)
            with contextlib.suppress(EOFError, OSError):  # a .gz that is being written ends early
                yield from _matching(_unpack(stream) if is_packed else stream, octets)

    def entries_of(self, items: Collection[str]) -> Iterator[Entry]:
        """Yield every line whose own item is one of `items`, however many they are."""
        octets = {item.encode() for item in items}
        for stream, is_packed in self._open:
            stream.seek(0)
            with contextlib.suppress(EOFError, OSError):
                yield from _matching_items(_unpack(stream) if is_packed else stream, octets)


def _with_neighbours(file: Path) -> list[Path]:
    """Return the log and its rotated neighbours, those that are there."""
    if not file.parent.is_dir():
        return []
    return [
        path
        for path in file.parent.iterdir()
        if path.name.startswith(file.name)
        and (path.name == file.name or _ROTATED.fullmatch(path.name[len(file.name) :]))
    ]


def _unpack(stream: BufferedReader) -> IO[bytes]:
    import gzip

    return cast("IO[bytes]", gzip.GzipFile(fileobj=stream))


def _matching(stream: IO[bytes], needles: Sequence[bytes]) -> Iterator[Entry]:
    for block in _blocks(stream):
        if not any(needle in block for needle in needles):
            continue
        for line in block.split(b"\n"):
            if any(needle in line for needle in needles) and (entry := _decode(line)) is not None:
                yield entry


def _matching_items(stream: IO[bytes], items: Collection[bytes]) -> Iterator[Entry]:
    for block in _blocks(stream):
        for match in _ITEM.finditer(block):
            if match[1] not in items:
                continue
            end = block.find(b"\n", match.end())
            line = block[block.rfind(b"\n", 0, match.start()) + 1 : end if end >= 0 else len(block)]
            if (entry := _decode(line)) is not None:
                yield entry


def _blocks(stream: IO[bytes]) -> Iterator[bytes]:
    """Yield the file in pieces that end with a line."""
    rest = b""
    while data := stream.read(BLOCK):
        whole, newline, tail = data.rpartition(b"\n")
        if newline:
            yield rest + whole
            rest = tail
        else:
            rest = rest + data if len(rest) < MAX_LINE else b""
    yield rest  # the last line may be half written; then it does not decode


def _decode(line: bytes) -> Entry | None:
    try:
        entry = msgspec.json.decode(line)
    except msgspec.DecodeError:
        return None
    return entry if isinstance(entry, dict) and isinstance(entry.get("at"), str) else None


def find_roots(log: LogFiles, text: str) -> set[str]:
    """Return the root ids of what an item id, a root id or a Message-ID names."""
    roots = set()
    for entry in log.entries([text]):
        if _names(entry, text) and (root := entry.get("root_id") or entry.get("item_id")):
            roots.add(str(root))
    return roots


def _names(entry: Entry, text: str) -> bool:
    return text in (entry.get("item_id"), entry.get("root_id")) or _is_message_id(entry, text)


def _is_message_id(entry: Entry, text: str) -> bool:
    return str(entry.get("message_id") or "").strip("<> ") == text


def collect(log: LogFiles, roots: Collection[str], text: str) -> tuple[list[Entry], bool]:
    """Return every line about these roots, or about the Message-ID `text`, in order of time; and whether there are more than that.

    The bus knows an item by its own id alone, so its lines (retried, shunted) are found by the ids that the others name.
    """
    wanted = set(roots)
    found: list[Entry] = []
    for entry in log.entries({text, *roots}):
        if wanted.intersection(_ids(entry)) or _names(entry, text):
            found.append(entry)
            if len(found) >= MAX_LINES:
                return _in_order(found), True
    items = {
        str(entry["item_id"]) for entry in found if entry.get("root_id") and entry.get("item_id")
    } - wanted
    if items:
        found += [entry for entry in log.entries_of(items) if not wanted.intersection(_ids(entry))]
    return _in_order(found)[:MAX_LINES], len(found) > MAX_LINES


def _ids(entry: Entry) -> Iterator[str]:
    """Yield every item that a line is about."""
    for key in ID_KEYS:
        value = entry.get(key)
        yield from (str(each) for each in value) if isinstance(value, list) else [str(value)]


def _in_order(entries: list[Entry]) -> list[Entry]:
    return sorted(entries, key=lambda entry: str(entry["at"]))
