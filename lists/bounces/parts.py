"""A message as MIME parts, read behind guards: size, number and depth of parts are bounded, and nothing raises. Pure.

The standard parser takes whatever it is given, and ends in a RecursionError on 1,500 nested parts or in minutes on a hundred thousand; a bounce is written
by strangers. What is cut off is the end: the returned mail, which nobody reads here but for its header.
"""

import email
import re
from collections.abc import Iterator
from email.errors import MessageError
from email.message import Message
from email.policy import compat32
from typing import Final

MAX_READ: Final = 1024 * 1024  # octets parsed; the report of a DSN stands before the returned mail
MAX_PARTS: Final = 1000  # lines that may be a boundary; real bounces have under ten
MAX_CONTAINERS: Final = 60  # multipart and message types named; nesting cannot be deeper
AROUND: Final = 600  # characters behind an address in which its reason is looked for
MAX_RECIPIENTS: Final = 1000  # in one report; RFC 5321 4.5.3.1.8 asks servers for 100 in one mail

_boundary = re.compile(rb"^--[^\r\n]", re.MULTILINE)
_container = re.compile(rb"^content-type:\s*(?:multipart|message)/", re.MULTILINE | re.IGNORECASE)
_recipient = re.compile(rb"^(?:final|original)-recipient:", re.MULTILINE | re.IGNORECASE)


class Unreadable(Exception):
    """A message that is not parsed; str() says why."""


def parse_message(content: bytes) -> Message:
    """Parse the first MAX_READ octets; raises Unreadable for what no mail program makes."""
    content = _cut(content[:MAX_READ])
    if _count(_boundary, content, MAX_PARTS) > MAX_PARTS:
        raise Unreadable(f"more than {MAX_PARTS} MIME parts")
    if _count(_container, content, MAX_CONTAINERS) > MAX_CONTAINERS:
        raise Unreadable(f"more than {MAX_CONTAINERS} parts with parts in them")
    try:
        return email.message_from_bytes(content, policy=compat32)
    except (RecursionError, MessageError, ValueError, LookupError, AttributeError) as error:
        raise Unreadable(f"the MIME parser failed: {type(error).__name__}") from error


def _cut(content: bytes) -> bytes:
    """Leave off what comes behind the last recipient that is looked at."""
    for number, found in enumerate(_recipient.finditer(content)):
        if number >= 2 * MAX_RECIPIENTS:
            return content[: found.start()]
    return content


def _count(pattern: re.Pattern[bytes], content: bytes, limit: int) -> int:
    number = 0
    for number, _ in enumerate(pattern.finditer(content), 1):
        if number > limit:
            break
    return number


def find_part(message: Message, content_type: str) -> Message | None:
    """Return the first part of a type, not looking into returned messages; None when there is none."""
    return next((part for part in own_parts(message) if part.get_content_type() == content_type), None)


def own_parts(message: Message) -> Iterator[Message]:
    """Yield the parts in order; of a part that is a message itself nothing further."""
    yield message
    if message.get_content_maintype() == "multipart" and message.is_multipart():
        for part in message.get_payload():
            if isinstance(part, Message):
                yield from own_parts(part)


def field(message: Message, name: str) -> str:
    """Return a field's value as one line of text, "" when there is none; 8-bit and folding are no trouble."""
    value = message.get(name)
    return "" if value is None else " ".join(str(value).split())


def text_of(part: Message, limit: int) -> str:
    """Return the text of a part, at most `limit` characters, whatever its charset says."""
    try:
        octets = part.get_payload(decode=True)
    except (ValueError, LookupError):
        return ""
    return octets[: 4 * limit].decode("utf-8", "replace")[:limit] if isinstance(octets, bytes) else ""


def own_text(message: Message, limit: int) -> str:
    """Return what is written to a person, of all text parts."""
    texts = (part for part in own_parts(message) if part.get_content_maintype() == "text")
    return "\n".join(text_of(part, limit) for part in texts if not part.is_multipart())


def words_about(address: str, text: str) -> str:
    """Return what a text says of an address: its line ("mailbox is full: <anne@...>"), and what stands behind it, as in most bounces.

    The beginning of the text when it does not name it.
    """
    at = text.lower().find(address.lower())
    if at < 0:
        return text[:AROUND]
    line = text.rfind("\n", 0, at) + 1
    return f"{text[max(line, at - AROUND) : at]} {text[at + len(address) : at + len(address) + AROUND]}"


def returned_header(message: Message) -> Message | None:
    """Return the header of the mail that came back (RFC 3462: the third part of a report), None when there is none."""
    for part in own_parts(message):
        if part.get_content_type() == "message/rfc822" and part.is_multipart():
            inner = part.get_payload(0)
            return inner if isinstance(inner, Message) else None
        if part.get_content_type() in ("text/rfc822-headers", "message/rfc822-headers"):
            return email.message_from_string(text_of(part, 64 * 1024), policy=compat32)
    return None
