"""What a bounce says, as values: whom it names, how bad it is, and of which class. Pure.

The class decides what a failure means for a member: a bad mailbox says that the address is gone, a full one that it will perhaps recover, policy
that somebody refuses what we send and not whom we send it to. Status codes lie often enough that what the text says plainly comes first:
"550 5.7.1 user unknown" is an unknown user.
"""

import re
from typing import Final, Literal

from msgspec import Struct

BounceClass = Literal["bad-mailbox", "full", "policy", "other"]

MAX_DIAGNOSTIC: Final = 500  # characters that are looked at and kept as evidence
_STATUS = re.compile(r"(?<![\d.])([245])\.(\d{1,3})\.(\d{1,3})(?![\d.])")
_CODE = re.compile(r"(?<![\d.])([45])\d\d(?![\d.])")


class Failure(Struct, frozen=True):
    """One recipient that a mail could not be delivered to."""

    # whom it may mean, the likeliest first: the roster decides; (): it names nobody
    addresses: tuple[str, ...]
    status: str = ""  # enhanced, RFC 3463; "" when the report gives none
    diagnostic: str = ""  # what the other side said, one line
    is_permanent: bool = True
    bounce_class: BounceClass = "other"


class Report(Struct, frozen=True):
    """What one mail to LIST-bounces@ turned out to be."""

    # returned: it came back, but names nobody; its one failure is of whom a signed token of its recipient names
    kind: Literal["failure", "returned", "complaint", "automatic", "unknown", "unreadable"]
    failures: tuple[Failure, ...] = ()
    complained: tuple[str, ...] = ()  # addresses whose owner called our mail spam, RFC 5965
    original_from: str = (
        ""  # reverse-path of the mail that came back or is complained about: may hold a VERP token
    )
    original_id: str = ""  # its Message-ID
    method: str = ""  # what recognised it: rfc3464, rfc5965, rfc3834, heuristics ...
    reason: str = ""  # for the log


# Plain words, the first row that fits decides; addresses are "@" by then. Each was seen in real bounces; the tests have them.
_PLAIN: Final[dict[BounceClass, tuple[str, ...]]] = {
    "full": (
        r"(?:mail ?)?(?:box|folder)(?: is)?(?: too)? full|full (?:mail ?|in)box|account is full",
        r"(?:quota|storage|disk space)[^.]{0,40}(?:exceed|full|reached)",
        r"(?:exceed|over|reached)[^.]{0,30}(?:quota|storage|allotted|allowed space|mailbox size|disk space)",
        r"over ?quota|quota violation|mail ?box[^.]{0,30}size limit|mail ?box exceeds|zuviele mails",
        r"(?:not enough|insufficient)[^.]{0,20} (?:disk|mail|storage)",
    ),
    "bad-mailbox": (
        r"(?:user|recipient|rcpt|mail ?box|account|address|addressee|alias|member)\b[^.;]{0,60}(?:unknown|(?:does|do|did)(?: not|n't) exist|doesn't have|not found|not (?:a )?known|not exist|no longer|invalid|disabled|deactivated|inactive|not active|suspended|expired|discontinued|not recognized|rejected: access denied|nie istnieje|existiert nicht)",
        r"(?:unknown|no such|invalid|non-?existent|not a valid|not a known|not an active|disabled|inactive|deactivated|unrecognized|undeliverable|no known)[^.;]{0,30}(?:user|recipient|mail ?box|account|address|alias|person|destination)",
        r"(?:invalid|unknown)[^.;]{0,30}(?:user ?id|host)\b|n'existe pas|no matches to nameserver query|not exactly match|not have a[^.;]{0,20}delivery point",
        r"no (?:mail ?box|account|recipients?|user)s? (?:here|by|with|of|named|found|available)|bad_?recipient",
        r"(?:not listed in|isn't in my|not in our)[^.;]{0,40}(?:directory|list|book|rcpthosts)",
        r"mail ?box (?:unavailable|not available)|recipient rejected|not our customer|badrcptto",
        r"host (?:unknown|not found)|(?:domain|host|name service|name or service)[^.;]{0,40}(?:not found|not known|unknown|does not exist)|unrouteable|no such (?:domain|host)|couldn't find any host",
    ),
    "policy": (
        r"spam|black ?list|block ?list|blocked|\bRBL\b|\bDNSBL\b|reputation|junk|\bUBE\b|bulk|unsolicited|mass mailer",
        r"polic(?:y|ies)|not (?:allowed|permitted|authorized)|not pre-approved|requires confirmation|whitelist|unauthenticated|dmarc|\bspf\b|dkim",
        r"not accepting mail from|as a relay|unable to relay|requires? (?:sender )?verification",
        r"content[^.;]{0,20}(?:reject|denied|not accepted)|virus|relay(?:ing)?[^.;]{0,20}(?:denied|not permitted)|refused by|administrative prohibition",
    ),
}
_WORDS: Final = {each: re.compile("|".join(words), re.IGNORECASE) for each, words in _PLAIN.items()}
_TOO_BIG: Final = re.compile(
    r"(?:message|mail(?! ?box)|size)[^.;]{0,30}(?:too (?:big|large)|exceeds? [^.;]{0,30}(?:size|limit))|max message size|class=size",
    re.IGNORECASE,
)
_GIVEN_UP: Final = re.compile(r"not going to try (?:it )?again|in the queue too long|given up", re.IGNORECASE)
_ADDRESS: Final = re.compile(r"[^\s<>()\[\]\"',;]{1,200}@[^\s<>()\[\]\"',;]{1,200}")

