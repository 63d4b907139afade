"""Rules about who sent a post: nobody, somebody banned, a member, somebody else.

A sender is From:, Sender: and the reverse-path together; the first of them who is a member is the author. So a member is known behind a
forwarder, and From: is no way round a ban.
"""

from lists.policy import BANNED, NOT_A_MEMBER, ListPolicy, is_banned
from lists.posts import Post
from lists.rules.rule import Rule
from lists.rules.verdicts import MODERATED, NO_SENDER, Accept, Verdict, act, reject
from lists.senders import is_nobody

OWN_ACTION = "nonmember-action-of-their-own"
ALLOWED = "accept-these-nonmembers"
GENERIC = "generic-nonmember-action"
MEMBER = "member-moderation"


def _null_sender(post: Post, _: ListPolicy) -> Verdict | None:
    return reject(NO_SENDER) if is_nobody(post.reverse_path) else None


def _is_from_nobody(post: Post, _: ListPolicy) -> bool:
    return is_nobody(post.reverse_path)


def _banned(post: Post, policy: ListPolicy) -> Verdict | None:
    return reject(BANNED) if _has_bans(post, policy) and is_banned(post.keys, policy) else None


def _has_bans(_: Post, policy: ListPolicy) -> bool:
    return _bans_somebody(policy)


def _bans_somebody(policy: ListPolicy) -> bool:
    return policy.bans.has_entries or policy.site_bans.has_entries


def _member(post: Post, policy: ListPolicy) -> Verdict | None:
    settings = policy.mailing_list.settings
    author = next((key for key in post.keys if key in policy.members), None)
    if author is None and settings.sender_check != "off":
        return None
    own = policy.member_actions.get(author, "") if author is not None else ""
    if own == "accept":
        return Accept(MEMBER, at_once=True)
    return act(own or settings.member_moderation_action, MEMBER, MODERATED)


def _may_refuse_member(_: Post, policy: ListPolicy) -> bool:
    return policy.refuses_some or policy.mailing_list.settings.member_moderation_action == "reject"


def _own_action(post: Post, policy: ListPolicy) -> Verdict | None:
    if not policy.nonmember_actions or _is_member(post.keys, policy):
        return None
    own = next((policy.nonmember_actions[key] for key in post.keys if key in policy.nonmember_actions), None)
    if own == "accept":
        return Accept(OWN_ACTION, at_once=True)
    return None if own is None else act(own, OWN_ACTION, NOT_A_MEMBER)


def _may_refuse_some(post: Post, policy: ListPolicy) -> bool:
    return policy.refuses_some and not _is_member(post.envelope_keys, policy)


def _allowed(post: Post, policy: ListPolicy) -> Verdict | None:
    if not policy.allowed.has_entries or _is_member(post.keys, policy):
        return None
    return Accept(ALLOWED, at_once=True) if any(map(policy.allowed.match, post.keys)) else None


def _generic(post: Post, policy: ListPolicy) -> Verdict | None:
    if _is_member(post.keys, policy):
        return None
    return act(policy.mailing_list.settings.generic_nonmember_action, GENERIC, NOT_A_MEMBER)


def _may_refuse_strangers(post: Post, policy: ListPolicy) -> bool:
    is_closed = policy.mailing_list.settings.generic_nonmember_action == "reject"
    return is_closed and not _is_member(post.envelope_keys, policy)


def _is_member(keys: tuple[str, ...], policy: ListPolicy) -> bool:
    """Is one of these a member, or is everybody treated as one?"""
    return policy.mailing_list.settings.sender_check == "off" or any(key in policy.members for key in keys)


NULL_SENDER_RULE = Rule("null-sender", _null_sender, "envelope", _is_from_nobody)
BANNED_RULE = Rule("banned", _banned, "envelope", _has_bans, concerns=_bans_somebody)
MODERATION_RULES = (
    Rule(MEMBER, _member, "envelope", _may_refuse_member, ("member_moderation_action", "sender_check")),
    Rule(
        OWN_ACTION,
        _own_action,
        "envelope",
        _may_refuse_some,
        concerns=lambda policy: bool(policy.nonmember_actions),
    ),
    Rule(
        ALLOWED,
        _allowed,
        "envelope",
        options=("accept_these_nonmembers",),
        concerns=lambda policy: policy.allowed.has_entries,
    ),
    Rule(GENERIC, _generic, "envelope", _may_refuse_strangers, ("generic_nonmember_action", "sender_check")),
)
