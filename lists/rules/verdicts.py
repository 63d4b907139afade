"""What can become of a post, and the replies of those verdicts that are told in the dialogue.

A text states a fact about this message or its sender and says what would help; never an option's value, never who is a member.
"""

from msgspec import Struct

from lists.policy import Refused


class Accept(Struct, frozen=True):
    """The post goes out, unless a later rule objects; `at_once`: no later rule is asked that may be skipped."""

    rule: str
    at_once: bool = False


class Hold(Struct, frozen=True):
    """The post waits for a moderator."""

    rule: str


class Reject(Struct, frozen=True):
    """The post is refused; at the end of DATA this is the reply."""

    rule: str
    code: int
    enhanced: str  # RFC 3463
    text: str


class Discard(Struct, frozen=True):
    """The post is dropped, and the log names the rule."""

    rule: str


Verdict = Accept | Hold | Reject | Discard

NO_SENDER = Refused(550, "5.7.1", "A post to a list needs a sender that can be answered", "null-sender")
TOO_BIG = Refused(552, "5.3.4", "Message is too big for this list", "max-message-size")
MODERATED = Refused(550, "5.7.1", "Posts of this sender are not taken by this list", "member-moderation")
AUTOMATIC = Refused(550, "5.7.1", "This list does not take automatic mail", "auto-submitted")
BULK = Refused(
    550, "5.7.1", "This list does not take mail with Precedence bulk, junk or list", "bulk-precedence"
)
MALFORMED_FROM = Refused(
    550, "5.6.0", "This list needs one From field with a valid address (RFC 5322 3.6)", "malformed-from"
)
NO_SUBJECT = Refused(550, "5.6.0", "This list does not take mail without a subject", "no-subject")


def act(action: str, rule: str, refusal: Refused) -> Verdict | None:
    """Turn the action of an option into a verdict; "defer" has no opinion."""
    match action:
        case "accept":
            return Accept(rule)
        case "hold":
            return Hold(rule)
        case "discard":
            return Discard(rule)
        case "reject":
            return reject(refusal, rule)
        case "defer":
            return None
        case (
            _
        ):  # the store holds what options.py has checked: ours, so it must not decide about anybody's mail
            raise ValueError(f"no such action: {action!r}")


def object_by(action: str, rule: str, refusal: Refused) -> Verdict | None:
    """Turn the action of a rule about the message itself into a verdict; "accept" says nothing for the sender, so it has no opinion."""
    return None if action == "accept" else act(action, rule, refusal)


def reject(refusal: Refused, rule: str = "") -> Reject:
    """Make the verdict that is told with this reply."""
    return Reject(rule or refusal.rule, refusal.code, refusal.enhanced, refusal.text)
