"""Rules about mail that programs send: what has been through this list before, answers of machines, bulk.

A loop is dropped, not refused. A refusal makes the MTA that brings the post write a bounce to the reverse-path of the other list, which
scores its member (us); and the bounce may take the same way round. A loop has no sender whom a reply would help.
"""

from lists.address import list_id_of
from lists.policy import ListPolicy
from lists.posts import Post
from lists.rules.rule import Rule
from lists.rules.verdicts import AUTOMATIC, BULK, Discard, Verdict, object_by

BULK_WORDS = frozenset({"bulk", "junk", "list"})  # RFC 3834 2; in use since the vacation of 4.3BSD


def _loop(post: Post, policy: ListPolicy) -> Verdict | None:
    """Know our own posts by what this list writes into each of them.

    One Delivered-To may be the MTA's for this very delivery (Postfix lmtp with flags=D); we take it off, so a second one means that somebody
    has sent the post round without us.
    """
    marks, delivered_to = post.marks, post.delivered_to
    if not marks and not delivered_to:  # most posts: nobody has handed them on
        return None
    addresses = (policy.mailing_list.address, *policy.other_addresses)
    ours = {policy.mailing_list.list_id, *addresses, *map(list_id_of, addresses)}
    has_returned = not ours.isdisjoint(marks) or sum(map(delivered_to.count, addresses)) > 1
    return Discard("loop") if has_returned else None


def _auto_submitted(post: Post, policy: ListPolicy) -> Verdict | None:
    action = policy.mailing_list.settings.auto_submitted_action
    if action == "accept" or post.auto_submitted == "no":
        return None
    return object_by(action, "auto-submitted", AUTOMATIC)


def _may_refuse_automatic(post: Post, policy: ListPolicy) -> bool:
    return policy.mailing_list.settings.auto_submitted_action == "reject" and post.may_have("auto-submitted")


def _bulk_precedence(post: Post, policy: ListPolicy) -> Verdict | None:
    action = policy.mailing_list.settings.bulk_precedence_action
    if action == "accept" or post.precedence not in BULK_WORDS:
        return None
    return object_by(action, "bulk-precedence", BULK)


def _may_refuse_bulk(post: Post, policy: ListPolicy) -> bool:
    return policy.mailing_list.settings.bulk_precedence_action == "reject" and post.may_have("precedence")


LOOP_RULE = Rule("loop", _loop, "header")
AUTOMATIC_RULES = (
    Rule(
        "auto-submitted",
        _auto_submitted,
        "header",
        _may_refuse_automatic,
        ("auto_submitted_action",),
        concerns=lambda policy: policy.mailing_list.settings.auto_submitted_action != "accept",
    ),
    Rule(
        "bulk-precedence",
        _bulk_precedence,
        "header",
        _may_refuse_bulk,
        ("bulk_precedence_action",),
        concerns=lambda policy: policy.mailing_list.settings.bulk_precedence_action != "accept",
    ),
)
