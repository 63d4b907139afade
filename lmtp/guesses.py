"""How often one client may be told "not a member": a limit against finding out who is in a list by asking.

Pure; monotonic time is an argument. A bucket holds an hour's refusals and fills evenly. When it is empty, every RCPT whose answer would tell
who is a member is answered 451 4.7.1, to members and strangers alike, so the limit itself tells nothing either; all other mail goes on.

Whose bucket: the client that an MTA names by XFORWARD, else the peer itself. A peer is an MTA and speaks for everybody, spammers and members, so
its bucket is so large that only guessing by the hundred thousand empties it: too small, and one flood of spam would put off the members' mail.
Limits are the site's; each front-end has its share of them, so a client that has all its connections at one has that share alone. Buckets are in
memory: a front-end that starts has full ones.
"""

from collections import OrderedDict
from collections.abc import Callable
from ipaddress import IPv6Network, ip_address
from typing import Final

from msgspec import Struct

from lmtp.client import Client

WINDOW_S: Final = 3600.0
MAX_BUCKETS: Final = 10_000  # about 2 MiB; the one that was refused longest ago goes first
IPV6_PREFIX: Final = (
    64  # bits: the least that one customer has (RFC 6177), so one address more is no client more
)


class Guesser(Struct, frozen=True):
    """Who is counted."""

    name: str
    is_forwarded: bool  # named by XFORWARD: one client of the MTA, not the MTA


def guesser_of(client: Client) -> Guesser:
    """Say whose bucket a session takes from. What an MTA sends from its own host is the MTA's."""
    if not client.forwarded_addr:
        return Guesser(client.origin.name, False)
    address = ip_address(client.forwarded_addr)
    if address.is_loopback:
        return Guesser(client.origin.name, False)
    if address.version == 6:
        return Guesser(str(IPv6Network((int(address), IPV6_PREFIX), strict=False)), True)
    return Guesser(str(address), True)


class Guesses:
    """The buckets; a limit of 0 is none. `fronts` says how many front-ends share the limits."""

    def __init__(self, per_client: int, per_peer: int, fronts: Callable[[], int]) -> None:
        self._limits = {True: per_client, False: per_peer}
        self._fronts = fronts
        self._full_at_s: OrderedDict[Guesser, float] = OrderedDict()  # when each bucket is full again

    def may_ask(self, client: Client, now_s: float) -> bool:
        """May this client be told once more whether somebody is a member?"""
        if not self._full_at_s:
            return True
        guesser = guesser_of(client)
        limit = self._share(guesser)
        full_at_s = self._full_at_s.get(guesser, 0.0)
        return not limit or full_at_s - now_s <= WINDOW_S - WINDOW_S / limit

    def note(self, client: Client, now_s: float) -> None:
        """Count one refusal."""
        guesser = guesser_of(client)
        limit = self._share(guesser)
        if not limit:
            return
        full_at_s = max(self._full_at_s.pop(guesser, 0.0), now_s)
        self._full_at_s[guesser] = full_at_s + WINDOW_S / limit
        if len(self._full_at_s) > MAX_BUCKETS:
            self._full_at_s.popitem(last=False)

    def _share(self, guesser: Guesser) -> int:
        return -(-self._limits[guesser.is_forwarded] // self._fronts())
