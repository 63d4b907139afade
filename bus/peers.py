"""Who is connected to the bus, and who has fallen silent. Pure; the clock is an argument.

A process is known by its instance; a new connection of the same one takes the old one's place. Any traffic is a sign of life.
"""

from collections.abc import Container

from msgspec import Struct

from config.names import Instance

SILENT_S = 6.0  # three beats of 2 s (DESIGN P8)
FORGET_S = 60.0  # an admin's connection that never said goodbye


class Peer(Struct, kw_only=True, eq=False):
    """One process that said hello."""

    identity: bytes  # its connection, as the ROUTER names it
    role: str
    name: str
    instance: Instance
    pid: int
    heard: float  # monotonic seconds
    is_silent: bool = False  # unheard of, or not reached: gets nothing before it has said hello again
    is_lost: bool = False  # master has been told
    is_leaving: bool = False


class Peers:
    """All that said hello in this life of the bus and have not gone."""

    def __init__(self) -> None:
        self.by_instance: dict[Instance, Peer] = {}
        self._by_identity: dict[bytes, Peer] = {}
        self._gone: dict[Instance, None] = {}  # of late; what is still in their pipes comes after their end

    def add(self, peer: Peer) -> None:
        """Let a process in, or move it to its new connection."""
        self.remove(peer.instance)
        self.by_instance[peer.instance] = peer
        self._by_identity[peer.identity] = peer

    def hear(self, identity: bytes, now: float) -> Peer | None:
        """Return who speaks; None for a connection that has not said hello."""
        peer = self._by_identity.get(identity)
        if peer is not None:
            peer.heard = now
        return peer

    def remove(self, instance: Instance) -> Peer | None:
        """Forget a process."""
        peer = self.by_instance.pop(instance, None)
        if peer is not None:
            self._by_identity.pop(peer.identity, None)
        return peer

    def bury(self, instance: Instance) -> None:
        """Forget a process that has ended: nothing that it said before may bring it back."""
        self.remove(instance)
        self._gone[instance] = None
        if len(self._gone) > 1000:
            del self._gone[next(iter(self._gone))]

    def is_gone(self, instance: Instance) -> bool:
        """Whether master has said that this process has ended."""
        return instance in self._gone

    def of_role(self, role: str) -> list[Peer]:
        """Return the processes of one kind."""
        return [peer for peer in self.by_instance.values() if peer.role == role]

    def at_work(self, now: float, working: Container[Instance]) -> list[Peer]:
        """Return the front-ends and runners that may still want something of the bus."""
        return [
            peer
            for peer in self.by_instance.values()
            if peer.role in ("runner", "front")
            and (not peer.is_leaving or peer.instance in working)
            and now - peer.heard <= SILENT_S
        ]

    def find_silent(self, now: float, working: Container[Instance]) -> list[Peer]:
        """Return those that master must be told of: not heard of for three beats, and not leaving with empty hands.

        Whoever is silent for long, holds nothing (`working` does), and is missed by nobody is forgotten.
        """
        silent = []
        for peer in list(self.by_instance.values()):
            silence_s = now - peer.heard
            if silence_s <= SILENT_S:
                continue
            if peer.role in ("runner", "front") and (peer.instance in working or not peer.is_leaving):
                silent.append(peer)
            if peer.instance not in working and (peer.is_leaving or silence_s > FORGET_S):
                self.remove(peer.instance)
        return silent
