"""The reverse-path of each recipient where a post goes out with VERP: LIST-bounces+TOKEN@, which names the membership. Pure.

incoming decides which posts go so and sends the membership numbers along (`goes_with_verp`); outgoing signs the tokens when it sends. So
only 25 are in memory at a time, and the key never lies in the journal. The day in a token is the one on which the post was accepted: the same
recipient has the same path at every attempt.
"""

from collections.abc import Callable
from datetime import UTC

from bus.messages import Item
from config.names import ItemId
from lists.tokens import SiteKey, make_verp


def goes_with_verp(interval: int, item_id: ItemId) -> bool:
    """Say whether a post is one of those that go out with VERP: none with `interval` 0, all with 1, else one in so many.

    Decided by the item's id, of which the last 60 bits are random: a post that is handled twice goes out the same way twice. A counter would be one
    more commit of the list store for every post.
    """
    return interval > 0 and int(item_id[-15:], 16) % interval == 0


def reverse_paths(item: Item, key: SiteKey | None, delimiter: str) -> Callable[[int], str]:
    """Return what tells the reverse-path of each recipient of an item, by its place among them."""
    if not item.memberships or key is None or not item.reverse_path:
        return lambda _: item.reverse_path
    local, _, domain = item.reverse_path.rpartition("@")
    day = item.accepted_at.astimezone(UTC).date()

    def path(index: int) -> str:
        token = make_verp(key, item.list_id, item.memberships[index], day)
        return f"{local}{delimiter}{token}@{domain}"

    return path
