"""Mailman's unsigned VERP, LIST-bounces+LOCAL=DOMAIN@: the addresses that it may mean. Pure.

ABNF: token = local "=" domain. Both parts may hold "=" and the local part "+" too, so the last "=" and the first are tried, in this order; the roster
says which is a member. Nothing in it is signed: it is believed until the day that the site has set, for posts sent before the cut-over.
"""

from lists.mailbox import is_address


def unsigned_verp(token: str) -> tuple[str, ...]:
    """Return the addresses that a token may mean, the likeliest first; () for what is none."""
    found = []
    for local, separator, domain in (token.rpartition("="), token.partition("=")):
        address = f"{local}@{domain}"
        if separator and address not in found and is_address(address):
            found.append(address)
    return tuple(found)
