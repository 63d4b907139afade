"""What the list store remembers about addresses beside their memberships, as frozen values.

Who changed what and why (`Origin`, `History`), open tokens and requests, the bounces of a member and what freezes their scoring. Pure: what
follows from them is decided elsewhere (bounce scoring, the subscription state machine); the changes are in changes.py. Times are aware UTC.
"""

from collections.abc import Mapping
from datetime import date, datetime
from typing import Literal

from msgspec import Struct

from config.names import ItemId, ListId
from lists.bounces.failure import BounceClass
from lists.bounces.scoring import Score, State
from lists.tokens import TokenKind

# mail: an item by mail, of the person or of an owner. bounce: a bounce item. timer: something was due. command: bin/postroom.
OriginKind = Literal["mail", "bounce", "timer", "command", "import"]
RequestKind = Literal["join", "leave"]
DueKind = Literal["token", "request", "bounce", "delivery", "freeze"]


class Origin(Struct, frozen=True):
    """Where a change came from: it stands beside the change for good."""

    kind: OriginKind = "mail"
    who: str = ""  # an address, or the user of the operating system who gave the command
    item_id: str = ""  # of the mail; the store fills in the item whose effect it is
    why: str = ""  # a few words for a person: "asked for it", "5 bounces"


class History(Struct, frozen=True):
    """One change, as it is remembered."""

    id: int
    at: datetime
    list_id: ListId
    address: str  # "": of the list itself
    what: str  # "joined", "left", "delivery_status", "bounce_score", "request.join", "setting.emergency" ...
    old: str
    new: str
    origin: Origin


class Token(Struct, frozen=True, kw_only=True):
    """A token that was sent out; the token itself is not kept."""

    hash: str  # tokens.token_hash of it
    purpose: TokenKind
    list_id: ListId
    address: str
    item_id: ItemId  # which made it
    about: str = ""  # what it is for, in the words of its maker: "join", "request 17"
    created_at: datetime
    expires_at: datetime
    used_at: datetime | None = None  # by whom is in the history

    def is_open(self, now: datetime) -> bool:
        """Tell whether it may still be used."""
        return self.used_at is None and now < self.expires_at


class Request(Struct, frozen=True, kw_only=True):
    """Somebody wants to join or leave, and it is not yet decided; there is one per list, address and kind."""

    id: int
    list_id: ListId
    address: str
    kind: RequestKind
    state: str  # of the subscription state machine
    asked_by: str  # the address that asked; often `address` itself
    options: Mapping[str, str] = {}  # what was asked for with it: "delivery_mode", "display_name", "language"
    item_id: ItemId  # which opened it
    created_at: datetime
    expires_at: datetime


class BounceRecord(Struct, frozen=True):
    """Where a membership stands with its bounces; the default says that there was none."""

    state: State = State.COUNTING  # of the table in bounces/scoring.py
    score: Score = Score()
    counts: Mapping[str, int] = {}  # failures by class
    warnings_sent: int = 0
    probed_at: datetime | None = None  # a probe is out, its answer not known
    due_at: datetime | None = None  # when the state's next step is: the end of the probe, a warning, removal


class Evidence(Struct, frozen=True, kw_only=True):
    """One bounce of one address, as `members show` shows it. It outlives the membership."""

    day: date  # UTC
    bounce_class: BounceClass | Literal["complaint"]
    status: str = ""  # enhanced status code, RFC 3463
    diagnostic: str = ""  # what the other server said, cut by the reader of the bounce
    same_words: str = ""  # brake.same_words of a refusal that may be about all of us; "": it is not
    item_id: str = ""
    at: datetime | None = None  # filled by the store


class Freeze(Struct, frozen=True, kw_only=True):
    """Until then, bounces under this topic score nothing in this list."""

    id: int
    list_id: ListId  # "": in every list
    topic: str  # the name of a brake.Topic: "domain:example.net", "text:5.7.1 blocked"
    since: datetime
    until: datetime
    told_at: datetime | None = None  # the owners were told


class Due(Struct, frozen=True):
    """Something whose time has come. `key` is what to ask the roster for."""

    kind: DueKind
    at: datetime
    list_id: ListId
    address: str
    key: str  # token: its hash; request and freeze: its number; bounce and delivery: the membership's
    place: tuple[int, int]  # in the listing: the `after` of the next page
    set_at_ms: int = 0  # delivery: when this end was set; a vacation until the same day may be set again
