"""Edits the header of a message as octets, so that what is not edited leaves byte for byte as it came.

Signatures (DKIM, ARC) survive only that way: a parse and print by `email` changes every third real message, and crashes on
some. Trusts nothing. Leaves the reading to lists/headers.py, which the front-end shares (its names can be had from here too), and
which fields a list wants to rewriting.py.
"""

import binascii
from collections.abc import Callable, Iterable, Mapping, Sequence

from lists.header_values import MAX_SHOWN, shown_text
from lists.headers import MAX_HEADER, Field, Header, read_header

__all__ = ["MAX_HEADER", "Field", "Header", "edit_header", "prefix_subject", "read_header"]


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


# RFC 2047: a prefix in a subject ------------------------------------------------------------------------------------


def prefix_subject(prefix: str) -> Callable[[bytes], bytes]:
    """Make a `change` for Subject that puts `prefix` first, unless it is there already (as in "Re: [ant] hello").

    A prefix beyond ASCII is an encoded word with its space inside, since white space between two of them is not shown (RFC 2047 6.2).
    """
    wanted = prefix.strip()
    plain = wanted.isascii() and "=?" not in wanted
    start = (wanted + " ").encode("ascii") if plain else _encoded_word(wanted + " ")

    def change(value: bytes) -> bytes:
        if wanted.casefold() in shown_text(value[:MAX_SHOWN]).casefold() or start.strip() in value:
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
