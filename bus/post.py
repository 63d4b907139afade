"""What the bus says to its clients. Confirmations and settlements of one turn go out as one message a client.

Nothing here is needed for durability: a client that misses an answer sends its message again and gets the answer again.
"""

from collections.abc import Sequence

import zmq

from bus import messages
from bus.messages import Confirmed, FromBus, LeaseToken, Settled
from bus.peers import Peer, Peers
from bus.sockets import send
from config.failpoints import fail
from config.names import Instance, ItemId


class Post:
    """Sends to peers by their instance; `sockets` by the first octet of an identity as the hub names it."""

    def __init__(self, peers: Peers, sockets: dict[bytes, zmq.Socket[bytes]]) -> None:
        self._peers = peers
        self._sockets = sockets
        self._confirmed: dict[Instance, dict[ItemId, tuple[ItemId, ...]]] = {}
        self._settled: dict[Instance, list[tuple[LeaseToken, str]]] = {}

    def confirm(self, instance: Instance, first: ItemId, ids: tuple[ItemId, ...]) -> None:
        """Tell a publisher with the next flush that its items are durable."""
        self._confirmed.setdefault(instance, {})[first] = ids

    def settle(self, instance: Instance, token: LeaseToken, result: str) -> None:
        """Tell a runner with the next flush what became of its settlement."""
        self._settled.setdefault(instance, []).append((token, result))

    def flush(self) -> None:
        """Send what has gathered."""
        if not self._confirmed and not self._settled:
            return
        fail("bus.confirm.before")
        confirmed, self._confirmed = self._confirmed, {}
        settled, self._settled = self._settled, {}
        for instance, results in confirmed.items():
            self.send(instance, Confirmed(results))
        for instance, pairs in settled.items():
            self.send(instance, Settled(tuple(pairs)))
        fail("bus.confirm.after")

    def send(self, instance: Instance, message: FromBus, bodies: Sequence[bytes] = ()) -> bool:
        """Send one message now; False when its receiver is not there, or takes nothing."""
        peer = self._peers.by_instance.get(instance)
        return peer is not None and self.answer(peer.identity, message, bodies)

    def answer(self, identity: bytes, message: FromBus, bodies: Sequence[bytes] = ()) -> bool:
        """Send to a connection, whoever it is."""
        return send(self._sockets[identity[:1]], (identity[1:], messages.encode(message), *bodies))

    def tell(self, peers: Sequence[Peer], message: FromBus) -> None:
        """Send the same to several; who is not there hears it another time."""
        for peer in peers:
            self.answer(peer.identity, message)
