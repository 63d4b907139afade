"""The verdicts: who is taken at RCPT, what is taken at the end of DATA, and what becomes of a post.

Pure: each verdict is a table of named rules, asked in order; the first that does not pass decides, and the verdict carries its name for
the log and for `bin/postroom why`. Senders are compared by the keys of mailbox.py. A reply states a fact about this recipient or
sender, never an option or who is a member: everybody who is not one gets the same text.
"""

from collections.abc import Callable, Container, Iterable, Mapping
from datetime import date

from msgspec import Struct
from msgspec.structs import replace

from config.names import BOUNCES, ListId
from lists.address import Destination, Names, Suffixes, list_id_of, split_recipient
from lists.errors import BadAddress, ForeignDomain, UnknownList
from lists.mailbox import address_key
from lists.model import MailingList
from lists.patterns import NO_PATTERNS, Patterns
from lists.senders import is_nobody, sender_keys
from lists.tokens import SiteKey, is_genuine, is_old_form


class Taken(Struct, frozen=True):
    """This recipient is taken; its mail goes there."""

    destination: Destination
    rule: str


class Refused(Struct, frozen=True):
    """This recipient is refused for good; what is our own fault never becomes this."""

    code: int
    enhanced: str  # RFC 3463
    text: str
    rule: str


class Accept(Struct, frozen=True):
    """The post goes out."""

    rule: str


class Hold(Struct, frozen=True):
    """The post waits for a moderator."""

    rule: str


class Reject(Struct, frozen=True):
    """The post is refused; at the end of DATA this is the reply."""

    rule: str
    code: int
    enhanced: str
    text: str


class Discard(Struct, frozen=True):
    """The post is dropped, and the log names the rule."""

    rule: str


Verdict = Accept | Hold | Reject | Discard


class ListPolicy(Struct, frozen=True):
    """All that the verdicts about one list look at."""

    mailing_list: MailingList
    other_addresses: tuple[str, ...] = ()  # the posting address in each alias of its domain
    members: Container[str] = frozenset()  # keys of every address of every person who is a member
    member_actions: Mapping[str, str] = {}  # of the members who have a moderation action of their own
    nonmember_actions: Mapping[str, str] = {}  # of known non-members who have one
    allowed: Patterns = NO_PATTERNS  # accept_these_nonmembers
    bans: Patterns = NO_PATTERNS  # the list's
    site_bans: Patterns = NO_PATTERNS


class TokenCheck(Struct, frozen=True):
    """What the token of a LIST-confirm+TOKEN@ is held against."""

    key: SiteKey
    old_form_until: date | None = None  # the last day (UTC) on which Mailman's form is let through


class View(Struct, frozen=True):
    """All that the verdicts about one site look at."""

    names: Names
    suffixes: Suffixes
    policies: Mapping[ListId, ListPolicy]
    tokens: TokenCheck | None = None  # None: every token is taken


class Post(Struct, frozen=True, kw_only=True):
    """What the rules look at in a message; made by guarded header access, every field may be empty."""

    reverse_path: str
    size: int  # octets
    authors: tuple[str, ...] = ()  # addresses of From:
    senders: tuple[str, ...] = ()  # addresses of Sender:
    list_ids: tuple[str, ...] = ()  # of List-Id:, without angle brackets and phrase
    list_posts: tuple[str, ...] = ()  # addresses in List-Post: (mailto:) and X-BeenThere:


UNKNOWN_LIST = Refused(550, "5.1.1", "No such mailing list here", "unknown-list")
BAD_TOKEN = Refused(550, "5.1.1", "No such confirmation here", "bad-token")
FOREIGN_DOMAIN = Refused(550, "5.7.1", "This server does not take mail for that domain", "foreign-domain")
BAD_ADDRESS = Refused(553, "5.1.3", "Recipient address is not valid", "bad-address")
BANNED = Refused(550, "5.7.1", "This sender may not post to this list", "banned")
NOT_A_MEMBER = Refused(550, "5.7.1", "Only members may post to this list", "not-a-member")
NO_SENDER = Refused(550, "5.7.1", "A post to a list needs a sender that can be answered", "null-sender")
TOO_BIG = Refused(552, "5.3.4", "Message is too big for this list", "max-message-size")
MODERATED = Refused(550, "5.7.1", "Posts of this sender are not taken by this list", "member-moderation")


# At RCPT --------------------------------------------------------------------------------------------------------------

RcptTest = Callable[[tuple[str, ...], ListPolicy], "str | Refused | None"]


