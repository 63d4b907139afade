"""The brake: when one domain, or one refusal, fails for many members at once, it is not about the members. Pure.

A provider that blocks us, a broken MX or a DMARC policy would disable hundreds of members within a week. So failures are counted per list by the domain of
the address, and policy refusals by their text too; when many different members fail in one window, scoring for that domain or text is frozen for a
time, and the owners are told once. Failures of members that a freeze covers are kept as evidence and score nothing.
"""

import re
from datetime import timedelta
from typing import Final

from msgspec import Struct

from lists.bounces.failure import Failure

WINDOW: Final = timedelta(days=1)  # in which failures are counted together
FREEZE: Final = timedelta(days=3)  # how long scoring rests; renewed while failures go on
LONGEST: Final = timedelta(
    days=14
)  # after which failures score again: a domain that is gone must not be frozen for ever
MIN_MEMBERS: Final = 5  # fewer different members are coincidence
MIN_SHARE: Final = (
    0.3  # of the list's members at that domain; at a large provider ten bad mailboxes a day are usual
)
ALWAYS_MEMBERS: Final = 100  # so many in one window are an incident whatever their share

_NUMBERS = re.compile(r"[0-9a-f]{6,}|\d+", re.IGNORECASE)
_ADDRESS = re.compile(r"\S*@\S*|https?:\S*|\[[^\]]*\]")
MAX_TEXT: Final = 80  # characters of a refusal by which it is known again


class Topic(Struct, frozen=True):
    """What failures have in common: "domain:example.net" or "text:5.7.1 message rejected as spam"."""

    name: str
    is_text: bool = False


def topics_of(address: str, failure: Failure) -> tuple[Topic, ...]:
    """Return what one member's failure is counted under: the domain, and for a policy refusal its words too."""
    domain = Topic(f"domain:{address.rpartition('@')[2].lower()}")
    if failure.bounce_class != "policy" and not failure.status.startswith("5.7."):
        return (domain,)
    return domain, Topic(f"text:{same_words(failure)}", is_text=True)


def same_words(failure: Failure) -> str:
    """Return what stays the same of a refusal from one recipient to the next: no addresses, links, numbers or queue ids."""
    text = _NUMBERS.sub("#", _ADDRESS.sub("@", failure.diagnostic.lower()))
    return f"{failure.status} {' '.join(text.split())}"[:MAX_TEXT].strip()


def is_incident(topic: Topic, failing: int, members: int) -> bool:
    """Do `failing` different members within WINDOW make an incident? `members`: how many of the list the topic could concern (0: not known)."""
    if failing < MIN_MEMBERS:
        return False
    if topic.is_text or failing >= ALWAYS_MEMBERS:
        return True
    return failing >= MIN_SHARE * members
