"""Finds the header fields of a message as octets, under limits: the one reader of the front-end and of every runner.

Trusts nothing: any octets are a message here, and what looks like no header field ends the header. It never looks at the body, so nesting
has no depth; it never raises. What a field says is header_values.py's, changing a header runners/headers.py's.
"""

import re

from msgspec import Struct

MAX_HEADER = 256 * 1024  # octets; Postfix header_size_limit cuts at 100 KiB, Exim's header_maxsize is 1 MiB
MAX_FIELDS = 2000  # of one header, 2 ms; a post that has crossed ten sites has a hundred. Python's http.client takes 100, Apache httpd 100

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
    too_long: bool = False  # over MAX_HEADER or MAX_FIELDS: `fields` are what came before
    names: frozenset[str] = frozenset()  # of the fields: most names that are asked for are not there

    def values(self, name: str) -> list[bytes]:
        """Return the value of each field of this (lower-case) name, in order."""
        if name not in self.names:
            return []
        return [field.value for field in self.fields if field.name == name]


def read_header(content: bytes, limit: int = MAX_HEADER, max_fields: int = MAX_FIELDS) -> Header:
    """Find the header fields in the first `limit` octets; never looks at the body, never raises."""
    mbox = _MBOX_LINE.match(content, 0, limit)
    position = mbox.end() if mbox else 0
    fields: list[Field] = []
    found = _FIELD.match(content, position, limit)
    while found is not None and len(fields) < max_fields:
        fields.append(Field(found[1].lower().decode("ascii"), found[0]))
        position = found.end()
        found = _FIELD.match(content, position, limit)
    return Header(
        fields=tuple(fields),
        rest=position,
        line_end=_line_end(content, position),
        too_long=position >= limit or found is not None,
        names=frozenset([field.name for field in fields]),
    )


def _line_end(content: bytes, rest: int) -> bytes:
    """Return the line end that this header uses: CRLF, unless it has bare LF alone."""
    top = content[: rest + 2]
    return b"\n" if b"\n" in top and b"\r\n" not in top else b"\r\n"
