"""What the front-end needs of the other parts, as small as it is.

Lists is lists.directory.Directory as a session sees it, Store the same object as the upkeep of the snapshot sees it; Front is
bus.client.Front. Tests stand their own in their place (tests/support/lmtp_parts.py), and tests/processes run the real ones.
"""

from collections.abc import Sequence
from typing import Protocol

from bus.client import Done
from bus.messages import Flow, Item
from config.names import ItemId
from lists.address import Destination
from lists.policy import Refused, Taken
from lists.posts import Post


class Lists(Protocol):
    """Verdicts from the snapshot in memory: at most 50 us, nothing is read or awaited."""

    def judge(self, reverse_path: str, recipient: str) -> Taken | Refused:
        """Say what RCPT is answered."""

    def judge_data(self, destination: Destination, post: Post, *, is_report: bool = False) -> Taken | Refused:
        """Say what this recipient is answered after the final dot; hostile headers take up to 20 ms where a list has rules on them."""


class Store(Lists, Protocol):
    """The snapshot and the store behind it. Everything here may block and raise StoreAway: one worker thread calls it."""

    def load(self) -> None:
        """Read everything."""

    def refresh(self) -> bool:
        """Read what has changed."""

    def is_current(self) -> bool:
        """Say whether the store has nothing newer."""


class Front(Protocol):
    """The bus."""

    @property
    def flow(self) -> Flow:
        """What may come in, as last heard."""

    @property
    def connected(self) -> bool:
        """Whether the bus was heard within 3 s."""

    def submit(
        self, items: Sequence[Item], content: bytes, content_keys: Sequence[bytes], done: Done
    ) -> None:
        """Make these durable; `done` is told the ids under which each is stored, or PublishRefused, or Away, and what it returns is called when the
        log has what it logged."""

    def note_replied(self, ids: Sequence[ItemId], content_keys: Sequence[bytes] = ()) -> None:
        """Note that the client has read our 250 for these: the same mail again is wanted again."""
