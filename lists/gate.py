"""The one gate for mail that Postroom writes by itself: may we mail this address, and why (promise P7). Pure.

Every notice, confirmation, answer, warning and probe passes `judge`, inside the transaction that stores what it tells; runners/notices.py writes
mail only for a Permit, and Permits are made here alone (tests/unit/lists/test_gate.py holds the whole tree to both). What goes to
members because somebody posted it, or to owners because somebody wrote to them, is not written by us and does not pass here.

Strategy, harm, proof (tests/unit/lists/test_gate.py):
- an answer needs somebody who asked: never to automatic mail (RFC 3834 2), which would go round for ever;
- never to an address of our own, or one that stands for a machine: the same loop with one hop more;
- one budget for an address, its +details included, whatever the kind and the list: a thousand forged requests are at most a handful of mails for the victim;
- what a member must hear (a warning, a probe) has a reserve above what answers may use: forged requests cannot keep it from being said;
- owners and moderators have a budget of their own, so that a flood for one list's strangers cannot use up what its owners must hear.
"""

import hmac
import re
from enum import Enum
from typing import Final, Literal, Protocol

from msgspec import Struct

from lists.mailbox import address_key
from lists.senders import is_nobody
from lists.tokens import SiteKey

DAY_MS: Final = 24 * 3600 * 1000  # the window of the budget, from its first mail on
PER_DAY: Final = 10  # notices for one address in a window; Mailman's max_autoresponses_per_day is 10, vacation(1) sends one a week
STAFF_PER_DAY: Final = 200  # for an owner or moderator

Grounds = Literal["answer", "membership", "staff"]


class Kind(Enum):
    """Every kind of mail we write: its grounds, and whether its bounces come back to LIST-bounces@ (else its reverse-path is null, RFC 3834 3.3)."""

    CONFIRM = ("confirm", "answer", False)  # somebody asked in this address's name to join or to leave
    ANSWER = ("answer", "answer", False)  # results of commands; already a member, wrong token and their like
    HELD = ("held", "answer", False)  # a post waits for a moderator
    REFUSED = ("refused", "answer", False)  # a moderator said no to what this address asked for
    WELCOME = ("welcome", "membership", True)
    GOODBYE = ("goodbye", "membership", False)
    RECEIPT = ("receipt", "membership", False)  # the member wants to hear that a post was sent
    PROBE = ("probe", "membership", True)  # does mail to this member still bounce?
    WARNING = ("warning", "membership", True)  # delivery is off because of bounces
    REMOVED = ("removed", "membership", False)
    REQUEST = ("request", "staff", False)  # somebody waits for a decision
    REPORT = ("report", "staff", False)  # what happened: a member disabled, a domain frozen, mail undelivered

    def __init__(self, text: str, grounds: Grounds, wants_bounces: bool) -> None:
        self.text = text
        self.grounds = grounds
        self.wants_bounces = wants_bounces


class Cause(Struct, frozen=True):
    """The mail that asks, as far as it says whether a person sent it."""

    reverse_path: str
    message_id: str = ""
    automatic: str = ""  # why this is no person's mail, "" when it is one's


class Spent(Struct, frozen=True):
    """What an address has had: `count` mails since `since_ms`."""

    since_ms: int = 0
    count: int = 0


class Permit(Struct, frozen=True):
    """This one mail may be written; `spent` is what the budget's row becomes in the same transaction."""

    kind: Kind
    address: str
    spent: Spent
    cause: Cause | None


class Denial(Struct, frozen=True):
    """It may not, and why: a word for the log."""

    kind: Kind
    address: str
    reason: str


class Fields(Protocol):
    """A header as far as a cause is read from it."""

    def values(self, name: str) -> list[bytes]:
        """Return the value of each field of this lower-case name."""


# RFC 3834 2: names that stand for software, or for a list's own addresses elsewhere. root and postmaster are often read by people.
_NO_PERSON = re.compile(
    r"(?:mailer-daemon|double-bounce|no-?reply|do-?not-?reply|listserv|majordomo|owner-.*|.*-(?:request|owner|bounces?|confirm))(?:\+.*)?",
    re.IGNORECASE,
)
_TOKEN = re.compile(rb"[A-Za-z0-9-]+")


