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
        self._body = bytearray()
        self._size = 0
        self._too_big = False
        self._given_up = False
        self._bare = False
        self._digest = blake2b(digest_size=DIGEST_SIZE)

    def feed(self, data: bytes, start: int) -> int:
        """Take octets from `start` on; return the position after the final dot, or -1 when it has not come yet."""
        chunk = self._held + (data[start:] if start else data)
        end = chunk.find(_END)
        if end < 0:
            keep = _overlap(chunk)
            self._take(chunk[: len(chunk) - keep] if keep else chunk)
            self._held = chunk[len(chunk) - keep :] if keep else b""
            self._skip = max(0, self._skip - (len(chunk) - keep))
            return -1
        position = start + end + len(_END) - len(self._held)
        self._take(chunk[: end + 2])
        return position

    @property
    def held(self) -> int:
        """Octets that are kept."""
        return len(self._body)

    def give_up(self) -> None:
        """Throw away what has come and what comes; octets are still counted, and the end is still found."""
        self._given_up = True
        self._body = bytearray()

    def message(self) -> Message:
        """Return the message; call it once, after `feed` has found the end."""
        content = bytes(self._body)
        self._body = bytearray()
        return Message(content, self._size, self._digest.digest(), self._too_big, self._bare, self._given_up)

    def _take(self, part: bytes) -> None:
        """Unstuff, mend, count and keep. `part` never ends within the two octets of a CR LF nor between them and a dot."""
        part = part.replace(b"\r\n.", b"\r\n")
        if self._skip:
            part = part[self._skip :]
        if (bare := count_bare(part)) and self._normalize:
            part = mend(part)
        elif bare:
            self._bare = True
        self._size += len(part)
        if self._size > self._max_size:
            self._too_big = True
            self._body = bytearray()
        if self._too_big or self._given_up:
            return
        self._digest.update(part)
        self._body += part


def _overlap(chunk: bytes) -> int:
    """Count the octets at the end that may be the beginning of the final dot."""
    for length in (4, 3, 2, 1):
        if chunk.endswith(_END[:length]):
            return length
    return 0


def count_bare(part: bytes) -> int:
    """Count CRs without LF and LFs without CR; `part` must not cut a CR LF in two.

    Of the line ends, as splitlines sees them, each CR LF holds both octets and each other one. Three passes of C, 0.25 ms for 256 KiB; counting
    CR LF itself takes twice as long as splitting, and one regular expression ten times as long as all three.
    """
    ends = len(part.splitlines()) - (not part.endswith((b"\r", b"\n")) and part != b"")
    return 2 * ends - part.count(b"\n") - part.count(b"\r")


def mend(part: bytes) -> bytes:
    """Make each bare CR and each bare LF CR LF; `part` must not cut a CR LF in two."""
    return part.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\r\n")
