"""Gathering a message between 354 and the final dot: whole chunks, never lines.

Only CR LF . CR LF ends a message (RFC 5321 4.1.1.4), and only behind CR LF is a dot unstuffed (4.5.2): both look at the octets of the wire, so
what is done about bare newlines can neither make nor hide an end. A bare CR or LF (2.3.8) is found, and with `normalize` made CR LF, before
anything else sees the message: size, limit, digest and content are of the same octets. Every other octet is kept. Octets are counted as
RFC 1870 counts them, without the stuffing and the final dot. Over the limit the rest is read and thrown away, so memory is bounded by the limit
and a client that sends an octet at a time costs no more. Digest and search run along, chunk by chunk, so nothing is left to do at the end but
one copy: no thread is needed for a large message. docs/mta-newlines.md tells what real MTAs send.
"""

from hashlib import blake2b
from typing import Final

from msgspec import Struct

DIGEST_SIZE: Final = 32
_END: Final = b"\r\n.\r\n"
_DOT: Final = b"\r\n."  # begins the end, or a line that was stuffed
_NO_NEWLINES: Final = bytes(octet for octet in range(256) if octet not in b"\r\n")
_START: Final = b"\r\n"  # the 354 ended a line: a message may begin with a stuffed dot, or be empty


class Message(Struct, frozen=True):
    """What lay between 354 and the final dot. Too big or given up: `content` is empty and `size` is what was counted."""

    content: bytes
    size: int  # octets, RFC 1870
    digest: bytes  # of the content
    too_big: bool
    bare_newline: bool  # the content has a CR without LF or an LF without CR; never when they are made CR LF
    given_up: bool = False  # it had to make room for others


class Gathering:
    """One message on its way in; with `normalize` each bare CR and each bare LF is made CR LF."""

    def __init__(self, max_size: int, *, normalize: bool = False) -> None:
        self._max_size = max_size
        self._normalize = normalize
        self._held = _START  # the end of what came, as long as it may be the beginning of _END
        self._skip = len(_START)  # octets at the front of _held that are no part of the message
        self._body: bytes | bytearray = b""  # as long as it came in one piece, that piece
        self._size = 0
        self._too_big = False
        self._given_up = False
        self._bare = False
        self._digest = blake2b(digest_size=DIGEST_SIZE)

    def feed(self, data: bytes, start: int) -> int:
        """Take octets from `start` on; return the position after the final dot, or -1 when it has not come yet."""
        chunk = self._held + (data[start:] if start else data)
        dot = chunk.find(_DOT)  # mostly the only search that looks at every octet
        end = dot if dot < 0 or chunk.startswith(_START, dot + len(_DOT)) else chunk.find(_END, dot)
        if end < 0:
            keep = _overlap(chunk)
            self._take(chunk[: len(chunk) - keep] if keep else chunk, has_dots=dot >= 0)
            self._held = chunk[len(chunk) - keep :] if keep else b""
            self._skip = max(0, self._skip - (len(chunk) - keep))
            return -1
        position = start + end + len(_END) - len(self._held)
        self._take(chunk[: end + 2], has_dots=dot < end)
        return position

    @property
    def held(self) -> int:
        """Octets that are kept."""
        return len(self._body)

    def give_up(self) -> None:
        """Throw away what has come and what comes; octets are still counted, and the end is still found."""
        self._given_up = True
        self._body = b""

    def message(self) -> Message:
        """Return the message; call it once, after `feed` has found the end."""
        content = bytes(self._body)  # which copies nothing but a bytearray
        self._body = b""
        return Message(content, self._size, self._digest.digest(), self._too_big, self._bare, self._given_up)

    def _take(self, part: bytes, *, has_dots: bool) -> None:
        """Unstuff, mend, count and keep. `part` never ends within the two octets of a CR LF nor between them and a dot.

        `has_dots`: a line of it may begin with a dot.
        """
        if has_dots:
            part = part.replace(_DOT, _START)
        if self._skip:
            part = part[self._skip :]
        if (bare := count_bare(part)) and self._normalize:
            part = mend(part)
        elif bare:
            self._bare = True
        self._size += len(part)
        if self._size > self._max_size:
            self._too_big = True
            self._body = b""
        if self._too_big or self._given_up:
            return
        self._digest.update(part)
        if not self._body:
            self._body = part
        elif isinstance(self._body, bytes):
            self._body = bytearray(self._body)
            self._body += part
        else:
            self._body += part


def _overlap(chunk: bytes) -> int:
    """Count the octets at the end that may be the beginning of the final dot."""
    for length in (4, 3, 2, 1):
        if chunk.endswith(_END[:length]):
            return length
    return 0


def count_bare(part: bytes) -> int:
    """Count CRs without LF and LFs without CR; `part` must not cut a CR LF in two.

    Of the line ends, as splitlines sees them, each CR LF holds both octets and each other one. Two passes of C, 0.2 ms for 256 KiB; counting
    CR LF itself takes twice as long as splitting, one regular expression ten times as long as both, and one of RE2 as long.
    """
    ends = len(part.splitlines()) - (not part.endswith((b"\r", b"\n")) and part != b"")
    return 2 * ends - len(part.translate(None, _NO_NEWLINES))


def mend(part: bytes) -> bytes:
    """Make each bare CR and each bare LF CR LF; `part` must not cut a CR LF in two."""
    return part.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\r\n")