# RFC 3463 3.2-3.8, with what the big receivers make of them.
_BY_STATUS: Final[dict[str, BounceClass]] = {
    "1.1": "bad-mailbox",
    "1.2": "bad-mailbox",
    "1.3": "bad-mailbox",
    "1.6": "bad-mailbox",
    "1.10": "bad-mailbox",  # RFC 7505, null MX
    "1.0": "bad-mailbox",
    "1.7": "policy",  # our own address is at fault
    "1.8": "policy",
    "2.0": "bad-mailbox",
    "2.1": "bad-mailbox",
    "2.2": "full",
    "3.4": "other",  # the message was too big: says nothing of the mailbox
    "4.4": "bad-mailbox",  # no route: the domain is gone
    "4.6": "other",
}


def classify(status: str, diagnostic: str) -> BounceClass:
    """Say what kind of trouble a failure is, from its enhanced status code and what the other side said."""
    text = _ADDRESS.sub("@", diagnostic[:MAX_DIAGNOSTIC])
    if _TOO_BIG.search(text):  # one message, not the mailbox
        return "other"
    for bounce_class, words in _WORDS.items():
        if words.search(text):
            return bounce_class
    subject_detail = status.partition(".")[2]
    if subject_detail in _BY_STATUS:
        return _BY_STATUS[subject_detail]
    return "policy" if subject_detail.startswith("7.") else "other"


def make_failure(addresses: tuple[str, ...], status: str, diagnostic: str, *, permanent: bool) -> Failure:
    """Make a failure of what a report says."""
    diagnostic = " ".join(diagnostic[: 4 * MAX_DIAGNOSTIC].split())[:MAX_DIAGNOSTIC]
    status = find_status(status) or find_status(diagnostic)
    return Failure(addresses, status, diagnostic, permanent, classify(status, diagnostic))


def find_status(text: str) -> str:
    """Return the first enhanced status code in a text, "" when there is none."""
    found = _STATUS.search(text[:MAX_DIAGNOSTIC])
    return ".".join(found.groups()) if found else ""


def is_transient(text: str) -> bool:
    """Does a text speak of a refusal for now alone, by enhanced status or reply code? Not when it names a permanent one too, or says that nobody tries again."""
    if _GIVEN_UP.search(text):
        return False
    classes = {found[1] for found in _STATUS.finditer(text)} | {found[1] for found in _CODE.finditer(text)}
    return "4" in classes and "5" not in classes
