"""Who is taken at RCPT, and what all verdicts about a list look at. What becomes of a message is lists/rules.

Pure: a table of named tests, asked in order; the first that does not pass decides, and the answer carries its name for
the log and for `bin/postroom why`. Senders are compared by the keys of mailbox.py. A reply states a fact about this recipient or
sender, never an option or who is a member: everybody who is not one gets the same text.
"""

from collections.abc import Callable, Container, Iterable, Mapping
from datetime import date

from msgspec import Struct
from msgspec.structs import replace

from config.names import BOUNCES, ListId
from lists.address import Destination, Names, Suffixes, split_recipient
from lists.errors import BadAddress, ForeignDomain, UnknownList
from lists.header_patterns import HeaderPattern
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
    refuses_some: bool = True  # somebody may have the action reject of their own
    header_patterns: tuple[HeaderPattern, ...] = ()  # header_matches
    aliases: Patterns = NO_PATTERNS  # acceptable_aliases


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


UNKNOWN_LIST = Refused(550, "5.1.1", "No such mailing list here", "unknown-list")
BAD_TOKEN = Refused(550, "5.1.1", "No such confirmation here", "bad-token")
FOREIGN_DOMAIN = Refused(550, "5.7.1", "This server does not take mail for that domain", "foreign-domain")
BAD_ADDRESS = Refused(553, "5.1.3", "Recipient address is not valid", "bad-address")
BANNED = Refused(550, "5.7.1", "This sender may not post to this list", "banned")
NOT_A_MEMBER = Refused(550, "5.7.1", "Only members may post to this list", "not-a-member")


# Rules whose answer tells who is a member; a list that takes everybody at RCPT answers by an earlier test.
RULES_OF_MEMBERSHIP = frozenset({"member", "not-a-member"})


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
        return Taken(as_old_software_expects(destination, not reverse_path), "open-address")
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


def as_old_software_expects(destination: Destination, is_report: bool) -> Destination:
    """Send a report to LIST-admin@ where bounces go: old list managers had that as their reverse-path."""
    if destination.purpose == "admin" and is_report:
        return replace(destination, queue=BOUNCES, purpose="bounce")
    return destination


def _is_not_banned(keys: tuple[str, ...], policy: ListPolicy) -> Refused | None:
    return BANNED if is_banned(keys, policy) else None


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
    _is_decided_later,  # before 4: where RCPT takes everybody, no rule there tells who is a member
    _is_member,  # 4
)


def is_banned(keys: Iterable[str], policy: ListPolicy) -> bool:
    """Is any of these senders banned, in this list or in all?"""
    return any(policy.bans.match(key) or policy.site_bans.match(key) for key in keys)
