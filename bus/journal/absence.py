"""What the database cannot have, known without asking it: most mail is new, and was three questions a batch. Pure.

The id of a mail is a UUIDv7, which begins with its time: one above every UUIDv7 that the database has is not there. Ids of another kind, and
keys while too many lie there, are always asked about; so a wrong clock, or a client that never reads our 250, costs time only.
"""

import re
from collections.abc import Collection, Iterable
from itertools import chain

from bus.journal.batch import Changes, Wanted
from config.names import ItemId

MOST_KEYS = 100_000  # some 12 MB; there are as many as 250s of a day that nobody has read
TIMED_BELOW = "08"  # how every UUIDv7 before the year 2248 compares

# RFC 9562 5.7: the version and the variant. Derived ids are digests; one in 2,000 looks like this, and may lie ahead of our time.
_is_timed = re.compile(r"0[0-7][0-9a-f]{10}7[0-9a-f]{3}[89ab][0-9a-f]{15}").fullmatch


def first_timed(ids: Iterable[ItemId]) -> ItemId:
    """Return the first UUIDv7, "" when there is none."""
    return next(filter(_is_timed, ids), ItemId(""))


class Absence:
    """`newest` is the highest UUIDv7 that the tables have, "" when they have none; `keys` are all of theirs."""

    def __init__(self, newest: ItemId, keys: Collection[bytes]) -> None:
        self._newest = newest
        self._keys = set(keys) if len(keys) <= MOST_KEYS else None

    def add(self, changes: Changes) -> None:
        """Hear what is there from now on. What goes when ids are trimmed is not heard of, and asked about for nothing."""
        added = (entry.row.id for entry in changes.added.values())
        self._newest = max(self._newest, *filter(_is_timed, chain(changes.seen, added)), ItemId(""))
        if self._keys is not None:
            self._keys.update(key for key, first in changes.unreplied.items() if first is not None)
            self._keys.difference_update(key for key, first in changes.unreplied.items() if first is None)
            if len(self._keys) > MOST_KEYS:
                self._keys = None

    def narrow(self, want: Wanted) -> None:
        """Strike out what is not there."""
        newest = self._newest
        absent = {item_id for item_id in want.published if item_id > newest and _is_timed(item_id)}
        want.published -= absent
        want.ids -= absent
        if self._keys is not None:
            want.keys &= self._keys
