"""What members set for themselves by mail: asked for in LIST-request@, done when the token comes back. Pure.

From: can be forged, so nothing changes before the address has confirmed. Everything said here goes to that address alone, so that who asks in another's
name learns nothing of the roster.
"""

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Final

from lists.changes import MakeToken, SetDelivery, UseToken
from lists.errors import BadOption
from lists.gate import Kind
from lists.mailbox import address_key
from lists.member_options import read_member_changes
from lists.model import Member
from lists.records import Token
from lists.tokens import make_token, token_hash
from runners.deciding import Draft

ABOUT: Final = "set "  # begins what a token is about that sets options; KEY=VALUE follow
_N: Final = 3  # tells its token from those of requests of the same mail and address (subscribing.py)


def are_in_order(draft: Draft, assignments: Iterable[str]) -> bool:
    """May these KEY=VALUE be said of a member?"""
    try:
        read_member_changes(draft.list_id, "nobody@example.net", assignments)
    except BadOption:
        return False
    return True


def ask_settings(draft: Draft, address: str, assignments: Sequence[str]) -> None:
    """Send the member a token for all that a mail wants to set; an address that is none is told so."""
    member = _member(draft, address)
    if member is None:
        draft.write(Kind.ANSWER, address, "not-member")
        return draft.note("member.requested", why="nothing to do: not-member", address=address, kind="set")
    setting = draft.setting
    token = make_token(setting.key, "confirm", setting.item.id, draft.list_id, member.address, _N)
    expires = setting.now + timedelta(days=setting.mailing_list.settings.request_days)
    draft.changes.append(
        MakeToken(
            hash=token_hash(token),
            purpose="confirm",
            list_id=draft.list_id,
            address=member.address,
            expires_at=expires,
            about=ABOUT + " ".join(assignments),
        )
    )
    sender = setting.address("confirm", token)
    draft.write(
        Kind.CONFIRM,
        member.address,
        "confirm-set",
        {"settings": _shown(assignments), "confirm_address": sender, "expires": expires},
        sender=sender,
        subject_tail=f"confirm {token}",
    )
    return draft.note("member.requested", why="set: asked to confirm", address=member.address, kind="set")


def confirm_settings(draft: Draft, token: Token) -> None:
    """Set what a good token is about, and use it up. What an owner has stopped, the member cannot start."""
    draft.changes.append(UseToken(token.hash))
    member = draft.roster.member(draft.list_id, token.address)
    if member is None:
        return draft.note("member.requested", why="no member any more")
    assignments = token.about.removeprefix(ABOUT).split()
    changes = list(read_member_changes(draft.list_id, member.address, assignments))
    if member.delivery_status == "by_owner":
        changes = [change for change in changes if not isinstance(change, SetDelivery)]
    if not changes:
        draft.write(Kind.ANSWER, member.address, "delivery-owner")
        return draft.note("member.requested", why="delivery is the owner's", address=member.address)
    draft.changes += changes
    draft.write(Kind.ANSWER, member.address, "settings-changed", {"settings": _shown(assignments)})
    return draft.note("member.changed", why="set by the member", address=member.address)


def _shown(assignments: Sequence[str]) -> tuple[str, ...]:
    return tuple("    " + each for each in assignments)


def _member(draft: Draft, address: str) -> Member | None:
    """Return the member with this address, or the only one of the same person."""
    found = draft.roster.member(draft.list_id, address)
    if found is not None:
        return found
    others = [
        each
        for each in draft.roster.members_of_person(draft.list_id, address)
        if each.key != address_key(address)
    ]
    return others[0] if len(others) == 1 else None
