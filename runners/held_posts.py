"""What is said about held posts: to those who decide, with codes for their answer, and to the author; and what a code does. Pure.

A code is a token about accepting or discarding the post that the token's own item has held: the number of a held post is known only when it is stored. Who
decides by a code publishes the same order to incoming as `bin/postroom held` does.
"""

from datetime import timedelta
from typing import Final

from config.names import INCOMING
from lists.changes import MakeToken, UseToken
from lists.gate import Kind
from lists.records import Token
from lists.tokens import make_token, token_hash
from runners.deciding import Draft
from runners.outcome import Output
from runners.phrases import Phrase, Value

ACCEPT: Final = "accept"
DISCARD: Final = "discard"
_ABOUT: Final = "held "  # begins what such a token is about
_NUMBERS: Final = {ACCEPT: 0, DISCARD: 1}  # tells the tokens of one item apart
CODE_DAYS: Final = 90  # that a code is good; the post waits for ever, and `bin/postroom held` decides then

# Why it waits, by rule; a rule that is not here (a later version's) tells its name.
REASONS: Final = {
    "emergency": Phrase("every post waits at present"),
    "header-matches": Phrase("a field of its header is one that the list wants to look at"),
    "malformed-from": Phrase("its From field is not in order"),
    "no-subject": Phrase("it has no subject"),
    "max-num-recipients": Phrase("it goes to very many addresses"),
    "explicit-destination": Phrase("it does not name the list in To or Cc"),
    "header-too-long": Phrase("its header is too long"),
    "generic-nonmember-action": Phrase("its sender is not a member"),
    "nonmember-action-of-their-own": Phrase("the posts of this sender are moderated"),
    "member-moderation": Phrase("the posts of this member are moderated"),
    "auto-submitted": Phrase("a program has sent it"),
    "bulk-precedence": Phrase("it is marked as bulk mail"),
}
SENDERS: Final = Phrase("posts of this sender are looked at first")
_RULES_OF_SENDERS: Final = frozenset(
    {"generic-nonmember-action", "nonmember-action-of-their-own", "member-moderation"}
)


def tell_moderators(draft: Draft, rule: str, sender: str, subject: str, size: int) -> None:
    """Ask everybody who decides; the first answer counts. `sender` and `subject` are a stranger's words: one line each."""
    accept, discard = (_make_code(draft, act) for act in (ACCEPT, DISCARD))
    sender_address = draft.setting.address("confirm", accept)
    values: dict[str, Value] = {
        "sender": sender,
        "subject": subject or Phrase("(none)"),
        "reason": why_held(rule),
        "size": str(size),
        "accept_address": sender_address,
        "discard_address": draft.setting.address("confirm", discard),
    }
    draft.write_all(
        Kind.REQUEST,
        draft.roster.addresses_of(draft.list_id, ("owner", "moderator")),
        "owner-held",
        values,
        sender=sender_address,
        subject_tail=f"confirm {accept}",
    )


def why_held(rule: str) -> Value:
    """Say for a moderator why a rule holds a post."""
    return REASONS.get(rule, rule)


def why_it_waits(rule: str) -> Value:
    """Say the same for its sender, who may be another than the author: in words that do not tell who is a member."""
    return SENDERS if rule in _RULES_OF_SENDERS else REASONS.get(rule, rule)


def _make_code(draft: Draft, act: str) -> str:
    setting = draft.setting
    owner = setting.address("owner")
    token = make_token(setting.key, "confirm", setting.item.id, draft.list_id, owner, _NUMBERS[act])
    draft.changes.append(
        MakeToken(
            hash=token_hash(token),
            purpose="confirm",
            list_id=draft.list_id,
            address=owner,
            expires_at=setting.now + timedelta(days=CODE_DAYS),
            about=_ABOUT + act,
        )
    )
    return token


def is_about_held(about: str) -> bool:
    """Is this what the token of a held post is about?"""
    return about.startswith(_ABOUT)


def decide_held(draft: Draft, token: Token, who: str) -> bool:
    """Give the order that a code stands for; False: somebody has decided about the post already."""
    held = draft.roster.held_by_item(draft.list_id, token.item_id)
    if held is None:
        return False
    act = token.about.removeprefix(_ABOUT)
    draft.changes.append(UseToken(token.hash))
    draft.outputs.append(
        Output(
            INCOMING,
            content=b"",
            recipient=draft.setting.mailing_list.address,
            reverse_path=held.reverse_path,
            args={"held": held.id, "act": act, "who": who},
        )
    )
    draft.note("member.requested", why=f"held {held.id}: {act}")
    return True
