"""Items that have just been made durable, kept for their first lease: most are wanted at once, and need not be read again.

What has no room here is read from the journal; nothing depends on being here.
"""

from collections import OrderedDict

from bus.journal.api import Work

MAX_OCTETS = 32 * 2**20  # of bodies, which the journal's own memory shares with these


class Fresh:
    """The newest items by row, the oldest forgotten first."""

    def __init__(self) -> None:
        self._works: OrderedDict[int, Work] = OrderedDict()
        self._octets = 0

    def put(self, row: int, work: Work) -> None:
        """Keep an item that is durable now."""
        self._works[row] = work
        self._octets += _size(work)
        while self._octets > MAX_OCTETS:
            self._octets -= _size(self._works.popitem(last=False)[1])

    def take(self, row: int) -> Work | None:
        """Return an item, for its first lease; after that it may have notes and is read."""
        work = self._works.pop(row, None)
        if work is not None:
            self._octets -= _size(work)
        return work


def _size(work: Work) -> int:
    return len(work.content) + len(work.recipients or b"")
