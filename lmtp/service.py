"""What all sessions of one process share: the settings that a reply depends on, and the ports to lists, bus, clock and log."""

import time
from collections.abc import Callable
from typing import Final

import structlog

from config.clock import Clock
from config.settings import Settings
from lmtp import replies, xforward
from lmtp.client import Client
from lmtp.flight import Claim, Flight
from lmtp.guesses import Guesses
from lmtp.ports import Front, Lists
from lmtp.replies import Reply
from lmtp.report import Report

STOPPED_LONG_S: Final = 30.0  # of a flow that is stopped: then connections are told 421, for which MTAs let the whole site rest (Postfix: 300 s)


class Service:
    """Made once by main; sessions only read it."""

    def __init__(
        self,
        settings: Settings,
        lists: Lists,
        front: Front,
        clock: Clock,
        log: structlog.typing.FilteringBoundLogger,
    ) -> None:
        self.lists = lists
        self.front = front
        self.clock = clock
        self.monotonic: Callable[[], float] = time.monotonic  # seconds, for measuring durations
        self.report = Report(log, settings.site.delimiter)
        self.max_size = settings.lmtp.max_size
        self.normalizes = settings.lmtp.bare_newlines == "normalize"
        self.max_recipients = settings.lmtp.max_recipients
        lmtp = settings.lmtp
        self.guesses = Guesses(lmtp.guesses_per_client, lmtp.guesses_per_peer, lambda: self.fronts)
        self.max_commands = settings.lmtp.max_commands
        self.max_errors = settings.lmtp.max_errors
        self._lmtp = settings.lmtp
        self.flight = Flight(0)
        self.greeting = replies.greeting(settings.site.name)
        self.is_loaded = False  # lists have not been read yet: nothing can be judged
        self._features: dict[tuple[str, ...], bytes] = {
            keywords: replies.features(settings.site.name, self.max_size, *keywords)
            for keywords in ((), ("STARTTLS",), (xforward.KEYWORD,), ("STARTTLS", xforward.KEYWORD))
        }
        self._stopped_s = self.monotonic()  # since when no mail has been taken
        self._is_stopped_for_long = False
        self.look_around(self._stopped_s)

    def features(self, client: Client) -> bytes:
        """Return the answer to LHLO: what this client is offered."""
        secure = ("STARTTLS",) if self.may_secure(client) else ()
        forward = (xforward.KEYWORD,) if client.may_forward and not self.must_secure(client) else ()
        return self._features[secure + forward]

    def may_secure(self, client: Client) -> bool:
        """Whether STARTTLS is offered. On a unix socket the kernel says who it is, and nobody can listen: TLS would add nothing."""
        return bool(self._lmtp.tls_cert) and client.security is None and not client.origin.is_local

    def must_secure(self, client: Client) -> bool:
        """Whether nothing is done for this client before TLS."""
        return self._lmtp.tls_require != "no" and self.may_secure(client)

    def refuse_mail(self, size: int, claim: Claim) -> Reply | None:
        """Say why no transaction can begin now; `size` is what the client estimates, octets, 0 for not at all.

        The estimate is often wrong (Sendmail says less than it sends), so the octets are counted again at the end.
        """
        if size > self.max_size:
            return replies.TOO_BIG
        if not self.is_loaded:
            return replies.DOUBTFUL
        if not self.front.connected:
            return replies.BUS_AWAY
        if self.front.flow.state != "ok":
            return replies.STOPPED if self.front.flow.reason == "disk" else replies.BUSY
        return None if self.flight.may_add(claim, size) else replies.NO_ROOM

    def refuse_connection(self) -> Reply | None:
        """Say why nobody is let in: for long now no mail has been taken, so that MTAs had better rest."""
        return replies.NOT_NOW if self._is_stopped_for_long else None

    def look_around(self, now_s: float) -> None:
        """Do what is to be done a few times a minute: take this process's share of the limits, and see how long no mail has been taken.

        A message of max_size must fit beside another, however many processes there are. `now_s` is monotonic.
        """
        lmtp = self._lmtp
        self.flight.limit = max(lmtp.max_in_flight // self.fronts, 2 * lmtp.max_size)
        if self.front.flow.state == "ok":
            self._stopped_s = now_s
        self._is_stopped_for_long = now_s - self._stopped_s > STOPPED_LONG_S

    @property
    def fronts(self) -> int:
        """How many front-ends share the limits, as the bus counts them."""
        return max(1, self.front.flow.fronts)
