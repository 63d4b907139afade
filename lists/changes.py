"""What a runner wants changed in the list store, as values: `Store.apply_once` performs them together with the runner's outcome.

Pure. A new effect is a new struct here and a case in store/applied.py.
"""

from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct

from config.names import ListId
from lists.model import HeldPost, MailingList, Member


class HoldPost(Struct, frozen=True, kw_only=True):
    """Keep this post for a moderator, octet for octet."""

    list_id: ListId
    reverse_path: str
    reason: str  # the rule
    content: bytes
    message_id: str = ""
    subject: str = ""


class ReleaseHeld(Struct, frozen=True):
    """A moderator has decided: this held post is no longer kept, whether it goes out or not."""

    id: int


Change = HoldPost | ReleaseHeld


class Decision(Struct, frozen=True):
    """What a runner decided: the changes and the outcome that belongs to them.

    `keep` False stores nothing at all, neither changes nor outcome: the item will come again.
    """

    changes: tuple[Change, ...] = ()
    outcome: bytes = b""  # opaque here
    keep: bool = True


class Roster(Protocol):
    """What `decide` may read: the store as this transaction sees it."""

    def mailing_list(self, list_id: ListId) -> MailingList | None:
        """Return a list, None when it is gone."""

    def member(self, list_id: ListId, address: str) -> Member | None:
        """Return the member with this address, None for anybody else."""

    def owners(self, list_id: ListId) -> Sequence[str]:
        """Return the owners' addresses, sorted."""

    def held(self, number: int) -> HeldPost | None:
        """Return a held post, None when somebody has decided about it already."""
