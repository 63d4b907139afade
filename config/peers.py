"""How the configuration names those who may connect: networks for TCP, users and groups of this host for unix sockets.

One grammar for load.py, which tells a mistake with file and line, and for lmtp/peers.py, which asks about real connections. Names are
looked up in the user database once, here: what changes there is seen at the next start. Who is at the other end of a socket is not known here.
"""

import grp
import ipaddress
import pwd
from collections.abc import Sequence
from functools import lru_cache

from msgspec import Struct

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

MAX_ID = 2**32 - 2  # the kernel's uid_t; the highest number means "nobody in particular"


class BadPeer(ValueError):
    """An entry that names nobody; the text says which and why."""


class Peers(Struct, frozen=True):
    """Who is meant by a list of entries; `has_local` is false when no entry is about unix sockets."""

    networks: tuple[Network, ...]
    uids: frozenset[int]
    gids: frozenset[int]

    @property
    def has_local(self) -> bool:
        """Whether users or groups are named at all."""
        return bool(self.uids or self.gids)

    def include_address(self, address: str) -> bool:
        """Whether this IP address, with or without a zone, is in one of the networks."""
        return _is_within(self.networks, address)

    def include_local(self, uid: int, gids: Sequence[int]) -> bool:
        """Whether this user, or one of these groups, is named."""
        return uid in self.uids or not self.gids.isdisjoint(gids)


@lru_cache(1024)  # an MTA connects again and again
def _is_within(networks: tuple[Network, ...], address: str) -> bool:
    peer = ipaddress.ip_address(address.partition("%")[0])
    peer = getattr(peer, "ipv4_mapped", None) or peer  # an IPv6 socket shows IPv4 peers so
    return any(peer in network for network in networks)


def read_peers(entries: Sequence[str]) -> Peers:
    """Read what stands in the configuration.

        entry   = network / "user:" name / "uid:" number / "group:" name / "gid:" number
        network = an IPv4 or IPv6 address, or such with "/" and the length of its prefix

    Raises BadPeer for a host name, a network with host bits, and a user or group that this host does not know.
    """
    networks: list[Network] = []
    uids: set[int] = set()
    gids: set[int] = set()
    for entry in entries:
        kind, _, name = entry.partition(":")
        match kind:
            case "user":
                uids.add(_find_user(name))
            case "group":
                gids.add(_find_group(name))
            case "uid":
                uids.add(_read_number(entry, name))
            case "gid":
                gids.add(_read_number(entry, name))
            case _:
                networks.append(_read_network(entry))
    return Peers(tuple(networks), frozenset(uids), frozenset(gids))


def _read_network(entry: str) -> Network:
    try:
        return ipaddress.ip_network(entry)
    except ValueError as error:
        raise BadPeer(f"{error} (a network, user:NAME, uid:N, group:NAME or gid:N)") from None


def _find_user(name: str) -> int:
    try:
        return pwd.getpwnam(name).pw_uid
    except (KeyError, ValueError):
        raise BadPeer(f"user:{name}: this host has no such user") from None


def _find_group(name: str) -> int:
    try:
        return grp.getgrnam(name).gr_gid
    except (KeyError, ValueError):
        raise BadPeer(f"group:{name}: this host has no such group") from None


def _read_number(entry: str, digits: str) -> int:
    if not (digits.isascii() and digits.isdecimal() and len(digits) <= 10 and int(digits) <= MAX_ID):
        raise BadPeer(f"{entry}: a number from 0 to {MAX_ID} follows the colon")
    return int(digits)
