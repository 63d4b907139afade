"""Octets in flight: what the messages hold that are on their way in, or wait for the bus. Pure.

strategy                                          prevents                                          test (tests/unit/lmtp/test_flight.py)
one mark for all sessions of this process         memory that grows with the number of sessions     test_the_mark_is_never_passed_for_long
who holds most gives way, not who comes last      one client that fills the mark shuts others out   test_the_peer_that_holds_most_gives_way
its largest message is thrown away                many small messages pay for one large one         test_the_largest_message_of_that_peer_is_given_up
nothing gives way that the bus may have already   a reply that contradicts what is stored           test_what_is_on_its_way_to_the_bus_stays

A message that gave way is read to its end without being kept, and its recipients are told 452 4.3.1. Reading is never stopped for want of memory: messages
that wait for each other's would never end. What does not belong here: the numbers (service.py), what a session does then (dialogue.py).
"""

from collections.abc import Callable
from typing import Final

RECIPIENT_OCTETS: Final = 1024  # what a recipient of an open transaction counts: its address and where it leads (measured: 0.7 to 1.3 KiB)


class Claim:
    """What one session holds. `give_up` throws the message away that it gathers and claims less; None: it gathers none."""

    __slots__ = ("give_up", "octets", "peer")

    def __init__(self, peer: str) -> None:
        self.peer = peer
        self.octets = 0
        self.give_up: Callable[[], None] | None = None


class Flight:
    """All claims of this process; `limit` in octets may change at any time."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.total = 0
        self._claims: set[Claim] = set()  # those that hold something
        self._by_peer: dict[str, int] = {}

    def may_add(self, claim: Claim, octets: int) -> bool:
        """Whether there is room for so much more; else others must hold more than this peer, for they would give way."""
        if self.total + octets <= self.limit:
            return True
        return self._by_peer.get(claim.peer, 0) + octets < max(self._by_peer.values(), default=0)

    def hold(self, claim: Claim, octets: int) -> None:
        """Note how much a session holds now; over the mark somebody gives way, perhaps this one."""
        more = octets - claim.octets
        if not more:
            return
        claim.octets = octets
        self.total += more
        held = self._by_peer.get(claim.peer, 0) + more
        if held:
            self._by_peer[claim.peer] = held
        else:
            del self._by_peer[claim.peer]
        if octets:
            self._claims.add(claim)
        else:
            self._claims.discard(claim)
        if more > 0 and self.total > self.limit:
            self._make_room()

    def release(self, claim: Claim) -> None:
        """Note that a session holds nothing any more."""
        claim.give_up = None
        if claim.octets:
            self.hold(claim, 0)

    def _make_room(self) -> None:
        """Let messages give way until it is enough, or nothing is left that can."""
        while self.total > self.limit:
            able = [claim for claim in self._claims if claim.give_up is not None]
            if not able:
                return
            by_peer = self._by_peer
            victim = max(able, key=lambda claim: (by_peer[claim.peer], claim.octets))
            give_up, victim.give_up = victim.give_up, None
            assert give_up is not None
            give_up()
