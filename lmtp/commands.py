"""The command parser, the only one: one line of octets in, one command or the reply that refuses it out.

Pure. It knows the grammar (RFC 5321 4.1.1, RFC 2033, 1870, 3207, 6152, 6531; xforward.py) and nothing of the session: the order of commands, limits and
policy are dialogue.py's. UTF-8 and 8-bit content are taken whether declared or not, since Exim and OpenSMTPD do not declare them.
"""

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Final

from msgspec import Struct

from lmtp import replies
from lmtp.addresses import RECIPIENT, SENDER, PathParser, read_path, split_path
from lmtp.replies import Reply
from lmtp.xforward import Value, read_attributes

MAX_COMMAND: Final = (
    2048  # octets with CRLF; RFC 5321 4.5.3.1.4 asks for 512 and more for parameters (Postfix: 2048)
)
MAX_NAME: Final = 255  # octets of a client's name in LHLO
KEPT: Final = 1000  # lines that are known without reading them again (0.2 us in place of 2), those used last
MAX_KEPT: Final = 200  # octets of such a line: all of them take some 0.6 MiB at most


class Lhlo(Struct, frozen=True):
    """The client says its name."""

    name: str


class Mail(Struct, frozen=True):
    """A transaction begins; `size` is the client's estimate in octets, 0 when it gave none."""

    reverse_path: str
    size: int = 0


class Rcpt(Struct, frozen=True):
    """One recipient, as sent."""

    recipient: str


class StartTls(Struct, frozen=True):
    """The client wants to go on in TLS, RFC 3207."""


class Xforward(Struct, frozen=True):
    """The client says for whom it speaks."""

    given: dict[str, Value]


class Data(Struct, frozen=True):
    """The message follows."""


class Rset(Struct, frozen=True):
    """Forget the transaction."""


class Noop(Struct, frozen=True):
    """Do nothing."""


class Vrfy(Struct, frozen=True):
    """Ask about an address; we never tell."""


class Quit(Struct, frozen=True):
    """The client leaves."""


Command = Lhlo | StartTls | Xforward | Mail | Rcpt | Data | Rset | Noop | Vrfy | Quit

_STARTTLS, _DATA, _RSET, _NOOP, _VRFY, _QUIT = StartTls(), Data(), Rset(), Noop(), Vrfy(), Quit()
_control = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]").search  # HT is space enough for Sendmail
_parameter = re.compile(
    rb"([A-Za-z0-9][A-Za-z0-9-]*)(?:=([!-<>-~\x80-\xff]+))?"
).fullmatch  # RFC 5321 4.1.2, esmtp-param


def parse(line: bytes, parse_odd: PathParser) -> Command | Reply:
    """Read one command. `line` ends with LF; only CR LF is a line end (RFC 5321 2.3.8).

    What a line means depends on nothing else, and most lines have come before: DATA, RSET, the recipients of a site, a callout and its mail.
    """
    return _parse_again(line, parse_odd) if len(line) <= MAX_KEPT else _parse(line, parse_odd)


def _parse(line: bytes, parse_odd: PathParser) -> Command | Reply:
    if len(line) > MAX_COMMAND:
        return replies.LINE_TOO_LONG
    if line[-2:] != b"\r\n":
        return replies.TLS if is_tls(line) else replies.BARE_LF
    line = line[:-2]
    if _control(line):
        return replies.TLS if is_tls(line) else replies.BAD_SYNTAX
    verb, _, argument = line.partition(b" ")
    read = _VERBS.get(verb.upper())
    return read(argument.lstrip(), parse_odd) if read else replies.UNKNOWN_COMMAND


_parse_again = lru_cache(maxsize=KEPT)(_parse)


def is_tls(octets: bytes, at: int = 0) -> bool:
    """Whether a TLS client says hello here: a handshake record (RFC 8446 5.1), which may have no line end and so wait for ever."""
    return octets.startswith(b"\x16\x03", at)


def _read_mail(argument: bytes, parse_odd: PathParser) -> Command | Reply:
    split = split_path(argument[5:]) if argument[:5].upper() == b"FROM:" else None
    if split is None:
        return replies.MAIL_SYNTAX
    path, parameters = split
    reverse_path = "" if path == b"<>" else read_path(path, SENDER, parse_odd)  # RFC 5321 4.5.5
    if reverse_path is None:
        return replies.BAD_SENDER
    if not parameters:
        return Mail(reverse_path)
    size = _read_mail_parameters(parameters)
    return size if isinstance(size, Reply) else Mail(reverse_path, size)


