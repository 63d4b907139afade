"""Rules about the message itself: its size, its header fields, whom it names."""

from lists.mailbox import address_key, is_address
from lists.policy import ListPolicy, Refused
from lists.posts import Post
from lists.rules.rule import Rule
from lists.rules.verdicts import (
    MALFORMED_FROM,
    NO_SUBJECT,
    TOO_BIG,
    Accept,
    Hold,
    Verdict,
    act,
    object_by,
    reject,
)

HEADER_MATCHES = "header-matches"
EXPLICIT_DESTINATION = "explicit-destination"


def _too_big(post: Post, policy: ListPolicy) -> Verdict | None:
    return reject(TOO_BIG) if _is_too_big(post, policy) else None


def _is_too_big(post: Post, policy: ListPolicy) -> bool:
    return 0 < policy.mailing_list.settings.max_message_size < post.size


def _emergency(_: Post, policy: ListPolicy) -> Verdict | None:
    return Hold("emergency") if policy.mailing_list.settings.emergency else None


def _header_matches(post: Post, policy: ListPolicy) -> Verdict | None:
    for pattern in policy.header_patterns:
        if pattern.match(post.texts(pattern.name)):
            if pattern.action == "accept":
                return Accept(HEADER_MATCHES, at_once=True)
            text = f"This list does not take mail with this {pattern.name.title()} field"
            return act(pattern.action, HEADER_MATCHES, Refused(550, "5.7.1", text, HEADER_MATCHES))
    return None


def _may_refuse_field(post: Post, policy: ListPolicy) -> bool:
    return any(
        pattern.action == "reject" and post.may_have(pattern.name) for pattern in policy.header_patterns
    )


def _malformed_from(post: Post, policy: ListPolicy) -> Verdict | None:
    action = policy.mailing_list.settings.malformed_from_action
    if action == "accept" or (len(post.header.values("from")) == 1 and any(map(is_address, post.authors))):
        return None
    return object_by(action, "malformed-from", MALFORMED_FROM)


def _needs_from(_: Post, policy: ListPolicy) -> bool:
    return policy.mailing_list.settings.malformed_from_action == "reject"


def _no_subject(post: Post, policy: ListPolicy) -> Verdict | None:
    action = policy.mailing_list.settings.no_subject_action
    if action == "accept" or post.subject.strip():
        return None
    return object_by(action, "no-subject", NO_SUBJECT)


def _needs_subject(_: Post, policy: ListPolicy) -> bool:
    return policy.mailing_list.settings.no_subject_action == "reject"


def _too_many_recipients(post: Post, policy: ListPolicy) -> Verdict | None:
    limit = policy.mailing_list.settings.max_num_recipients
    return Hold("max-num-recipients") if 0 < limit <= len(post.recipients) else None


def _implicit_destination(post: Post, policy: ListPolicy) -> Verdict | None:
    mailing_list = policy.mailing_list
    if not mailing_list.settings.require_explicit_destination:
        return None
    ours = (mailing_list.address, *policy.other_addresses)
    named = (address_key(address) for address in post.recipients)
    if any(key in ours or policy.aliases.match(key) for key in named):
        return None
    return Hold(EXPLICIT_DESTINATION)


def _header_too_long(post: Post, _: ListPolicy) -> Verdict | None:
    """Let a person see what cannot be edited: the end of its header is not known."""
    return Hold("header-too-long") if post.header.too_long else None


SIZE_RULE = Rule("max-message-size", _too_big, "size", _is_too_big, ("max_message_size",))
EMERGENCY_RULE = Rule(
    "emergency",
    _emergency,
    "envelope",
    options=("emergency",),
    concerns=lambda policy: policy.mailing_list.settings.emergency,
)
HEADER_RULES = (
    Rule(
        HEADER_MATCHES,
        _header_matches,
        "header",
        _may_refuse_field,
        ("header_matches",),
        concerns=lambda policy: bool(policy.header_patterns),
    ),
    Rule(
        "malformed-from",
        _malformed_from,
        "header",
        _needs_from,
        ("malformed_from_action",),
        concerns=lambda policy: policy.mailing_list.settings.malformed_from_action != "accept",
    ),
)
SUBJECT_RULE = Rule(
    "no-subject",
    _no_subject,
    "header",
    _needs_subject,
    ("no_subject_action",),
    concerns=lambda policy: policy.mailing_list.settings.no_subject_action != "accept",
)
RECIPIENT_RULES = (
    Rule(
        "max-num-recipients",
        _too_many_recipients,
        "header",
        options=("max_num_recipients",),
        concerns=lambda policy: policy.mailing_list.settings.max_num_recipients > 0,
    ),
    Rule(
        EXPLICIT_DESTINATION,
        _implicit_destination,
        "header",
        options=("require_explicit_destination", "acceptable_aliases"),
        concerns=lambda policy: policy.mailing_list.settings.require_explicit_destination,
    ),
)
HEADER_TOO_LONG_RULE = Rule("header-too-long", _header_too_long, "header", can_be_skipped=False)
