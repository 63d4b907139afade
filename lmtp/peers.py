"""Who is at the other end of a connection, and what this peer may do: connect at all, and say for whom it speaks (XFORWARD).

Trusts the kernel: addresses of TCP connections, and SO_PEERCRED and SO_PEERGROUPS of unix sockets, which were the peer's when it connected. In a
container without our users it is seen as uid 65534. How entries are written is config/peers.py's; how many may connect is the listener's.
"""

import socket
import struct
from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

import structlog
from msgspec import Struct

from config.lmtp_settings import LmtpSettings
from config.peers import BadPeer, read_peers
from lmtp.replies import Reply

UNIX: Final = "unix"  # stands for the address of a peer on a unix socket
SAME_AS_TRUSTED: Final = "trusted"  # in `[lmtp] xforward`: everybody who may connect
SO_PEERGROUPS: Final = 59  # asm-generic/socket.h, Linux 4.13; Python has no name for it
MAX_GROUPS: Final = 1024  # of one peer that are looked at; more than NGROUPS_MAX is unheard of in practice
QUIET_S: Final = 60.0  # one line a peer in that time: a scanner must not fill the log
MAX_LINES: Final = 60  # lines about strangers in QUIET_S, whoever they are: a /64 has addresses enough
_CREDENTIALS: Final = struct.Struct("=iII")  # struct ucred: pid, uid, gid


class BadTrust(ValueError):
    """`[lmtp] trusted` or `xforward` has an entry that names nobody: bad configuration, exit 78."""


class Peer(Struct, frozen=True):
    """Who connected; on a unix socket the kernel says which user."""

    address: str  # IP address as the socket shows it, or UNIX
    uid: int = -1
    gids: tuple[int, ...] = ()  # effective, then supplementary

    @property
    def is_local(self) -> bool:
        """Whether it came over a unix socket."""
        return self.address == UNIX

    @property
    def name(self) -> str:
        """How the log calls it, and what a limit per peer counts by."""
        return f"uid:{self.uid}" if self.is_local else self.address


def identify(accepted: socket.socket, name: object) -> Peer:
    """Say who is at the other end; `name` is what accept() gave."""
    if accepted.family != socket.AF_UNIX:
        assert isinstance(name, tuple)
        return Peer(str(name[0]))
    octets = accepted.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    _, uid, gid = _CREDENTIALS.unpack(octets)
    return Peer(UNIX, uid, (gid, *_supplementary(accepted)))


def _supplementary(accepted: socket.socket) -> Sequence[int]:
    try:
        octets = accepted.getsockopt(socket.SOL_SOCKET, SO_PEERGROUPS, 4 * MAX_GROUPS)
    except OSError:
        return ()  # an older kernel, or more groups than that: the effective group must do
    return struct.unpack(f"={len(octets) // 4}I", octets)


class Trust:
    """Who may connect, and who of them may use XFORWARD; asked once a connection."""

    def __init__(self, settings: LmtpSettings) -> None:
        try:
            self._trusted = read_peers(settings.trusted)
        except BadPeer as error:
            raise BadTrust(f"[lmtp] trusted: {error}") from error
        self._all_may_forward = SAME_AS_TRUSTED in settings.xforward
        try:
            self._forwarders = read_peers([each for each in settings.xforward if each != SAME_AS_TRUSTED])
        except BadPeer as error:
            raise BadTrust(f"[lmtp] xforward: {error}") from error

    def admits(self, peer: Peer) -> bool:
        """Whether it may connect. Where no user or group is named, the mode of a unix socket has said so already."""
        if peer.is_local:
            return not self._trusted.has_local or self._trusted.include_local(peer.uid, peer.gids)
        return self._trusted.include_address(peer.address)

    def may_forward(self, peer: Peer) -> bool:
        """Whether XFORWARD is offered to it."""
        if self._all_may_forward:
            return True
        if peer.is_local:
            return self._forwarders.include_local(peer.uid, peer.gids)
        return self._forwarders.include_address(peer.address)


class Strangers:
    """Writes down who was turned away: once a peer and minute, and not more than MAX_LINES in all; the next line says how often it was."""

    def __init__(self, log: structlog.typing.FilteringBoundLogger) -> None:
        self._log = log
        self._said_s: OrderedDict[str, float] = OrderedDict()  # by peer and code, oldest first
        self._silent = 0

    def note(self, peer: Peer, reply: Reply, now_s: float) -> None:
        """Note one and what it was told; `now_s` is monotonic."""
        said_s = self._said_s
        while said_s and now_s - next(iter(said_s.values())) >= QUIET_S:
            said_s.popitem(last=False)
        said = f"{peer.name} {reply.code}"
        if said in said_s or len(said_s) >= MAX_LINES:
            self._silent += 1
            return
        said_s[said] = now_s
        unsaid, self._silent = self._silent, 0
        self._log.info("lmtp.refused", reply=reply.wire[:-2].decode(), peer=peer.name, unsaid=unsaid)
