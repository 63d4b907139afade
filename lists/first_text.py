"""The text of a mail as far as commands may stand in it: the first text/plain part, decoded, under limits. Pure; never raises.

A charset that does not exist, or is none that mail is written in, is read as UTF-8 with replacements: the commands themselves are ASCII.
"""

from email.message import Message
from typing import Final

from lists.bounces.parts import Unreadable, find_part, parse_message
from lists.header_values import decode_text

MAX_CONTENT: Final = 256 * 1024  # octets of a mail that are looked at; commands stand at its top
MAX_TEXT: Final = 16 * 1024  # octets of text; ten commands are under one


def first_text(content: bytes) -> str:
    """Return the first text/plain part, "" when there is none that can be read."""
    try:
        part = find_part(parse_message(content[:MAX_CONTENT]), "text/plain")
    except Unreadable:
        return ""
    if part is None or part.is_multipart():
        return ""
    return decode_text(_octets(part)[:MAX_TEXT], _charset(part))


def _octets(part: Message) -> bytes:
    try:
        octets = part.get_payload(decode=True)
    except (ValueError, LookupError, AttributeError):
        return b""
    return octets if isinstance(octets, bytes) else b""


def _charset(part: Message) -> str:
    try:
        return str(part.get_content_charset("utf-8"))
    except (ValueError, LookupError, AttributeError, TypeError):
        return "utf-8"