def judge_recipient(
    reverse_path: str, recipient: str, view: View, today: date | None = None
) -> Taken | Refused:
    """Answer RCPT: the five tests for a posting address, any sender for all others.

    `reverse_path` and `recipient` are as sent, without "<>". Not known lists, foreign domains and tokens that this site cannot have made
    are refused for every sender. `today` (UTC) is needed where Mailman's tokens are let through; None: they are not.
    """
    try:
        destination = split_recipient(recipient, view.names, view.suffixes)
    except UnknownList:
        return UNKNOWN_LIST
    except ForeignDomain:
        return FOREIGN_DOMAIN
    except BadAddress:
        return BAD_ADDRESS
    if destination.purpose != "post":
        if destination.purpose == "confirm" and destination.token and view.tokens is not None:
            return _judge_token(destination, view.tokens, today)
        return Taken(_as_old_software_expects(destination, not reverse_path), "open-address")
    if is_nobody(reverse_path):  # callouts and probes; the post itself is refused at the end of DATA
        return Taken(destination, "null-sender")
    keys = sender_keys(reverse_path)
    policy = view.policies[destination.list_id]
    for test in RCPT_TESTS:
        answer = test(keys, policy)
        if isinstance(answer, str):
            return Taken(destination, answer)
        if answer is not None:
            return answer
    return NOT_A_MEMBER


def _judge_token(destination: Destination, check: TokenCheck, today: date | None) -> Taken | Refused:
    """Refuse a token that nobody made, without a look-up; a used or expired one is the runner's to answer."""
    if is_genuine(check.key, "confirm", destination.list_id, destination.token):
        return Taken(destination, "confirm-token")
    is_time = check.old_form_until is not None and today is not None and today <= check.old_form_until
    return Taken(destination, "mailman-token") if is_time and is_old_form(destination.token) else BAD_TOKEN


def _as_old_software_expects(destination: Destination, is_report: bool) -> Destination:
    """Send a report to LIST-admin@ where bounces go: old list managers had that as their reverse-path."""
    if destination.purpose == "admin" and is_report:
        return replace(destination, queue=BOUNCES, purpose="bounce")
    return destination


def _is_not_banned(keys: tuple[str, ...], policy: ListPolicy) -> Refused | None:
    return BANNED if _find_banned(keys, policy) else None


def _is_allowed_nonmember(keys: tuple[str, ...], policy: ListPolicy) -> str | None:
    if any(policy.allowed.match(key) for key in keys):
        return "accept-these-nonmembers"
    own = next((policy.nonmember_actions[key] for key in keys if key in policy.nonmember_actions), "reject")
    return "nonmember-action-of-their-own" if own != "reject" else None


def _is_open_list(_: tuple[str, ...], policy: ListPolicy) -> str | None:
    return (
        "generic-nonmember-action"
        if policy.mailing_list.settings.generic_nonmember_action != "reject"
        else None
    )


def _is_member(keys: tuple[str, ...], policy: ListPolicy) -> str | None:
    return "member" if any(key in policy.members for key in keys) else None


def _is_decided_later(_: tuple[str, ...], policy: ListPolicy) -> str | None:
    check = policy.mailing_list.settings.sender_check
    return None if check == "envelope" else f"sender-check-{check}"


# Test 1 is split_recipient, test 5 is what remains. A ban comes before test 2.
RCPT_TESTS: tuple[RcptTest, ...] = (
    _is_not_banned,
    _is_allowed_nonmember,  # 2
    _is_open_list,  # 3
    _is_member,  # 4
    _is_decided_later,
)


# At the end of DATA ---------------------------------------------------------------------------------------------------


def judge_data(
    destination: Destination,
    reverse_path: str,
    size: int,
    view: View,
    post: Post | None = None,
    *,
    is_report: bool = False,
) -> Taken | Refused:
    """Answer the final dot for one recipient that RCPT took.

    `size` counts octets as RFC 1870 does. `post` has what was read from the header; None: it was not read, and what depends on it is
    left to the runner. `is_report`: the content is a multipart/report (RFC 6522). A post that would be held or discarded is taken.
    A list that is gone by now is unknown.
    """
    if destination.purpose != "post":
        return Taken(_as_old_software_expects(destination, is_report or not reverse_path), "open-address")
    policy = view.policies.get(destination.list_id)
    if policy is None:
        return UNKNOWN_LIST
    if is_nobody(reverse_path):
        return NO_SENDER
    limit = policy.mailing_list.settings.max_message_size
    if 0 < limit < size:
        return TOO_BIG
    if post is None and policy.mailing_list.settings.sender_check == "message":
        return Taken(destination, "sender-check-message")
    verdict = judge_post(post or Post(reverse_path=reverse_path, size=size), policy)
    if isinstance(verdict, Reject):
        return Refused(verdict.code, verdict.enhanced, verdict.text, verdict.rule)
    return Taken(destination, verdict.rule)


