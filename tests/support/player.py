"""Playing a story against a server's address, and saying where the server first says something else.

Whatever a story expects, each reply is held to the same laws: lines of at most 512 octets (RFC 5321 4.5.3.1.5) without control characters,
one code on all lines of a reply (4.2.1), an enhanced code of the same class behind it once LHLO was answered (RFC 2034 3, 4). And at its end
the session must be in step: NOOP gets its 250, QUIT its 221, and nothing comes behind that (RFC 2033 4.2). What the server has stored is asked of a Shelf,
which belongs to the caller. It trusts nothing that comes: every read ends within the caller's time.
"""

import contextlib
import os
import re
import socket
import ssl
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Final, Protocol

from msgspec import Struct

from tests.support.authority import SERVER
from tests.support.transcript import Act, Expect, Says, Secure, Send, Step, Store, Stored, Story
from tests.support.waiting import wait_until
from tests.support.wire import Address

MAX_LINE: Final = 512  # octets of a reply line with its CR LF
SLOWLY: Final = (
    2048  # octets of one stretch that go singly at pace "octets"; what is behind them goes at once
)
SILENCE_S: Final = 0.15
_REPLY_LINE: Final = re.compile(rb"([2-5][0-9]{2})([ -])([^\x00-\x1f\x7f]*)").fullmatch
_ENHANCED: Final = re.compile(r"([245])\.[0-9]{1,3}\.[0-9]{1,3}(?: |$)").match
_BARE_CODES: Final = (
    "220",
    "354",
)  # a greeting, and the one reply between two others: RFC 2034 4 has no class 3


class Shelf(Protocol):
    """What a server has taken for good."""

    def take(self) -> Sequence[Stored] | None:
        """Return what was stored since the last call, all fields filled; None when nobody can look."""


class Finding(Struct, frozen=True):
    """Where a server first differs from the story, and what it did instead."""

    line: int
    expected: str
    got: str


class Played(Struct, frozen=True):
    """How a story ended; `has_enhanced` is False when a reply lacked the code of RFC 2034."""

    finding: Finding | None
    has_enhanced: bool


class Rules(Struct, frozen=True):
    """How strict the player is, and how it shakes hands."""

    timeout_s: float = 15.0  # for a reply
    enhanced: bool = True  # False: a missing enhanced code is noted, a wrong one still is a finding
    context_of: Callable[[Secure], ssl.SSLContext] | None = None  # for stories with TLS


class _Differs(Exception):
    def __init__(self, got: str, expected: str = "") -> None:
        super().__init__(got)
        self.got = got
        self.expected = expected


class _Reply(Struct, frozen=True):
    code: str
    enhanced: str
    lines: tuple[str, ...]

    def __str__(self) -> str:
        return " / ".join(f"{self.code} {line}" for line in self.lines)[:120]


def play(
    story: Story, address: Address, pace: str, shelf: Shelf | None = None, rules: Rules | None = None
) -> Played:
    """Play a story at one of transcript.PACES."""
    player = _Player(address, shelf, rules or Rules())
    finding = None
    step: Step | None = None
    try:
        for step in _in_stretches(story.steps) if pace == "whole" else _in_writes(story.steps):
            player.take(step, slowly=pace == "octets")
        step = None
        player.finish()
    except _Differs as difference:
        line = step.line if step else 0
        expected = difference.expected or (_describe(step) if step else "in step at the end")
        finding = Finding(line, expected, difference.got)
    finally:
        player.close()
    return Played(finding, player.has_enhanced)


def _in_writes(steps: Sequence[Step]) -> Sequence[Step]:
    """Put what is sent behind each other into one write."""
    written: list[Step] = []
    for step in steps:
        last = written[-1] if written else None
        if isinstance(step, Send) and isinstance(last, Send):
            written[-1] = Send(last.line, last.octets + step.octets)
        else:
            written.append(step)
    return written


def _in_stretches(steps: Sequence[Step]) -> Sequence[Step]:
    """Put all that is sent up to the next thing that is neither sent nor a reply into one write."""
    ordered: list[Step] = []
    stretch: list[Step] = []
    for step in (*steps, None):
        if isinstance(step, Send | Expect):
            stretch.append(step)
            continue
        sent = [each for each in stretch if isinstance(each, Send)]
        if sent:
            ordered.append(Send(sent[0].line, b"".join(each.octets for each in sent)))
        ordered += [each for each in stretch if isinstance(each, Expect)]
        stretch.clear()
        if step is not None:
            ordered.append(step)
    return ordered


