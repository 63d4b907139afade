"""The paths of MAIL and RCPT (RFC 5321 4.1.2, RFC 6531 3.3): octets in, an address as text out, or None.

A strict expression takes what nearly every client sends, in half a microsecond. What it does not match (source routes, spaces
inside the brackets, quoting that needs none) goes to aiosmtpd's parser, 100 times slower (it runs email._header_value_parser), which is
too friendly: it takes "<l>", "<a@b", NUL in a local part, and makes "a b" of a b. So its answer must match the strict expression
too. Whose address it is, and whether we know it, is for lists/.
"""

import re
from collections.abc import Callable
from typing import Final, Protocol

MAX_ADDRESS: Final = 320  # octets: 64 + "@" + 255 (RFC 5321 4.5.3.1). VERP and SRS make local parts over 64 every day, so that is no limit of its own
MAX_DOMAIN: Final = 255  # octets, RFC 5321 4.5.3.1.2
MAX_PATH: Final = 640  # octets of a path with its source route, which is thrown away; email's parser takes milliseconds for longer ones

# Atom, Quoted-string, Domain and address-literal, with UTF-8 where RFC 6531 3.3 lets it in. An underscore in a domain is no LDH, but in use.
_ATOM = rb"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\x80-\xff-]+"
_DOT_STRING = _ATOM + rb"(?:\." + _ATOM + rb")*"
_QUOTED = rb'"(?:[ !#-\[\]-~\x80-\xff]|\\[ -~])*"'
_LABEL = rb"[A-Za-z0-9_\x80-\xff](?:[A-Za-z0-9_\x80-\xff-]*[A-Za-z0-9_\x80-\xff])?"
_DOMAIN = _LABEL + rb"(?:\." + _LABEL + rb")*"
_LITERAL = rb"\[[A-Za-z0-9:.-]+\]"

_HOST = rb"@(" + _DOMAIN + rb"|" + _LITERAL + rb")"
_RECIPIENT = rb"(" + _DOT_STRING + rb"|" + _QUOTED + rb")" + _HOST
# As a sender an address may have dots anywhere: ".anne..b.@docomo.example" is wrong, but people have it and MTAs take it.
_SENDER = rb"([A-Za-z0-9!#$%&'*+/=?^_`{|}~.\x80-\xff-]+|" + _QUOTED + rb")" + _HOST

Grammar = Callable[[bytes], "re.Match[bytes] | None"]
SENDER: Final[Grammar] = re.compile(_SENDER).fullmatch
RECIPIENT: Final[Grammar] = re.compile(_RECIPIENT).fullmatch
_dot_string = re.compile(_DOT_STRING).fullmatch
# Nobody has them in an address, and on a terminal they make it look like another: C1 controls, line separators, changes of direction.
_unfit = re.compile("[\x80-\x9f\u2028-\u202e\u2066-\u2069]").search
# A path as a whole: "<" ... ">" where ">" inside a quoted string does not end it; then the end or a space and parameters.
_framed = re.compile(rb'[ \t]*(<(?:"(?:[^"\\]|\\.)*"|[^"<>\\])*>)(?:[ \t]+(.*))?', re.DOTALL).fullmatch


class PathParser(Protocol):
    """aiosmtpd's parser: (address, rest), with None for what is not an address."""

    def __call__(self, argument: str, /) -> tuple[str | None, str | None]: ...
    def __hash__(self) -> int: ...  # lines once parsed are known by it (commands.py)


def split_path(argument: bytes) -> tuple[bytes, bytes] | None:
    """Part what follows "FROM:" or "TO:" into path and parameters; None when the brackets are missing."""
    frame = _framed(argument)
    return (frame[1], frame[2] or b"") if frame else None


def read_path(path: bytes, grammar: Grammar, parse_odd: PathParser) -> str | None:
    """Read the mailbox of "<...>"; None for what is not one. `path` has its brackets.

    A source route is dropped (RFC 5321 4.1.1.3), quotes that are not needed too (4.1.2).
    """
    mailbox = path[1:-1]
    address = _read_mailbox(mailbox, grammar)
    if address is None and len(path) <= MAX_PATH and not _is_hopeless(mailbox):
        address = _read_odd(path, grammar, parse_odd)
    return address


def _read_mailbox(mailbox: bytes, grammar: Grammar) -> str | None:
    match = grammar(mailbox)
    if match is None or len(mailbox) > MAX_ADDRESS or len(match[2]) > MAX_DOMAIN:
        return None
    if mailbox[0] == 0x22 and _dot_string(bare := match[1][1:-1]):
        mailbox = bare + b"@" + match[2]
    try:
        address = mailbox.decode()
    except UnicodeDecodeError:
        return None
    return None if not address.isascii() and _unfit(address) else address


def _is_hopeless(mailbox: bytes) -> bool:
    # Comments are no part of a path, and a thousand of them nested exhaust the parser's stack. Encoded words mean nothing here, but the parser decodes
    # them: to another address, or to what is no UTF-8. No control octet is allowed anywhere.
    return (
        b"@" not in mailbox
        or b"(" in mailbox
        or b"=?" in mailbox
        or _is_too_long(mailbox)
        or any(octet < 0x20 or octet == 0x7F for octet in mailbox)
    )


def _is_too_long(mailbox: bytes) -> bool:
    """Whether what stands behind a source route is longer than any address: the parser need not be asked, and is slow."""
    return len(mailbox.rpartition(b":")[2] if mailbox.startswith(b"@") else mailbox) > MAX_ADDRESS


def _read_odd(path: bytes, grammar: Grammar, parse_odd: PathParser) -> str | None:
    try:
        address, rest = parse_odd(path.decode())
    except (
        ValueError,
        LookupError,
        AttributeError,
        RecursionError,
    ):  # what email's parser raises on hostile input
        return None
    if (
        not address or rest or ('"' in address and b'"' not in path)
    ):  # it puts quotes round what has a bare space
        return None
    return _read_mailbox(address.encode(), grammar)


def parse_odd(argument: str, /) -> tuple[str | None, str | None]:
    """Parse as aiosmtpd does: the PathParser of sessions and commands. Raises what email's parser raises on hostile input."""
    from aiosmtpd.smtp import SMTP  # 0.1 s, and bin/postroom hardly ever needs it

    found: tuple[str | None, str | None] = SMTP._getaddr(_NoSession(), argument)  # type: ignore[arg-type]
    return found


class _NoSession:
    """All that the parser looks at of a session."""

    local_part_limit = 0
