"""Who is connected to this process, and who is one too many. Pure.

Limits are the site's; each front-end has its share of them. A peer is an IP address, or a user of this host (Peer.name): with all unix peers as one,
any user that may open the socket could shut the MTA out; by user, only itself.
"""

from collections.abc import Callable

from lmtp import replies
from lmtp.replies import Reply


class Crowd:
    """The connections of one process; the limits are `[lmtp] max_connections` and `max_connections_per_peer`."""

    def __init__(self, max_connections: int, max_per_peer: int, fronts: Callable[[], int]) -> None:
        self._max_connections = max_connections
        self._max_per_peer = max_per_peer
        self._fronts = fronts  # how many front-ends share these
        self._peers: dict[object, str] = {}
        self._by_peer: dict[str, int] = {}

    @property
    def is_full(self) -> bool:
        """Whether nobody more is let in."""
        return len(self._peers) >= self._share(self._max_connections)

    def refuse(self, peer: str) -> Reply | None:
        """Say why this peer is not let in now."""
        if self._by_peer.get(peer, 0) >= self._share(self._max_per_peer):
            return replies.TOO_MANY_OF_PEER
        return replies.TOO_MANY_CONNECTIONS if self.is_full else None

    def joined(self, connection: object, peer: str) -> None:
        """Count a connection in, from the moment when it was taken from the kernel."""
        self._peers[connection] = peer
        self._by_peer[peer] = self._by_peer.get(peer, 0) + 1

    def left(self, connection: object) -> None:
        """Count it out; again does nothing."""
        peer = self._peers.pop(connection, None)
        if peer is not None:
            self._by_peer[peer] -= 1
            if not self._by_peer[peer]:
                del self._by_peer[peer]

    def _share(self, limit: int) -> int:
        return -(-limit // self._fronts())