class _Player:
    def __init__(self, address: Address, shelf: Shelf | None, rules: Rules) -> None:
        self.has_enhanced = True
        self._run = os.urandom(6).hex().encode()
        self._address = address
        self._shelf = shelf
        self._rules = rules
        self._is_over = False
        self._connect()
        if shelf is not None:
            shelf.take()

    def take(self, step: Step, *, slowly: bool) -> None:
        match step:
            case Send(_, octets):
                self._send(octets.replace(b"{run}", self._run), slowly=slowly)
            case Expect():
                for _ in range(step.times):
                    self._expect(step)
            case Store():
                self._look(step)
            case Act():
                self._act(step.name)
            case Secure():
                self._secure(step)

    def finish(self) -> None:
        """A session that is not over answers NOOP with 250, QUIT with 221, and closes: nothing was said too much or too little."""
        if self._is_over:
            return
        self._send(b"NOOP\r\nQUIT\r\n", slowly=False)
        for command, code in (("NOOP", "250"), ("QUIT", "221")):
            reply = self._reply()
            if reply is None or reply.code != code:
                raise _Differs(f"to {command}: {reply or 'closed'}")
        if rest := self._buffer or self._receive():
            raise _Differs(f"behind its 221: {rest[:80]!r}")

    def close(self) -> None:
        self._sock.close()

    def _connect(self) -> None:
        if isinstance(self._address, Path):
            self._sock = socket.socket(socket.AF_UNIX)
            self._sock.settimeout(self._rules.timeout_s)
            self._sock.connect(str(self._address))
        else:
            self._sock = socket.create_connection(self._address, self._rules.timeout_s)
            self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = b""
        self._is_extended = False
        self._is_over = False

    def _act(self, name: str) -> None:
        match name:
            case "silence":
                self._silence()
            case "closed":
                self._is_over = True
                if self._buffer or (data := self._receive()):
                    raise _Differs(f"it said {(self._buffer or data)[:80]!r}")
            case "half-close":
                self._sock.shutdown(socket.SHUT_WR)
            case "hang up":
                self._is_over = True
                self._sock.close()
            case "connect":
                self._sock.close()
                self._connect()

    def _secure(self, step: Secure) -> None:
        """Shake hands; a certificate that is refused is told by TLS 1.3 at the next read, which then finds the connection closed."""
        assert self._rules.context_of is not None, "nobody said whose certificates are good"
        if self._buffer:
            raise _Differs(f"it said {self._buffer[:80]!r}", "nothing before the handshake")
        try:
            self._sock = self._rules.context_of(step).wrap_socket(self._sock, server_hostname=SERVER)
        except OSError as error:
            raise _Differs(f"no handshake: {error}") from error
        self._is_extended = False

    def _send(self, octets: bytes, *, slowly: bool) -> None:
        at = 0
        try:
            for at in range(min(len(octets), SLOWLY)) if slowly else ():
                self._sock.sendall(octets[at : at + 1])
            self._sock.sendall(octets[at + 1 :] if slowly else octets)
        except TimeoutError:
            raise _Differs("it reads no further", "that it reads what is sent") from None
        except OSError:
            pass  # it closed; what it said before stands in the next replies

    def _silence(self) -> None:
        self._sock.settimeout(SILENCE_S)
        try:
            data = self._buffer or self._receive()
        except _Differs:
            return
        finally:
            self._sock.settimeout(self._rules.timeout_s)
        raise _Differs(f"it said {data[:80]!r}" if data else "closed", "silence")

    def _receive(self) -> bytes:
        try:
            return self._sock.recv(65536)
        except TimeoutError:
            raise _Differs(f"nothing within {self._rules.timeout_s:g} s") from None
        except OSError:
            return b""

    def _reply(self) -> _Reply | None:
        """Read one reply and hold it to the laws; None when the connection has ended."""
        lines: list[tuple[bytes, bytes, bytes]] = []
        while not lines or lines[-1][1] == b"-":
            while b"\n" not in self._buffer:
                data = self._receive()
                if not data and not (lines or self._buffer):
                    return None
                if not data:
                    raise _Differs(f"ended within a reply: {self._buffer[:80]!r}")
                self._buffer += data
            line, _, self._buffer = self._buffer.partition(b"\n")
            match = _REPLY_LINE(line.removesuffix(b"\r"))
            if match is None or not line.endswith(b"\r"):
                raise _Differs(f"no reply line: {line[:80]!r}", "code, text and CR LF")
            if len(line) + 1 > MAX_LINE:
                raise _Differs(f"a reply line of {len(line) + 1} octets", f"at most {MAX_LINE}")
            lines.append((match[1], match[2], match[3]))
        return self._weigh(lines)

    def _weigh(self, lines: Sequence[tuple[bytes, bytes, bytes]]) -> _Reply:
        code = lines[0][0].decode()
        texts = tuple(text.decode("utf-8", "replace") for _, _, text in lines)
        if any(line[0] != lines[0][0] for line in lines):
            raise _Differs(f"several codes in one reply: {code} {texts}", "one code on every line")
        found = [match[0].strip() if (match := _ENHANCED(text)) else "" for text in texts]
        if any(each and each[0] != code[0] for each in found):
            raise _Differs(f"{code} {texts[0]}", "an enhanced code of the same class")
        is_offer = _is_offer(code, texts)
        if self._is_extended and not (is_offer or code in _BARE_CODES or all(found)):
            self.has_enhanced = False
            if self._rules.enhanced:
                raise _Differs(f"{code} {texts[0]}", "an enhanced code on every line")
        self._is_extended = self._is_extended or is_offer
        return _Reply(code, found[0], texts)

    def _expect(self, step: Expect) -> None:
        reply = self._reply()
        if reply is None:
            raise _Differs("closed")
        if not any(_agrees(reply, codes) for codes in step.codes):
            raise _Differs(str(reply))
        for says in step.says:
            if _is_said(says, reply) != says.wanted:
                raise _Differs(
                    str(reply) if not says.is_offer else f"offers {', '.join(reply.lines)}", _text_of(says)
                )

    def _look(self, step: Store) -> None:
        taken = self._take(len(step.items))
        if taken is None:
            return  # nobody can look into this server
        wanted = sorted(step.items, key=lambda item: item.recipient)
        found = sorted(taken, key=lambda item: item.recipient)
        if len(wanted) != len(found):
            got = ", ".join(item.recipient for item in found) or "nothing"
            raise _Differs(
                f"stored {got}", f"stored {', '.join(item.recipient for item in wanted) or 'nothing'}"
            )
        for want, have in zip(wanted, found, strict=True):
            if different := _difference(want, have, self._run):
                raise _Differs(f"for {have.recipient}: {different}", f"stored as sent for {want.recipient}")

    def _take(self, number: int) -> Sequence[Stored] | None:
        """Take what is stored, waiting for as many: a client that hangs up is ahead of the server."""
        shelf = self._shelf
        first = shelf.take() if shelf is not None else None
        if shelf is None or first is None:
            return None
        found = list(first)

        def is_all_here() -> bool:
            found.extend(shelf.take() or ())
            return len(found) >= number

        if len(found) < number:
            with contextlib.suppress(AssertionError):
                wait_until(is_all_here, self._rules.timeout_s)
        return found


