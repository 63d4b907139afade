"""What is to be changed in the list store, as values: `Store.apply_once` performs them together with a runner's outcome.

Pure. A new effect is a new struct here and a case in store/performing.py. Every change that finds something to change writes what it was, what
it is now and the decision's origin into the history, in the same transaction; one that finds it done already does nothing. Held
posts and budgets write none: their rows tell it, and a list of every stranger who wrote is what nobody wants to keep. What is asked of a
list or a member that is not there raises NoSuchList or NoSuchMember: `decide` has looked.
"""

from collections.abc import Mapping
from datetime import datetime

from msgspec import Struct

from config.names import ListId
from lists.gate import Spent
from lists.model import DeliveryMode, DeliveryStatus, Role
from lists.records import BounceRecord, Evidence, Origin, RequestKind
from lists.tokens import TokenKind


class HoldPost(Struct, frozen=True, kw_only=True):
    """Keep this post for a moderator, octet for octet."""

    list_id: ListId
    reverse_path: str
    reason: str  # the rule
    content: bytes
    message_id: str = ""
    subject: str = ""


class ReleaseHeld(Struct, frozen=True):
    """A moderator has decided: this held post is no longer kept, whether it goes out or not."""

    id: int


# Members --------------------------------------------------------------------------------------------------------------


class JoinMember(Struct, frozen=True):
    """Give an address a role in a list; who has it already stays as they are. The address is checked before."""

    list_id: ListId
    address: str
    role: Role = "member"
    display_name: str = ""
    language: str = ""
    delivery_mode: DeliveryMode = "regular"


class LeaveMember(Struct, frozen=True):
    """Take a role from an address, with its bounce record; the history and the evidence of its bounces stay."""

    list_id: ListId
    address: str
    role: Role = "member"


class SetDelivery(Struct, frozen=True):
    """Say whether posts go to a member; who said so, when and why is kept beside it, from the decision's origin.

    All but "by_bounces" forgets a member's bounces too: else the next one would switch an enabled member off again, and the warnings of one
    who went on vacation would go on to their removal. `until`: then it is enabled again.
    """

    list_id: ListId
    address: str
    status: DeliveryStatus
    until: datetime | None = None
    role: Role = "member"


class SetPreference(Struct, frozen=True, kw_only=True):
    """Change what else a membership says; None leaves as it is. The values are checked before."""

    list_id: ListId
    address: str
    role: Role = "member"
    delivery_mode: DeliveryMode | None = None
    moderation_action: str | None = None  # "": the list's
    display_name: str | None = None
    language: str | None = None
    receive_own_postings: bool | None = None
    acknowledge_posts: bool | None = None
    hide_address: bool | None = None


# Tokens and requests --------------------------------------------------------------------------------------------------


class MakeToken(Struct, frozen=True, kw_only=True):
    """Remember a token that is about to be sent out, by its hash (tokens.token_hash)."""

    hash: str
    purpose: TokenKind
    list_id: ListId
    address: str  # for whom
    expires_at: datetime
    about: str = ""  # what it is for, in the words of its maker: "join", "request 17"


class UseToken(Struct, frozen=True):
    """Use a token up: it works once. `decide` has looked whether it still may be."""

    hash: str


class OpenRequest(Struct, frozen=True, kw_only=True):
    """Keep that somebody wants to join or leave; one of the same list, address and kind is replaced, and keeps its number.

    Also for each step of the state machine: the same with another `state`.
    """

    list_id: ListId
    address: str
    kind: RequestKind
    state: str
    asked_by: str
    expires_at: datetime
    options: Mapping[str, str] = {}  # see records.Request


class CloseRequest(Struct, frozen=True, kw_only=True):
    """It is decided, or too old: the request goes. Its tokens are used up, those of moderators too, and are known until they are trimmed.

    They are found by what they are about: the request's kind, alone or as the last word ("approve join").
    """

    list_id: ListId
    address: str
    kind: RequestKind
    result: str  # for the history: "done", "refused", "expired", "withdrawn"


# Bounces --------------------------------------------------------------------------------------------------------------


class AddBounce(Struct, frozen=True):
    """Keep the evidence of one bounce of a member; whether it scores is SetScore's matter."""

    list_id: ListId
    address: str
    evidence: Evidence


class SetScore(Struct, frozen=True):
    """Say where a member stands with their bounces: score, warnings, what is due next and when."""

    list_id: ListId
    address: str
    record: BounceRecord


class DisableMember(Struct, frozen=True):
    """Send a member nothing more because of bounces, and say what comes next."""

    list_id: ListId
    address: str
    record: BounceRecord


class ResetScore(Struct, frozen=True):
    """Forget what a member has bounced; the evidence stays."""

    list_id: ListId
    address: str


class FreezeScoring(Struct, frozen=True, kw_only=True):
    """Until then, let bounces under a topic score nothing in a list; what is frozen already is frozen longer.

    `told`: the owners hear of it in this decision.
    """

    list_id: ListId  # "": in every list
    topic: str  # the name of a brake.Topic
    until: datetime
    told: bool = True


class LiftFreeze(Struct, frozen=True):
    """Let it score again; nothing happens to a freeze that is gone."""

    id: int


# Automatic mail -------------------------------------------------------------------------------------------------------


class SpendBudget(Struct, frozen=True):
    """Write down what a Permit of the gate costs: the row `spent` of `key` (gate.budget_key). One for each address in a decision."""

    key: str
    spent: Spent


Change = (
    HoldPost
    | ReleaseHeld
    | JoinMember
    | LeaveMember
    | SetDelivery
    | SetPreference
    | MakeToken
    | UseToken
    | OpenRequest
    | CloseRequest
    | AddBounce
    | SetScore
    | DisableMember
    | ResetScore
    | FreezeScoring
    | LiftFreeze
    | SpendBudget
)


class Decision(Struct, frozen=True):
    """What was decided: the changes, the outcome that belongs to them, and where they come from.

    `keep` False stores nothing at all, neither changes nor outcome: the item will come again.
    """

    changes: tuple[Change, ...] = ()
    outcome: bytes = b""  # opaque here
    keep: bool = True
    origin: Origin = Origin()  # its item is filled in by the store
