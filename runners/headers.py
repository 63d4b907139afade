"""Reads and edits the header of a message as octets, so that what is not edited leaves byte for byte as it came.

Signatures (DKIM, ARC) survive only that way: a parse and print by `email` changes every third real message, and crashes on
some. Trusts nothing: any octets are a message here; what looks like no header field ends the header. Leaves to others what
a field means (posts.py) and which fields a list wants (incoming.py).
"""

import binascii
import re
from collections.abc import Callable, Iterable, Mapping, Sequence

from msgspec import Struct

MAX_HEADER = 256 * 1024  # octets; Postfix header_size_limit cuts at 100 KiB, Exim's header_maxsize is 1 MiB

# optional-field = field-name ":" unstructured CRLF (RFC 5322 3.6.8); a bare LF ends a line too, for a runner's own content
_FIELD = re.compile(rb"([!-9;-~]+)[ \t]*:[^\n]*(?:\n|\Z)(?:[ \t][^\n]*(?:\n|\Z))*")
_MBOX_LINE = re.compile(rb">?From [^\n]*\n")  # some MTAs' pipes put it first; it is no header field


class Field(Struct, frozen=True):
    """One header field as it stands: folding and line end included."""

    name: str  # lower case
    raw: bytes

    @property
    def value(self) -> bytes:
        """Return what follows the colon, unfolded (RFC 5322 2.2.3) and stripped."""
        return self.raw.partition(b":")[2].replace(b"\r", b"").replace(b"\n", b"").strip(b" \t")


class Header(Struct, frozen=True):
    """The header of one message. `rest` is where it ends: the empty line, or a body that none precedes."""

    fields: tuple[Field, ...]
    rest: int
    line_end: bytes = b"\r\n"
    too_long: bool = False  # over MAX_HEADER: `fields` are what came before

    def values(self, name: str) -> list[bytes]:
        """Return the value of each field of this (lower-case) name, in order."""
        return [field.value for field in self.fields if field.name == name]


def read_header(content: bytes, limit: int = MAX_HEADER) -> Header:
    """Find the header fields in the first `limit` octets; never looks at the body, never raises."""
    mbox = _MBOX_LINE.match(content, 0, limit)
    position = mbox.end() if mbox else 0
    fields = []
    while (found := _FIELD.match(content, position, limit)) is not None:
        fields.append(Field(found[1].lower().decode("ascii"), found[0]))
        position = found.end()
    return Header(
        fields=tuple(fields),
        rest=position,
        line_end=_line_end(content, position),
        too_long=position >= limit,
    )


def edit_header(
    content: bytes,
    header: Header,
    *,
    drop: Iterable[str] = (),
    add: Sequence[tuple[str, str]] = (),
    change: Mapping[str, Callable[[bytes], bytes]] | None = None,
) -> bytes:
    """Return the message without the fields in `drop`, with those of `add` behind the others; the body is untouched.

    `change` maps a name to what becomes of the raw value (folding included, without line end) of its first field; one
    that is not there is added if `change` makes something of b"". Values of `add` are ASCII without line ends.
    """
    dropped, changes = frozenset(drop), dict(change or {})
    lines = []
    for field in header.fields:
        if field.name not in dropped:
            alter = changes.pop(field.name, None)
            lines.append(_ended(field.raw if alter is None else _changed(field.raw, alter), header.line_end))
    for name, alter in changes.items():
        if value := alter(b""):
            lines.append(name.title().encode("ascii") + b": " + value + header.line_end)
    lines += [f"{name}: {value}".encode("ascii") + header.line_end for name, value in add]
    separator = (
        b"" if content[header.rest : header.rest + 2].startswith((b"\r\n", b"\n")) else header.line_end
    )
    return b"".join((*lines, separator, content[header.rest :]))


def _changed(raw: bytes, alter: Callable[[bytes], bytes]) -> bytes:
    """Give the value of a field to `alter`; a field that it leaves alone keeps every octet."""
    name, _, rest = raw.partition(b":")
    text = rest.rstrip(b"\r\n")
    value = text.lstrip(b" \t")
    altered = alter(value)
    return raw if altered == value else name + b": " + altered + rest[len(text) :]


def _ended(raw: bytes, line_end: bytes) -> bytes:
    """Close a field that the end of the message cut off."""
    return raw if raw.endswith(b"\n") else raw + line_end


def _line_end(content: bytes, rest: int) -> bytes:
    """Return the line end that this header uses: CRLF, unless it has bare LF alone."""
    top = content[: rest + 2]
    return b"\n" if b"\n" in top and b"\r\n" not in top else b"\r\n"


# RFC 2047: a prefix in a subject ------------------------------------------------------------------------------------

_ENCODED_WORD = re.compile(rb"=\?[!-<>@-~]+\?([bBqQ])\?([^? \t\r\n]*)\?=[ \t\r\n]*")
_LOOKED_AT = (
    2000  # octets of a subject searched for the prefix: decoding 20,000 encoded words took `email` 12 s
)


def prefix_subject(prefix: str) -> Callable[[bytes], bytes]:
    """Make a `change` for Subject that puts `prefix` first, unless it is there already (as in "Re: [ant] hello").

    A prefix beyond ASCII is an encoded word with its space inside, since white space between two of them is not shown (RFC 2047 6.2).
    """
    wanted = prefix.strip()
    plain = wanted.isascii() and "=?" not in wanted
    start = (wanted + " ").encode("ascii") if plain else _encoded_word(wanted + " ")

    def change(value: bytes) -> bytes:
        if wanted.casefold() in shown_value(value).casefold() or start.strip() in value:
            return value
        return start + (value or b"(no subject)")

    return change


def _encoded_word(text: str) -> bytes:
    """Write text as encoded words in base64 of UTF-8, each of at most 75 octets (RFC 2047 2)."""
    words, piece = [], ""
    for character in text:
        if len((piece + character).encode()) > 45:  # 60 octets in base64, and 12 around them
            words.append(piece)
            piece = ""
        piece += character
    return b" ".join(b"=?utf-8?b?" + _base64(word.encode()) + b"?=" for word in (*words, piece)) + b" "


def _base64(data: bytes) -> bytes:
    return binascii.b2a_base64(data, newline=False)


def shown_value(value: bytes) -> str:
    """Return roughly what a reader sees of a subject, from its first octets; unknown charsets are read as UTF-8."""

    def decoded(word: re.Match[bytes]) -> bytes:
        try:
            return binascii.a2b_base64(word[2]) if word[1] in b"bB" else binascii.a2b_qp(word[2], header=True)
        except binascii.Error:
            return word[0]

    return _ENCODED_WORD.sub(decoded, value[:_LOOKED_AT]).decode("utf-8", "replace")
