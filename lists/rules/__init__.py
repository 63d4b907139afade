"""The rule engine: what becomes of a post, decided by a table of pure rules in a fixed order (docs/rules.md explains it to list owners).

The first rule that holds, refuses or drops decides. An Accept lets the rules behind it speak too, unless it is `at_once`. The end of DATA asks
the very same rules (judge_data), but only as far as one of them may refuse: what the runner would reject is a 5xx in the dialogue, what it would
hold or drop is a 250. Nothing here catches a rule's own failure: the front-end makes it 451, the runner tries again.
"""

from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from lists.address import Destination
from lists.policy import (
    UNKNOWN_LIST,
    ListPolicy,
    Refused,
    Taken,
    View,
    as_old_software_expects,
)
from lists.posts import Post
from lists.rules.automatic import AUTOMATIC_RULES, LOOP_RULE
from lists.rules.contents import (
    EMERGENCY_RULE,
    HEADER_RULES,
    HEADER_TOO_LONG_RULE,
    RECIPIENT_RULES,
    SIZE_RULE,
    SUBJECT_RULE,
)
from lists.rules.owner_mail import OWNER_PURPOSES, judge_owner_mail
from lists.rules.rule import Rule
from lists.rules.senders import BANNED_RULE, MODERATION_RULES, NULL_SENDER_RULE
from lists.rules.verdicts import Accept, Discard, Hold, Reject, Verdict

__all__ = [
    "DATA_RULES",
    "RULES",
    "Accept",
    "Discard",
    "Finding",
    "Hold",
    "Post",
    "Reject",
    "Rule",
    "Verdict",
    "explain_post",
    "judge_data",
    "judge_owner_mail",
    "judge_post",
    "rules_for",
]

RULES: Final[tuple[Rule, ...]] = (
    NULL_SENDER_RULE,
    BANNED_RULE,
    LOOP_RULE,
    SIZE_RULE,
    EMERGENCY_RULE,
    *HEADER_RULES,
    *AUTOMATIC_RULES,  # before moderation: a stranger's vacation notice need not wait for a moderator
    *MODERATION_RULES,
    SUBJECT_RULE,
    *RECIPIENT_RULES,  # last: what only makes a post suspect must not save it from being refused or dropped
    HEADER_TOO_LONG_RULE,
)
_LAST_REFUSING = max(number for number, rule in enumerate(RULES) if rule.may_refuse)
DATA_RULES: Final = RULES[: _LAST_REFUSING + 1]
_MAY_REFUSE: Final = tuple(rule.may_refuse for rule in RULES if rule.may_refuse)


def rules_for(policy: ListPolicy) -> tuple[Rule, ...]:
    """Return those of RULES that can have an opinion about a post to this list: `judge_post` by them says the same, in half the time."""
    return tuple(rule for rule in RULES if rule.concerns is None or rule.concerns(policy))


class Finding(Struct, frozen=True):
    """What one rule says about one post."""

    rule: Rule
    was_asked: bool  # False: it needs the message, and there is none
    verdict: Verdict | None
    decides: bool  # this is what becomes of the post


def judge_post(post: Post, policy: ListPolicy, rules: Sequence[Rule] = RULES) -> Verdict:
    """Say what becomes of a post. A rule that needs the message is not asked when there is none."""
    accepted: Accept | None = None
    for rule in rules:
        if accepted is not None and accepted.at_once and rule.can_be_skipped:
            continue
        verdict = rule.judge(post, policy) if post.has_content or rule.needs == "envelope" else None
        if isinstance(verdict, Accept):
            accepted = accepted or verdict
        elif verdict is not None:
            return verdict
    return accepted or Accept("no-rule")


def explain_post(post: Post, policy: ListPolicy, rules: Sequence[Rule] = RULES) -> tuple[Finding, ...]:
    """Return what each rule says, in order; the one that decides is marked, those behind it say what they would have."""
    decision = judge_post(post, policy, rules)
    findings = []
    for rule in rules:
        was_asked = post.has_content or rule.needs == "envelope"
        verdict = rule.judge(post, policy) if was_asked else None
        findings.append(Finding(rule, was_asked, verdict, verdict is not None and verdict == decision))
    return tuple(findings)


def judge_data(
    destination: Destination, post: Post, view: View, *, is_report: bool = False
) -> Taken | Refused:
    """Answer the final dot for one recipient that RCPT took; a post that would be held or dropped is taken.

    `is_report`: the content is a multipart/report (RFC 6522). A list that is gone by now is unknown. Mail to the owners is refused for its size or by a header rule. Other purposes take everything: whether an
    automatic sender may confirm, join or leave is their runner's to say, since a refusal would be a bounce that tells nobody anything.
    """
    if destination.purpose != "post":
        is_bounce = is_report or not post.reverse_path
        return _judge_open(as_old_software_expects(destination, is_bounce), post, view)
    policy = view.policies.get(destination.list_id)
    if policy is None:
        return UNKNOWN_LIST
    if not any(may_refuse(post, policy) for may_refuse in _MAY_REFUSE):  # 1 us; nearly all mail ends here
        return Taken(destination, "nothing-to-refuse")
    verdict = judge_post(post, policy, DATA_RULES)
    if isinstance(verdict, Reject):
        return Refused(verdict.code, verdict.enhanced, verdict.text, verdict.rule)
    return Taken(destination, verdict.rule)


def _judge_open(destination: Destination, post: Post, view: View) -> Taken | Refused:
    policy = view.policies.get(destination.list_id) if destination.purpose in OWNER_PURPOSES else None
    verdict = None if policy is None else judge_owner_mail(post, policy)
    if isinstance(verdict, Reject):
        return Refused(verdict.code, verdict.enhanced, verdict.text, verdict.rule)
    return Taken(destination, "open-address")