def read_cause(header: Fields, reverse_path: str, message_id: str = "") -> Cause:
    """Say whether a mail asks for an answer (RFC 3834 2), from its envelope and header; never raises."""
    return Cause(reverse_path, message_id, _why_automatic(header, reverse_path))


def _why_automatic(header: Fields, reverse_path: str) -> str:
    if is_nobody(reverse_path):
        return "null-reverse-path"
    submitted = (_TOKEN.search(value) for value in header.values("auto-submitted"))
    if any(
        word is not None and word[0].lower() != b"no" for word in submitted
    ):  # RFC 3834 5: any other, known or not
        return "auto-submitted"
    if {"bulk", "list", "junk"} & set(_words(header, "precedence")):
        return "precedence"
    if header.values("list-id") or header.values("list-post") or header.values("list-unsubscribe"):
        return "list-mail"
    if any(value.lower().startswith(b"multipart/report") for value in header.values("content-type")):
        return "report"
    if {"all", "autoreply"} & set(_words(header, "x-auto-response-suppress")):
        return "response-suppressed"
    if header.values("x-autoreply") or header.values("x-autorespond"):
        return "auto-reply"
    return "sent-by-software" if _NO_PERSON.fullmatch(reverse_path.rpartition("@")[0]) else ""


def _words(header: Fields, name: str) -> list[str]:
    return [word.decode("ascii").lower() for value in header.values(name) for word in _TOKEN.findall(value)]


def judge(
    kind: Kind,
    address: str,
    spent: Spent,
    now_ms: int,
    *,
    cause: Cause | None = None,
    is_ours: bool = False,
    per_day: int = PER_DAY,
    staff_per_day: int = STAFF_PER_DAY,
) -> Permit | Denial:
    """Say whether this one mail to `address` may be written.

    `spent` is the budget's row for `budget_key(address)`, `cause` the mail that asks (None: a command or a timer), `is_ours` says that the
    address routes back to us. `per_day` 0 turns that budget's mail off.
    """
    reason = _objection(kind, address, cause, is_ours)
    if reason:
        return Denial(kind, address, reason)
    fresh = spent if spent.count and 0 <= now_ms - spent.since_ms < DAY_MS else Spent(now_ms, 0)
    if fresh.count >= _limit(kind, per_day, staff_per_day):
        return Denial(kind, address, "budget")
    return Permit(kind, address, Spent(fresh.since_ms, fresh.count + 1), cause)


def _limit(kind: Kind, per_day: int, staff_per_day: int) -> int:
    match kind.grounds:
        case "staff":
            return staff_per_day
        case "membership":
            return per_day + per_day // 2  # the reserve
        case "answer":
            return per_day


def _objection(kind: Kind, address: str, cause: Cause | None, is_ours: bool) -> str:
    if is_nobody(address):
        return "nobody"
    if is_ours:
        return "our-own-address"
    if kind.grounds != "answer":
        return ""
    if cause is not None and cause.automatic:
        return cause.automatic
    return "sent-by-software" if _NO_PERSON.fullmatch(address.rpartition("@")[0]) else ""


def budget_key(site_key: SiteKey, address: str, kind: Kind) -> str:
    """Name an address's budget in the store without telling whose it is: 32 hex digits.

    Staff mail has one for each kind, so that a flood of reports leaves room for what waits for a decision. anne+x@ is anne@: one mailbox at
    most providers, and a way to have many budgets at the others.
    """
    whose = kind.text if kind.grounds == "staff" else "any"
    text = f"budget|{whose}|{_mailbox(address)}".encode("utf-8", "surrogatepass")
    return hmac.digest(site_key.secret, text, "sha256")[:16].hex()


def _mailbox(address: str) -> str:
    """Return an address without its +detail; one with "=" in it is somebody else's address written into a local part."""
    local, at, domain = address_key(address).rpartition("@")
    base, plus, _ = local.partition("+")
    return f"{base if plus and base and '=' not in local else local}{at}{domain}"
