"""A second reading of a session, slow and simple: what a client sent, held against what came back and what the bus was given.

It shares no code with lmtp/ and reads no address: whether a command was taken it learns from the reply. So it knows what RFC 2033 and 5321 ask of any
server: one reply for each line, one final reply for each RCPT that was answered 250, nothing behind a 221 or 421, 354 before a message and never
without a recipient, and the octets of a message as the rules for dots make them. Every breach is an AssertionError that names the place.
"""

import re
from collections.abc import Sequence
from typing import Final

from msgspec import Struct

_REPLY: Final = re.compile(rb"(?:([2-5][0-9]{2})-[ -~]{0,506}\r\n)*([2-5][0-9]{2}) [ -~]{0,506}\r\n")
_ENHANCED: Final = re.compile(rb"([245])\.[0-9]{1,3}\.[0-9]{1,3} ").match
_END: Final = b"\r\n.\r\n"
_BARE: Final = re.compile(rb"\r\n|\r|\n")
LAST: Final = ("221", "421")


class Told(Struct, frozen=True):
    """One thing that a client said, and the replies to it."""

    said: bytes  # a line; or a message as it came, without its final dot
    replies: tuple[str, ...]  # codes
    is_message: bool = False


class Session(Struct, frozen=True):
    """A session as the model read it."""

    told: tuple[Told, ...]
    taken: tuple[bytes, ...]  # the messages that somebody was told 250 for, as they must be stored


def follow(wire: bytes, output: bytes, *, normalize: bool = False) -> Session:
    """Go through what was sent and what came back, in step; the greeting comes first. Raises AssertionError."""
    codes = split_replies(output)
    assert codes[0] == "220", codes[0]
    walk = _Walk(wire, codes[1:], normalize=normalize)
    while walk.step():
        pass
    assert not walk.codes, f"{len(walk.codes)} replies too many: {walk.codes[:5]}"
    return Session(tuple(walk.told), tuple(walk.taken))


def split_replies(output: bytes) -> list[str]:
    """Part octets into replies; each is well formed, has one code, and an enhanced code of its class if any."""
    codes = []
    at = 0
    while at < len(output):
        match = _REPLY.match(output, at)
        assert match, f"no reply: {output[at : at + 80]!r}"
        lines = match[0].splitlines()
        assert {line[:3] for line in lines} == {match[2]}, match[0]
        for line in lines:
            enhanced = _ENHANCED(line[4:])
            assert not enhanced or enhanced[1] == line[:1], line
        codes.append(match[2].decode())
        at = match.end()
    return codes


class _Walk:
    def __init__(self, wire: bytes, codes: Sequence[str], *, normalize: bool) -> None:
        self.codes = list(codes)
        self.told: list[Told] = []
        self.taken: list[bytes] = []
        self._rest = wire
        self._normalize = normalize
        self._accepted = 0
        self._is_message = False
        self._is_over = False

    def step(self) -> bool:
        """Take one line or message; False at the end of what was sent, or of the session."""
        if self._is_over:
            return False
        if self._is_message:
            return self._message()
        line, newline, rest = self._rest.partition(b"\n")
        if not newline:
            # TLS and HTTP are sent away before their line ends; nothing else is answered early.
            self._is_over = True
            self.told += [Told(line, (self.codes.pop(0),))] if self.codes[:1] == ["421"] else []
            return False
        self._rest = rest
        self._line(line + newline, self._next(line))
        return True

    def _line(self, line: bytes, code: str) -> None:
        self.told.append(Told(line, (code,)))
        verb = line[:4].upper()
        self._is_over = code in LAST
        if code == "354":
            assert verb == b"DATA", line
            assert self._accepted, "354 without a recipient"
            self._is_message = True
        elif code == "250" and verb == b"RCPT":
            self._accepted += 1
        elif code == "250" and verb in (b"LHLO", b"RSET", b"MAIL"):
            self._accepted = 0

    def _message(self) -> bool:
        body, end, rest = (b"\r\n" + self._rest).partition(_END)
        if not end:
            self._is_over = True
            return False
        finals = [self._next(b"<message>") for _ in range(self._accepted)]
        assert set(finals) <= {"250", "451", "452", "550", "552"}, finals
        self.told.append(Told(body[2:], tuple(finals), is_message=True))
        if "250" in finals:
            self.taken.append(unstuff(body, normalize=self._normalize))
        self._rest, self._is_message, self._accepted = rest, False, 0
        return True

    def _next(self, said: bytes) -> str:
        assert self.codes, f"no reply to {said[:80]!r}"
        return self.codes.pop(0)


def unstuff(body: bytes, *, normalize: bool = False) -> bytes:
    """Take one dot from each line that begins with one (RFC 5321 4.5.2). `body` begins with the CR LF behind DATA and ends before the last CR LF."""
    lines = body.split(b"\r\n")[1:]
    content = b"".join(line.removeprefix(b".") + b"\r\n" for line in lines)
    return _BARE.sub(b"\r\n", content) if normalize else content
