"""Who stands behind a reverse-path.

Forwarders and services write the author's address into one of their own: SRS0 and SRS1, BATV, VERP. sender_forms.py has their grammar; here they
are resolved, one inside the other too, and each gives one more key to try. The address as it came stays the first.

What it is worth: hash and time of a foreign SRS address cannot be verified by us, so whoever writes a member's address into one counts as that member.
He could as well write it as the reverse-path itself; but where the MTA refuses mail by SPF, that is harder for the bare address than
for one inside a domain of his own. A reverse-path is no proof of identity, in any form; moderation is for lists that need one.
"""

from typing import Final

from msgspec import Struct

from lists.mailbox import address_key
from lists.sender_forms import FORMS

# Postfix's address_verify_sender: its probes come from double-bounce@ORIGIN, and mail to it is thrown away there.
PROBE_LOCAL_PART: Final = "double-bounce"
MAX_DEPTH: Final = 4  # forms within each other: BATV in SRS0 in SRS1 is three


class Sender(Struct, frozen=True):
    """Somebody whom a reverse-path may stand for."""

    key: str  # mailbox.address_key
    form: str = ""  # how it was found inside the one before it; "": as it came


def sender_keys(reverse_path: str) -> tuple[str, ...]:
    """Return the keys (mailbox.address_key) of everybody whom this reverse-path may stand for; () for the null one."""
    if "=" not in reverse_path:  # in every form there is; nearly nobody else's address has one
        return (address_key(reverse_path),) if reverse_path else ()
    return tuple(sender.key for sender in resolve_sender(reverse_path))


def resolve_sender(reverse_path: str) -> tuple[Sender, ...]:
    """Return everybody whom this reverse-path may stand for, first itself, then what is inside it, each once."""
    found = {key: Sender(key) for key in (address_key(reverse_path),) if key}
    newest = tuple(found)
    for _ in range(MAX_DEPTH):
        inside = {
            sender.key: sender for key in newest for sender in _look_inside(key) if sender.key not in found
        }
        if not inside:
            break
        found.update(inside)
        newest = tuple(inside)
    return tuple(found.values())


def _look_inside(key: str) -> tuple[Sender, ...]:
    """Read a key by the first form that it has."""
    local, _, domain = key.rpartition("@")
    if "=" not in local:
        return ()
    for form in FORMS:
        if addresses := form.read(local, domain):
            return tuple(Sender(address_key(address), form.name) for address in addresses)
    return ()


def is_nobody(reverse_path: str) -> bool:
    """Is this the null reverse-path or a prober's: good for callouts and DSNs, never the sender of a post?"""
    return not reverse_path or reverse_path.rpartition("@")[0].lower() == PROBE_LOCAL_PART
