"""Items on disk, behind one small interface (api.py). sqlite.py is what sites use; memory.py serves the simulator."""

from pathlib import Path

from bus.journal.api import Journal, Unusable
from bus.journal.memory import MemoryJournal
from bus.journal.sqlite import SqliteJournal
from config.settings import BusSettings

__all__ = ["open_journal"]


def open_journal(url: str, settings: BusSettings | None = None) -> Journal:
    """Make the journal that `[bus] journal` names; the caller calls its `open`. Raises Unusable for a URL of no engine.

    `sqlite:////var/lib/postroom/journal.db` (three slashes: relative to the working folder), or `memory:` in tests.
    """
    scheme, _, rest = url.partition(":")
    if scheme == "memory":
        return MemoryJournal()
    if scheme == "sqlite" and rest.startswith("///") and len(rest) > 3:
        return SqliteJournal(Path(rest[3:]), settings or BusSettings())
    raise Unusable(f"{url!r} names no journal. Set [bus] journal to sqlite:///PATH.")