def _is_offer(code: str, texts: Sequence[str]) -> bool:
    """Whether this is the answer to LHLO."""
    return code == "250" and any(text.startswith(("SIZE", "8BITMIME", "PIPELINING")) for text in texts)


def _text_of(says: Says) -> str:
    """Write what a reply had to say as the story does."""
    return ("" if says.wanted else "never ") + ("offers " if says.is_offer else "says ") + says.pattern


def _agrees(reply: _Reply, codes: str) -> bool:
    code, _, enhanced = codes.partition(" ")
    return _fits(code, reply.code) and (not enhanced or not reply.enhanced or _fits(enhanced, reply.enhanced))


def _fits(pattern: str, text: str) -> bool:
    return re.fullmatch(re.escape(pattern).replace("x", "[0-9]+"), text) is not None


def _is_said(says: Says, reply: _Reply) -> bool:
    if says.is_offer:
        return any(f"{line} ".startswith(f"{says.pattern} ") for line in reply.lines[1:])
    return any(re.search(says.pattern, line) for line in reply.lines)


def _difference(want: Stored, have: Stored, run: bytes) -> str:
    if want.recipient.lower() != have.recipient.lower():
        return f"it was for {want.recipient}"
    if want.reverse_path is not None and want.reverse_path != have.reverse_path:
        return f"reverse-path is {have.reverse_path!r}"
    content = have.content
    if content is None:
        return ""
    if want.size is not None and want.size != len(content):
        return f"{len(content)} octets"
    if want.content is not None and want.content.replace(b"{run}", run) != content:
        return f"content is {content[:120]!r}"
    if want.sha256 is not None and want.sha256 != sha256(content).hexdigest():
        return f"sha256 is {sha256(content).hexdigest()}"
    return ""


def _describe(step: Step) -> str:
    match step:
        case Send(_, octets):
            return f"to send {octets[:60]!r}"
        case Expect(_, codes):
            return " | ".join(codes)
        case Store():
            return "what is stored"
        case Act(_, name):
            return name
        case Secure():
            return "a handshake"
