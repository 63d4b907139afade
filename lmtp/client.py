"""The client of one session: who is at the other end, what it calls itself, and whom it speaks for.

Items and log lines say it: what the peer says for itself and what it forwards (XFORWARD) are never mixed. Whether it may connect or forward
was decided by peers.py; nothing here decides about mail.
"""

import asyncio
from collections.abc import Mapping
from typing import Any

import msgspec
from aiosmtpd.smtp import Session
from msgspec import Raw

from lmtp.peers import Peer
from lmtp.tls import Security
from lmtp.xforward import Forwarded, Value


class Client(Session):
    """aiosmtpd's session, with what only we ask about a client."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, name: str, peer: Peer, *, may_forward: bool = False
    ) -> None:
        super().__init__(loop)
        self.name = name  # of this session, in the log and in the items
        self.peer = peer.address
        self.origin = peer
        self.may_forward = may_forward
        self.forwarded_addr = (
            ""  # IP address of the client that the peer speaks for; "": itself, or it does not say
        )
        self.keys: dict[str, Any] = {"session": name}  # what each of its log lines says about it
        self.security: Security | None = None  # of TLS; None: in the clear
        self._forwarded: Forwarded | None = None
        self._described: Raw | None = None

    def introduce(self, name: str) -> None:
        """Take the name that LHLO gave."""
        self.host_name = name
        self.extended_smtp = True
        self._described = None

    def secure(self, security: Security) -> None:
        """Begin anew in TLS: what was said in the clear counts no longer (RFC 3207 4.2)."""
        self.security = security
        self.ssl = msgspec.structs.asdict(security)
        self.host_name = None
        self.extended_smtp = False
        self._described = None
        self.forget_forwarded()

    def forward(self, given: Mapping[str, Value]) -> None:
        """Take what XFORWARD gave: from the first on all attributes are the forwarded ones, known or not."""
        self._forwarded = msgspec.structs.replace(self._forwarded or Forwarded(), **given)
        self.forwarded_addr = self._forwarded.addr
        self.keys = {"session": self.name, "xforward": self._forwarded.known()}
        self._described = None

    def forget_forwarded(self) -> None:
        """Speak for nobody: a transaction ended. Whoever holds `keys` keeps what they said."""
        if self._forwarded is not None:
            self._forwarded = self._described = None
            self.forwarded_addr = ""
            self.keys = {"session": self.name}

    def describe(self) -> Raw:
        """Write it as the items carry it, `args["client"]`: a map in msgpack."""
        if self._described is None:
            described: dict[str, Any] = {
                "addr": self.peer or "",
                "lhlo": self.host_name or "",
                "session": self.name,
            }
            if self.origin.uid >= 0:
                described["uid"] = self.origin.uid
            if self.security is not None:
                described["tls"] = self.ssl
            if self._forwarded is not None:
                described["xforward"] = self._forwarded.known()
            self._described = Raw(msgspec.msgpack.encode(described))
        return self._described
