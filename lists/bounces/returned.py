"""Mail that came back without saying of whom: by its envelope or its shape it is a bounce, and nothing in it can be read further. Pure.

With a signed token as its recipient it is about that member all the same: the token went to one address alone, and what comes back to it with
the null reverse-path (RFC 5321 4.5.5) is a notification. Automatic replies and receipts are asked about before; what speaks of a delay
is no failure, whatever its shape.
"""

import re
from email.message import Message
from typing import Final

from lists.bounces.automatic import is_from_mailer
from lists.bounces.failure import Failure, is_transient, make_failure
from lists.bounces.parts import AROUND, field, own_text

_DELAY: Final = re.compile(
    r"delay|warning|still (?:being )?(?:trying|retried|queued)|not yet (?:been )?deliver|could not yet|temporar"
    r"|(?:continue|keep|go on) (?:to )?try|try(?:ing)? again|will be (?:re)?tried|wird weiter(?:hin)? versucht|verz(?:ö|oe|o)ger",
    re.IGNORECASE,
)


_FAILED: Final = re.compile(
    r"undeliver|fail|reject|refus|bounce|returned|unknown|(?:not|n't|unable to|impossible to) (?:be )?deliver|no such|invalid|unzustellbar|zugestellt"
    r"|non (?:remis|distribu)|no se (?:ha |pudo )|(?<!\d)55\d(?!\d)|(?<!\d)5\.\d{1,3}\.\d",
    re.IGNORECASE,
)


def find_return(message: Message, reverse_path: str) -> Failure | None:
    """Return the failure of nobody in particular that a mail stands for; None when it may as well be a person's, or is about a delay."""
    has_shape = message.get_content_type() == "multipart/report" or is_from_mailer(message)
    text = f"{field(message, 'subject')}\n{own_text(message, AROUND)}"
    if not has_shape and (reverse_path or not _FAILED.search(text)):  # older vacation programs send so, too
        return None
    if _DELAY.search(text) or is_transient(text):
        return None
    return make_failure((), "", text, permanent=True)
