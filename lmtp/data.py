"""Gathering a message between 354 and the final dot: whole chunks, never lines.

Only CR LF . CR LF ends a message (RFC 5321 4.1.1.4); dots are unstuffed (4.5.2); every other octet is kept. Octets are counted as RFC 1870
counts them, without the stuffing and the final dot. Over the limit the rest is read and thrown away, so memory is bounded by the limit and
a client that sends an octet at a time costs no more. The body's digest and the search for bare CR or LF run along, chunk by chunk (0.3 ms
for 256 KiB), so nothing is left to do at the end but one copy: no thread is needed for a large message.
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
    bare_newline: bool  # a CR without LF or an LF without CR somewhere
    given_up: bool = False  # it had to make room for others


class Gathering:
    """One message on its way in."""

    def __init__(self, max_size: int) -> None:
        self._max_size = max_size
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
        """Unstuff, count and keep. `part` never ends within the two octets of a CR LF nor between them and a dot."""
        part = part.replace(b"\r\n.", b"\r\n")
        if self._skip:
            part = part[self._skip :]
        self._size += len(part)
        if self._size > self._max_size:
            self._too_big = True
            self._body = bytearray()
        if self._too_big or self._given_up:
            return
        self._bare = self._bare or _has_bare_newline(part)
        self._digest.update(part)
        self._body += part


def _overlap(chunk: bytes) -> int:
    """Count the octets at the end that may be the beginning of the final dot."""
    for length in (4, 3, 2, 1):
        if chunk.endswith(_END[:length]):
            return length
    return 0


def _has_bare_newline(part: bytes) -> bool:
    pairs = part.count(b"\r\n")
    return part.count(b"\n") != pairs or part.count(b"\r") != pairs
