"""All connections of this process: what they share, who is there, and who must go.

A few times a minute `sweep` looks at every connection, so that none needs a timer of its own. What one connection does is connection.py's.
"""

import asyncio
import itertools
import os
from typing import Any, Final

from aiosmtpd.lmtp import LMTP

from config.lmtp_settings import LmtpSettings
from lmtp import replies
from lmtp.connection import Connection
from lmtp.crowd import Crowd
from lmtp.peers import Peer, Trust
from lmtp.replies import Reply
from lmtp.service import Service
from lmtp.snapshot import Snapshot
from lmtp.tls import Certificates

LINGER_S: Final = (
    5.0  # a client may take that long to read our last reply and close; Exim never reads its 221
)


class Server:
    """All connections of this process."""

    def __init__(self, service: Service, snapshot: Snapshot, trust: Trust, lmtp: LmtpSettings) -> None:
        self.service = service
        self.snapshot = snapshot
        self.trust = trust
        self.certificates: Certificates | None = None  # main reads them when `[lmtp] tls_cert` names one
        self.is_draining = False
        self.is_empty = asyncio.Event()
        self.is_empty.set()
        self.idle_timeout_s = lmtp.idle_timeout_s
        self.data_timeout_s = lmtp.data_timeout_s
        self._connections: set[Connection] = set()
        self._crowd = Crowd(lmtp.max_connections, lmtp.max_connections_per_peer, lambda: service.fronts)
        self._prefix = os.urandom(4).hex()
        self._numbers = itertools.count(1)
        self._loop = asyncio.get_running_loop()
        pattern = LMTP(object(), enable_SMTPUTF8=True, hostname="-", loop=self._loop)
        self.template: dict[str, Any] = vars(pattern)

    @property
    def is_full(self) -> bool:
        """Whether there is no room for anybody; another front-end may have some."""
        return self._crowd.is_full

    def refuse(self, peer: Peer) -> Reply | None:
        """Say why this peer is not let in, what it is told in place of the greeting."""
        if not self.trust.admits(peer):
            return replies.NOT_TRUSTED
        return self.service.refuse_connection() or self._crowd.refuse(peer.name)

    def make_connection(self, peer: Peer) -> Connection:
        """Make the protocol of a new connection; its name is the `session` of the log."""
        name = f"{self._prefix}-{next(self._numbers)}"
        connection = Connection(self, name, peer, may_forward=self.trust.may_forward(peer))
        self._crowd.joined(connection, peer.name)
        return connection

    def discard(self, connection: asyncio.BaseProtocol) -> None:
        """Forget a connection that came to nothing."""
        self._crowd.left(connection)

    def joined(self, connection: Connection) -> None:
        """Count a connection in."""
        self._connections.add(connection)
        self.is_empty.clear()

    def left(self, connection: Connection) -> None:
        """Count a connection out."""
        self._connections.discard(connection)
        self._crowd.left(connection)
        if not self._connections:
            self.is_empty.set()

    def sweep(self) -> None:
        """Tell clients that were silent or slow for too long, and drop those that do not leave."""
        now = self._loop.time()
        self.service.look_around(now)
        for connection in tuple(self._connections):
            if connection.closing_s:
                patience_s = self.idle_timeout_s if connection.is_owed_replies else LINGER_S
                if now - connection.closing_s > patience_s:
                    connection.abort()
            elif connection.is_waiting and now - connection.heard_s > self.idle_timeout_s:
                connection.say_goodbye(replies.IDLE_TOO_LONG)
            elif connection.gathering_since_s and now - connection.gathering_since_s > self.data_timeout_s:
                connection.say_goodbye(replies.TOO_SLOW)

    async def drain(self, grace_s: float) -> None:
        """Send idle clients away, let transactions in hand finish, then end what is left; every reply that is owed is given."""
        self.is_draining = True
        for connection in tuple(self._connections):
            if not connection.has_work:
                connection.say_goodbye(replies.SHUTTING_DOWN)
        if await self._is_empty_within(grace_s):
            return
        for connection in tuple(self._connections):
            connection.say_goodbye(replies.SHUTTING_DOWN)
        if not await self._is_empty_within(1.0):
            for connection in tuple(self._connections):
                connection.abort()

    async def _is_empty_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self.is_empty.wait()
        except TimeoutError:
            return False
        return True
