"""Who gets the posts of a list, as incoming needs it: addresses, memberships, and who wants to hear of their own posts, and how. Pure.

Members with delivery on, in every delivery mode: digests do not exist yet, so whoever wants them gets each post. Filled by the store
(store/audience.py). 100,000 members take 11 MB, of which the membership numbers are one.
"""

from array import array
from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct


class Audience(Struct, frozen=True):
    """One list's readers. `spared` and `receipts` know members by the key of each of their addresses."""

    addresses: tuple[str, ...] = ()
    memberships: Sequence[int] = array("q")  # of the same members, in the same order
    spared: Mapping[str, int] = {}  # who wants no copy of their own posts: their place among the addresses
    receipts: Mapping[
        str, str
    ] = {}  # who wants a receipt for each post of theirs: the address that is a member

    def without_author(self, keys: Iterable[str]) -> "Audience":
        """Return those who get a post of one author, known by these keys (Post.keys); the very same object if nobody is spared."""
        places = {self.spared[key] for key in keys if key in self.spared} if self.spared else set()
        if not places:
            return self
        kept = [place for place in range(len(self.addresses)) if place not in places]
        return Audience(
            tuple(self.addresses[place] for place in kept),
            array("q", (self.memberships[place] for place in kept)),
        )

    def receipt_to(self, keys: Iterable[str]) -> str:
        """Return the member among these keys who wants a receipt, "" for nobody."""
        return next((self.receipts[key] for key in keys if key in self.receipts), "")
