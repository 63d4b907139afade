"""Who stands behind a reverse-path.

The seam for what forwarders and services put there: today a sender is compared whole, without case; SRS0/SRS1, BATV (`prvs=`) and
common VERP forms will be resolved here and nowhere else, each giving one more key to try.
"""

from lists.mailbox import address_key

# Postfix's address_verify_sender: its probes come from double-bounce@ORIGIN, and mail to it is thrown away there.
PROBE_LOCAL_PART = "double-bounce"


def sender_keys(reverse_path: str) -> tuple[str, ...]:
    """Return the keys (mailbox.address_key) of everybody whom this reverse-path may stand for; () for the null one."""
    return (address_key(reverse_path),) if reverse_path else ()


def is_nobody(reverse_path: str) -> bool:
    """Is this the null reverse-path or a prober's: good for callouts and DSNs, never the sender of a post?"""
    return not reverse_path or reverse_path.rpartition("@")[0].lower() == PROBE_LOCAL_PART
