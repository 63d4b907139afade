"""The nouns of the domain as frozen values: a list and its settings, members, bans, held posts.

List settings keep the names that list owners know. The description of an option is where the option is; options.py reads and prints
them. Values come in here checked: options.py or the store have done it.
"""

from datetime import datetime
from typing import Annotated, Literal

from msgspec import Meta, Struct

from config.names import ItemId, ListId
from lists.address import list_id_of

Action = Literal["accept", "hold", "reject", "discard"]
MemberAction = Literal["accept", "hold", "reject", "discard", "defer"]
Role = Literal["member", "owner", "moderator", "nonmember"]
ROLES: tuple[Role, ...] = ("member", "owner", "moderator", "nonmember")
DeliveryMode = Literal["regular", "mime_digests", "plaintext_digests"]
# Who stopped it: the member, an owner, bounces; vacation is the member's own, with a day on which it ends by itself.
DeliveryStatus = Literal["enabled", "by_user", "by_owner", "by_bounces", "vacation"]

SubscriptionPolicy = Literal["open", "confirm", "moderate", "confirm_then_moderate"]

# One line of a header: no control character, so that no setting can add a header of its own.
Line = Annotated[str, Meta(pattern=r"^[^\x00-\x1f\x7f]*$", max_length=200)]


class ListSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Every option of one list."""

    display_name: Annotated[
        Line, Meta(description='The list\'s name for people, in List-Id and From. "": the local part.')
    ] = ""
    description: Annotated[Line, Meta(description="One line saying what the list is about.")] = ""
    generic_nonmember_action: Annotated[
        Action,
        Meta(
            description="What becomes of a post by somebody who is not a member: accept, hold, reject (at RCPT already) or discard."
        ),
    ] = "hold"
    accept_these_nonmembers: Annotated[
        tuple[str, ...],
        Meta(description="Addresses or ^regex, separated by blanks, that may post without being members."),
    ] = ()
    member_moderation_action: Annotated[
        MemberAction,
        Meta(
            description="What becomes of a member's post: accept (unless a later rule holds or refuses it), hold, reject, discard, or defer (the next rule decides). A member may have one of their own; an accept of their own skips the rules behind it."
        ),
    ] = "accept"
    sender_check: Annotated[
        Literal["envelope", "message", "off"],
        Meta(
            description="Whose membership counts: envelope (the reverse-path, at RCPT), message (From: and Sender: may rescue, after DATA), off (everybody is treated like a member)."
        ),
    ] = "envelope"
    emergency: Annotated[bool, Meta(description="Hold every post.")] = False
    max_message_size: Annotated[
        int, Meta(ge=0, description="Octets of a post; a larger one is refused. 0: only [lmtp] max_size.")
    ] = 0
    header_matches: Annotated[
        tuple[str, ...],
        Meta(
            description='Rules on header fields, "Field: expression -> action", the first that matches decides: accept (nothing else is asked), hold, reject (at the end of DATA) or discard. The expression is found anywhere, without case; empty: the field is there. One a line, or a JSON array.'
        ),
    ] = ()
    auto_submitted_action: Annotated[
        Action,
        Meta(
            description="What becomes of mail that a program wrote (Auto-Submitted other than no, RFC 3834): accept (go on), hold, reject or discard."
        ),
    ] = "accept"
    bulk_precedence_action: Annotated[
        Action,
        Meta(
            description="What becomes of mail with Precedence bulk, junk or list: accept (go on), hold, reject or discard."
        ),
    ] = "accept"
    malformed_from_action: Annotated[
        Action,
        Meta(
            description="What becomes of a post without a From field that has one valid address at least, or with several From fields (RFC 5322 3.6): accept (go on, judged by its envelope and what can be read), hold, reject or discard."
        ),
    ] = "accept"
    no_subject_action: Annotated[
        Action,
        Meta(
            description="What becomes of a post without subject, or with an empty one: accept (go on), hold, reject or discard."
        ),
    ] = "accept"
    max_num_recipients: Annotated[
        int,
        Meta(
            ge=0,
            le=1000,
            description="Hold a post whose To and Cc name this many addresses or more. 0: any number (Mailman's default was 10).",
        ),
    ] = 0
    require_explicit_destination: Annotated[
        bool,
        Meta(
            description="Hold a post that names neither the list nor one of acceptable_aliases in To or Cc: it came as a blind copy (Mailman's default was yes)."
        ),
    ] = False
    acceptable_aliases: Annotated[
        tuple[str, ...],
        Meta(
            description="Addresses or ^regex, separated by blanks, that count as the list's own for require_explicit_destination."
        ),
    ] = ()
    subject_prefix: Annotated[
        Line,
        Meta(
            description='Put in front of the subject of each post, "[ant] ". "": the post stays as it came.'
        ),
    ] = ""
    subscription_policy: Annotated[
        SubscriptionPolicy,
        Meta(
            description="Who may join by mail: open (whoever asks), confirm (whoever answers a mail to the address), moderate (whoever a moderator lets), confirm_then_moderate (both). With open, anybody can enter anybody."
        ),
    ] = "confirm"
    unsubscription_policy: Annotated[
        SubscriptionPolicy,
        Meta(description="The same for leaving. With open, anybody can take anybody off."),
    ] = "confirm"
    preferred_language: Annotated[
        Annotated[str, Meta(pattern=r"^([a-z]{2,3}(-[A-Z]{2})?)?$")],
        Meta(
            description='Language of the list\'s own mail, such as de or pt-BR, for those who have not said theirs. "": [notices] language. en and de come with Postroom.'
        ),
    ] = ""
    owner_max_size: Annotated[
        int,
        Meta(
            ge=0,
            description="Octets of a mail to LIST-owner@ or LIST-admin@; a larger one is refused at the end of DATA. 0: only [lmtp] max_size.",
        ),
    ] = 0
    respond_to_post_requests: Annotated[
        bool,
        Meta(
            description="Tell the sender of a post that it waits for a moderator. No: for lists whose address gets much spam with forged senders."
        ),
    ] = True
    request_days: Annotated[
        int,
        Meta(
            ge=1,
            le=180,
            description="Days that a request waits for the address to confirm (Mailman: 3); for a moderator it waits ten times as long.",
        ),
    ] = 3
    send_welcome_message: Annotated[bool, Meta(description="Greet new members by mail.")] = True
    send_goodbye_message: Annotated[bool, Meta(description="Tell those who left that they have.")] = True
    admin_notify_mchanges: Annotated[
        bool, Meta(description="Tell the owners of everybody who joins or leaves by mail.")
    ] = False
    verp_delivery_interval: Annotated[
        int,
        Meta(
            ge=0,
            le=1000,
            description="One post in so many, chosen by chance, goes out with VERP: each member's copy has a reverse-path of its own, LIST-bounces+TOKEN@, so that a bounce is known to be theirs even if it names nobody or an address behind a forwarding. 0: never; 1: every post, and then a report to LIST-bounces@ without a token scores nobody. Costs the MTA a mail for each member instead of one for a hundred, so it is 0 by default: most bounces name the address, and what the MTA refuses needs no VERP. Use 1 for a small list whose dead addresses do not go away, 10 for a busy one.",
        ),
    ] = 0
    process_bounces: Annotated[
        bool, Meta(description="Read what comes back, and act on it; no: it is thrown away.")
    ] = True
    bounce_score_threshold: Annotated[
        int,
        Meta(
            ge=1,
            description="Score of a member at which something happens. A day with a failure counts 1 for an address that is gone, 0.5 for a full mailbox and what says nothing clear, 0.25 for a refusal of what we send.",
        ),
    ] = 5
    bounce_info_stale_after: Annotated[
        int, Meta(ge=1, description="Days without a failure after which the score counts no more.")
    ] = 7
    bounce_probes: Annotated[
        bool,
        Meta(
            description="At the threshold, first send a mail to that member alone; delivery ends when it comes back. No: it ends at once. With no, a stranger who forges bounces can end it."
        ),
    ] = True
    bounce_you_are_disabled_warnings: Annotated[
        int,
        Meta(ge=0, le=100, description="Mails to a member whose delivery ended by bounces, before removal."),
    ] = 3
    bounce_you_are_disabled_warnings_interval: Annotated[
        int, Meta(ge=1, description="Days from one of them to the next, and from the last to removal.")
    ] = 7
    bounce_notify_owner_on_disable: Annotated[
        bool, Meta(description="Tell the owners when a member's delivery ends by bounces.")
    ] = True
    bounce_notify_owner_on_removal: Annotated[
        bool, Meta(description="Tell the owners when a member is removed for bounces.")
    ] = True
    forward_unrecognized_bounces: Annotated[
        bool,
        Meta(
            description="Pass on to the owners what comes to LIST-bounces@ and is no bounce that can be read; no: it is logged and thrown away."
        ),
    ] = False
    advertised: Annotated[
        bool,
        Meta(
            description="May the list be shown to everybody? Stored only: pages and the `lists` command come with a later version."
        ),
    ] = True


class MailingList(Struct, frozen=True):
    """One list as its settings are now."""

    list_id: ListId
    address: str  # posting address, in lower case
    name: str  # its local-part
    domain: str
    settings: ListSettings = ListSettings()

    @classmethod
    def at(
        cls, address: str, settings: ListSettings | None = None, list_id: ListId | None = None
    ) -> "MailingList":
        """Make the list that has this posting address (lower case)."""
        name, _, domain = address.rpartition("@")
        return cls(list_id or list_id_of(address), address, name, domain, settings or ListSettings())


class Member(Struct, frozen=True):
    """One address in one role of one list."""

    address: str  # as written when it was first seen
    role: Role
    key: str  # what it is compared by
    id: int  # of the membership; never used again, so VERP addresses name it
    joined_at: datetime
    moderation_action: str = ""  # "": the list's
    display_name: str = ""
    language: str = ""  # "": the list's
    delivery_mode: DeliveryMode = "regular"
    delivery_status: DeliveryStatus = "enabled"
    status_by: str = ""  # who set the status, why and when; empty while nobody has
    status_why: str = ""
    status_at: datetime | None = None
    status_until: datetime | None = None  # then it is enabled again; None: until somebody does it
    receive_own_postings: bool = True
    acknowledge_posts: bool = False  # wants a word when a post of theirs went out
    hide_address: bool = False  # is not shown to other members

    @property
    def delivery(self) -> bool:
        """Tell whether posts go to this address."""
        return self.delivery_status == "enabled"

    @property
    def cursor(self) -> str:
        """Where a listing goes on after this member: the `after` of Store.members."""
        return f"{self.key} {self.role}"


class Ban(Struct, frozen=True):
    """An address or ^regex that may not post."""

    list_id: ListId  # "": in no list of the site
    pattern: str
    at: datetime


class HeldPost(Struct, frozen=True):
    """What there is to know of a post that waits for a moderator; its octets are fetched apart."""

    id: int
    list_id: ListId
    reverse_path: str
    reason: str  # the rule
    at: datetime  # UTC
    message_id: str
    subject: str
    size: int  # octets
    item_id: ItemId  # the item that was held: trace tells its story
