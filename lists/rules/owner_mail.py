"""What becomes of mail to the people behind a list: LIST-owner@ and LIST-admin@. Pure.

Anybody may write there, the banned too: it is where they can ask why. So only what protects the people counts: a size, and the list's own header rules as far as they
refuse or drop. A rule that holds posts does not hold this: it goes to the very people who would look.
"""

from lists.policy import ListPolicy, Refused
from lists.posts import Post
from lists.rules.contents import HEADER_RULES
from lists.rules.verdicts import Discard, Reject, Verdict, reject

OWNER_PURPOSES = frozenset({"owner", "admin"})
TOO_BIG = Refused(552, "5.3.4", "Message is too big for the owners of this list", "owner-max-size")
_HEADER_MATCHES = HEADER_RULES[0]


def judge_owner_mail(post: Post, policy: ListPolicy) -> Verdict | None:
    """Return why mail to the owners is refused or dropped, None when it goes on to them."""
    if 0 < policy.mailing_list.settings.owner_max_size < post.size:
        return reject(TOO_BIG)
    verdict = _HEADER_MATCHES.judge(post, policy) if policy.header_patterns else None
    return verdict if isinstance(verdict, Reject | Discard) else None
