"""What the front-end writes into the log: one line for each recipient, refused or taken, and for each sender refused.

Never content, and never a confirmation token: whoever can read a log must not be able to confirm for others.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

import structlog
from msgspec import Struct
from msgspec.structs import asdict

from bus.messages import Item
from config.names import ItemId
from lmtp.accept import Entry, Plan
from lmtp.replies import Reply
from lmtp.tls import Security

_CONFIRM: Final = "-confirm"
_pair = re.compile(r"\\(.)")  # quoted-pair, RFC 5321 4.1.2


class Answered(Struct, frozen=True, kw_only=True):
    """One message whose final replies were given."""

    reverse_path: str
    entries: tuple[Entry, ...]
    replies: tuple[Reply, ...]
    size: int
    plan: Plan | None  # None: refused before anything was planned
    stored: tuple[ItemId, ...]  # of the plan's items
    duration_ms: float  # from the final dot on


class Report:
    """Writes the lines; `delimiter` is what stands between an address and its token, `client` what a line says about the client."""

    def __init__(self, log: structlog.typing.FilteringBoundLogger, delimiter: str) -> None:
        self._log = log.bind()  # structlog's lazy logger would be put together anew for each line: 3 us
        self._token = re.compile(rf"({re.escape(_CONFIRM)}{re.escape(delimiter)}).*", re.IGNORECASE).sub

    def sender_refused(self, client: Mapping[str, Any], reply: Reply, reverse_path: str) -> None:
        """MAIL was answered 4xx or 5xx."""
        self._refused(client, reply, reverse_path=self._shown(reverse_path))

    def recipient_refused(
        self, client: Mapping[str, Any], reply: Reply, reverse_path: str, recipient: str, rule: str
    ) -> None:
        """RCPT was answered 4xx or 5xx."""
        shown = self._shown(recipient)
        self._refused(client, reply, reverse_path=self._shown(reverse_path), recipient=shown, rule=rule)

    def message_answered(self, client: Mapping[str, Any], answered: Answered) -> None:
        """The final replies of a message were given."""
        plan = answered.plan
        verdicts = plan.verdicts if plan else answered.replies
        for entry, reply, verdict in zip(answered.entries, answered.replies, verdicts, strict=True):
            if plan and isinstance(verdict, int) and answered.stored:
                self._accepted(
                    client, reply, plan.items[verdict], answered.stored[verdict], answered.duration_ms
                )
            else:
                self._refused(
                    client,
                    reply,
                    reverse_path=self._shown(answered.reverse_path),
                    recipient=self._shown(entry.recipient),
                    list_id=entry.destination.list_id,
                    rule=reply.rule,
                    size=answered.size,
                    duration_ms=answered.duration_ms,
                )

    def _accepted(
        self, client: Mapping[str, Any], reply: Reply, item: Item, stored: ItemId, duration_ms: float
    ) -> None:
        self._log.info(
            "lmtp.accepted",
            item_id=stored,
            root_id=stored,
            list_id=item.list_id,
            recipient=self._shown(item.recipient),
            reverse_path=self._shown(item.reverse_path),
            message_id=item.message_id,
            queue=item.queue,
            size=item.size,
            is_duplicate=stored != item.id,
            reply=_spoken(reply),
            duration_ms=duration_ms,
            **client,
        )

    def secured(self, client: Mapping[str, Any], peer: str, security: Security, discarded: int) -> None:
        """A handshake ended well. `discarded`: octets behind STARTTLS that were thrown away; not 0: somebody tried to smuggle."""
        self._log.info("tls.secured", peer=peer, **asdict(security), discarded=discarded, **client)

    def unsecured(self, client: Mapping[str, Any], peer: str, reason: str, *, is_open: bool) -> None:
        """A handshake failed, or TLS broke behind it (`is_open`); the connection is closed."""
        self._log.warning("tls.failed", peer=peer, reason=reason, is_open=is_open, **client)

    def dropped(self, session: str, ids: tuple[ItemId, ...], reason: str) -> None:
        """A connection ended while a message was on its way in, or before its final replies could be given."""
        self._log.info("lmtp.dropped", session=session, item_ids=ids, reason=reason)

    def failed(self, session: str, error: BaseException, **keys: Any) -> None:
        """An error of ours was answered 451; `keys` say for whom."""
        error_text = f"{type(error).__name__}: {error}"
        self._log.error("lmtp.failed", session=session, error=error_text, exc_info=error, **keys)

    def rule_failed(self, session: str, entry: Entry, error: BaseException) -> None:
        """A rule of one list raised: its recipient was answered 451."""
        self.failed(session, error, recipient=self._shown(entry.recipient), list_id=entry.destination.list_id)

    def _refused(self, client: Mapping[str, Any], reply: Reply, **keys: Any) -> None:
        self._log.info("lmtp.refused", reply=_spoken(reply), **client, **keys)

    def _shown(self, address: str) -> str:
        """Return an address without the token in it; a forwarder may have put our whole address into its own (SRS0=...)."""
        if "\\" in address:
            address = _pair.sub(
                r"\1", address
            )  # a quoted pair would hide the suffix from us, and not from the router
        if _CONFIRM not in address.lower():
            return address
        local, at, domain = address.rpartition("@")
        return self._token(r"\1...", local) + at + domain


def _spoken(reply: Reply) -> str:
    return reply.wire[:-2].decode()