def _read_mail_parameters(parameters: bytes) -> int | Reply:
    given = _split_parameters(parameters)
    if given is None:
        return replies.BAD_PARAMETER
    size = given.pop(b"SIZE", b"0")  # RFC 1870 5: 1 to 20 digits
    body = given.pop(b"BODY", b"7BIT")
    declared = given.pop(b"SMTPUTF8", None)
    if given:
        return replies.UNKNOWN_PARAMETER
    if declared is not None or not size or not size.isdigit() or len(size) > 20:
        return replies.BAD_PARAMETER
    return int(size) if body and body.upper() in (b"7BIT", b"8BITMIME") else replies.BAD_PARAMETER


def _split_parameters(parameters: bytes) -> dict[bytes, bytes | None] | None:
    given: dict[bytes, bytes | None] = {}
    for word in parameters.split():
        match = _parameter(word)
        if match is None or match[1].upper() in given:
            return None
        given[match[1].upper()] = match[2]
    return given


def _read_rcpt(argument: bytes, parse_odd: PathParser) -> Command | Reply:
    split = split_path(argument[3:]) if argument[:3].upper() == b"TO:" else None
    if split is None:
        return replies.RCPT_SYNTAX
    path, parameters = split
    if path[1:-1].lower() == b"postmaster":
        recipient: str | None = "postmaster"  # the one address without a domain, RFC 5321 4.1.1.3
    else:
        recipient = read_path(path, RECIPIENT, parse_odd)
    if recipient is None:
        return replies.BAD_RECIPIENT
    if not parameters:
        return Rcpt(recipient)
    return replies.BAD_PARAMETER if _split_parameters(parameters) is None else replies.UNKNOWN_PARAMETER


def _read_lhlo(argument: bytes, _: PathParser) -> Command | Reply:
    words = argument.split()
    if len(words) != 1 or len(words[0]) > MAX_NAME:  # a name without a dot is what OpenSMTPD sends
        return replies.LHLO_SYNTAX
    try:
        name = words[0].decode()
    except UnicodeDecodeError:
        return replies.BAD_SYNTAX
    return Lhlo(name) if name.isprintable() else replies.BAD_SYNTAX  # C1 controls, line separators


def _read_xforward(argument: bytes, _: PathParser) -> Command | Reply:
    given = read_attributes(argument)
    return replies.XFORWARD_SYNTAX if given is None else Xforward(given)


def _bare(command: Command) -> Callable[[bytes, PathParser], Command | Reply]:
    def read(argument: bytes, _: PathParser) -> Command | Reply:
        return replies.NO_ARGUMENT if argument.strip() else command

    return read


def _always(answer: Command | Reply) -> Callable[[bytes, PathParser], Command | Reply]:
    return lambda argument, _: answer


def _read_vrfy(argument: bytes, _: PathParser) -> Command | Reply:
    return _VRFY if argument.strip() else replies.BAD_ARGUMENT


_VERBS: Final[dict[bytes, Callable[[bytes, PathParser], Command | Reply]]] = {
    b"LHLO": _read_lhlo,
    b"STARTTLS": _bare(_STARTTLS),
    b"XFORWARD": _read_xforward,
    b"MAIL": _read_mail,
    b"RCPT": _read_rcpt,
    b"DATA": _bare(_DATA),
    b"RSET": _bare(_RSET),
    b"NOOP": _always(_NOOP),
    b"VRFY": _read_vrfy,
    b"QUIT": _bare(_QUIT),
    b"HELO": _always(replies.NOT_LMTP),  # RFC 2033 4.1: must not be accepted
    b"EHLO": _always(replies.NOT_LMTP),
    **dict.fromkeys(
        (b"EXPN", b"HELP", b"AUTH", b"BDAT", b"TURN", b"ETRN"),
        _always(replies.NOT_IMPLEMENTED),
    ),
    # A browser on this host can be made to send us what an attacker wrote, as the body of a POST: the session ends at its first line, as it does
    # with Postfix (smtpd_forbidden_commands) and Redis (POST, Host:).
    **dict.fromkeys(
        (b"CONNECT", b"DELETE", b"GET", b"HEAD", b"OPTIONS", b"PATCH", b"POST", b"PRI", b"PUT", b"TRACE"),
        _always(replies.HTTP),
    ),
}