# A post ---------------------------------------------------------------------------------------------------------------

Rule = Callable[[Post, tuple[str, ...], ListPolicy], Verdict | None]


def judge_post(post: Post, policy: ListPolicy) -> Verdict:
    """Say what becomes of a post; the first rule of POST_RULES that has an opinion decides.

    Its senders are From:, Sender: and the reverse-path, in this order: the first of them who is a member is its author.
    """
    keys = _keys(post)
    for rule in POST_RULES:
        verdict = rule(post, keys, policy)
        if verdict is not None:
            return verdict
    return Accept("no-rule")


def _keys(post: Post) -> tuple[str, ...]:
    named = [address_key(address) for address in (*post.authors, *post.senders)]
    return tuple(dict.fromkeys((*named, *sender_keys(post.reverse_path))))


def _refuse_null_sender(post: Post, _: tuple[str, ...], __: ListPolicy) -> Verdict | None:
    return _reject(NO_SENDER) if is_nobody(post.reverse_path) else None


def _refuse_banned(post: Post, keys: tuple[str, ...], policy: ListPolicy) -> Verdict | None:
    """Refuse whoever is banned under any of their names: From: must not be a way round the ban."""
    return _reject(BANNED) if _find_banned(keys, policy) else None


def _stop_loop(post: Post, _: tuple[str, ...], policy: ListPolicy) -> Verdict | None:
    """Drop what has been through this list already; a refusal would send its bounce round again."""
    mailing_list, others = policy.mailing_list, policy.other_addresses
    ours = {mailing_list.list_id, mailing_list.address, *others, *map(list_id_of, others)}
    seen = (each.lower() for each in (*post.list_ids, *post.list_posts))
    return None if ours.isdisjoint(seen) else Discard("loop")


def _hold_in_emergency(_: Post, __: tuple[str, ...], policy: ListPolicy) -> Verdict | None:
    return Hold("emergency") if policy.mailing_list.settings.emergency else None


def _moderate_member(_: Post, keys: tuple[str, ...], policy: ListPolicy) -> Verdict | None:
    settings = policy.mailing_list.settings
    author = next((key for key in keys if key in policy.members), None)
    if author is None and settings.sender_check != "off":
        return None
    own = policy.member_actions.get(author, "") if author is not None else ""
    return _act(own or settings.member_moderation_action, "member-moderation", MODERATED)


def _moderate_nonmember(_: Post, keys: tuple[str, ...], policy: ListPolicy) -> Verdict | None:
    settings = policy.mailing_list.settings
    if settings.sender_check == "off" or any(key in policy.members for key in keys):
        return None
    own = next((policy.nonmember_actions[key] for key in keys if key in policy.nonmember_actions), None)
    if own is not None:
        return _act(own, "nonmember-action-of-their-own", NOT_A_MEMBER)
    if any(policy.allowed.match(key) for key in keys):
        return Accept("accept-these-nonmembers")
    return _act(settings.generic_nonmember_action, "generic-nonmember-action", NOT_A_MEMBER)


def _refuse_too_big(post: Post, _: tuple[str, ...], policy: ListPolicy) -> Verdict | None:
    return _reject(TOO_BIG) if 0 < policy.mailing_list.settings.max_message_size < post.size else None


POST_RULES: tuple[Rule, ...] = (
    _refuse_null_sender,
    _refuse_banned,
    _stop_loop,
    _hold_in_emergency,
    _moderate_member,
    _moderate_nonmember,
    _refuse_too_big,
)


def _act(action: str, rule: str, refusal: Refused) -> Verdict | None:
    """Turn a moderation action into a verdict; defer has no opinion."""
    match action:
        case "accept":
            return Accept(rule)
        case "hold":
            return Hold(rule)
        case "discard":
            return Discard(rule)
        case "reject":
            return Reject(rule, refusal.code, refusal.enhanced, refusal.text)
        case _:
            return None


def _reject(refusal: Refused) -> Reject:
    return Reject(refusal.rule, refusal.code, refusal.enhanced, refusal.text)


def _find_banned(keys: Iterable[str], policy: ListPolicy) -> bool:
    return any(policy.bans.match(key) or policy.site_bans.match(key) for key in keys)
