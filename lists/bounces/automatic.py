"""Mail to LIST-bounces@ that software wrote and that is no bounce: out of office, challenges, "we got your mail". Pure.

It says that the address works. RFC 3834's fields are believed first, then the phrases that people's programs put into subjects; a DSN is asked about
before, since it carries Auto-Submitted too.
"""

import re
from email.errors import HeaderParseError
from email.header import decode_header
from email.message import Message
from typing import Final

from lists.bounces.parts import field

MAX_SUBJECT: Final = 300  # characters looked at

_SUBJECT: Final = re.compile(
    r"out of (?:the )?office|auto(?:matic)?[- ]?(?:reply|response|responder|antwort)|autorespon[ds]|auto:|automat(?:ische|ic) antwort"
    r"|on vacation|vacation (?:message|reply|notice)|away from (?:my|the) (?:mail|office|desk)|i am away|(?:am|bin) (?:nicht im|ausser) "
    r"|abwesen(?:d|heit)|abwezig|absen(?:t|ce) (?:du bureau|de|from)|fuori (?:sede|ufficio)|fora do escrit|fuera de la oficina|autoodpowied|automatyczna odpowied|nieobecn"
    r"|confirm (?:your|that you)|please (?:confirm|verify)|verification (?:required|request)|challenge|whitelist|spam ?arrest|boxbe|action required:"
    r"|(?:we|have) received your (?:mail|message|e-mail|request)|ticket (?:#|received)|thank you for (?:contacting|your)|unmonitored|no longer (?:monitored|used)",
    re.IGNORECASE,
)


_MAILER: Final = re.compile(
    r"mailer-daemon|postmaster@|mail ?(?:er|delivery) (?:sub)?system|delivery subsystem", re.IGNORECASE
)


def why_automatic(message: Message) -> str:
    """Return why this is an automatic reply and no bounce, "" when nothing says so.

    What comes from a mailer is never one: older MTAs mark their bounces with Auto-Submitted: auto-replied, too.
    """
    if is_from_mailer(message):
        return ""
    submitted = field(message, "auto-submitted").lower()
    if submitted.startswith(("auto-replied", "auto-notified")):
        return "auto-submitted"
    for name in ("x-autoreply", "x-autorespond", "x-autoreply-from", "x-mail-autoreply"):
        value = field(message, name).lower()
        if value and value not in ("no", "false"):
            return name
    if field(message, "precedence").lower() in ("auto_reply", "auto-reply"):
        return "precedence"
    if field(message, "x-precedence").lower() == "auto_reply":
        return "x-precedence"
    return "subject" if _SUBJECT.search(_shown_subject(message)) else ""


def is_from_mailer(message: Message) -> bool:
    """Does From: name the software that delivers mail?"""
    return _MAILER.search(field(message, "from")) is not None


def _shown_subject(message: Message) -> str:
    raw = field(message, "subject")[: 3 * MAX_SUBJECT]
    try:
        words = [
            part if isinstance(part, str) else part.decode(charset or "ascii", "replace")
            for part, charset in decode_header(raw)
        ]
    except (HeaderParseError, LookupError, ValueError):
        return raw[:MAX_SUBJECT]
    return "".join(words)[:MAX_SUBJECT]
