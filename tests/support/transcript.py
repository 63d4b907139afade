"""Reading the stories of tests/conformance: plain text that a postmaster reads, and what a player does, step by step.

Pure: text in, a Story out, or TranscriptError with file and line. The words are explained in docs/conformance.md; playing is player.py's.
"""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from msgspec import Struct

FOLDER: Final = Path(__file__).resolve().parents[1] / "conformance"
_SEPARATE: Final = re.compile(r";\s*")
_ESCAPE: Final = re.compile(rb"\\(?:x([0-9a-fA-F]{2})|(.))", re.DOTALL)
_NAMED: Final = {b"r": b"\r", b"n": b"\n", b"t": b"\t", b"0": b"\0", b"\\": b"\\"}
_CODES: Final = re.compile(r"[2-5x][0-9x]{2}(?: [2-5x]\.[0-9x]{1,3}\.[0-9x]{1,3})?").fullmatch
_SECURE: Final = re.compile(
    r"without certificate|(?P<foreign>foreign )?certificate (?P<name>[a-z0-9.-]+)"
).fullmatch
_LINE: Final = re.compile(
    r"(?P<word>[A-Za-z][A-Za-z -]*?)(?:\*(?P<times>[0-9]+))?(?::[ ]?(?P<rest>.*))?"
).fullmatch


class TranscriptError(Exception):
    """A story that cannot be read; str() names file and line."""


class Send(Struct, frozen=True):
    """The client sends these octets; "{run}" in them is a word that no other telling of a story has."""

    line: int
    octets: bytes


class Says(Struct, frozen=True):
    """What the text of a reply must (or must not) match, or the LHLO keyword that must (or must not) be offered."""

    pattern: str
    wanted: bool
    is_offer: bool


class Expect(Struct, frozen=True):
    """So many replies come, each with one of these codes ("250 2.1.0"; x stands for any digit)."""

    line: int
    codes: tuple[str, ...]
    times: int = 1
    says: tuple[Says, ...] = ()


class Stored(Struct, frozen=True):
    """One item is taken for good. Fields that are None are not looked at."""

    recipient: str
    reverse_path: str | None = None
    content: bytes | None = None
    sha256: str | None = None
    size: int | None = None


class Store(Struct, frozen=True):
    """Since the last look exactly these were taken for good, in this order for each recipient."""

    line: int
    items: tuple[Stored, ...]


class Act(Struct, frozen=True):
    """Something that is no octets: see ACTS."""

    line: int
    name: str


class Secure(Struct, frozen=True):
    """The client shakes hands, showing a certificate of this name ("": none), which the site's CA has issued, or a foreign one."""

    line: int
    certificate: str
    is_foreign: bool = False


Step = Send | Expect | Store | Act | Secure

# What may stand alone on a line.
ACTS: Final = {
    "silence": "nothing comes for a moment",
    "closed": "the server has closed, and says nothing more",
    "half-close": "the client shuts its sending side down, and still reads",
    "hang up": "the client closes at once and reads nothing more",
    "connect": "the client connects anew",
}
FAULTS: Final = ("storage",)
SOCKETS: Final = ("tcp", "unix")
PACES: Final = ("as written", "whole", "octets")


class Story(Struct, frozen=True):
    """One transcript."""

    name: str
    title: str
    clauses: tuple[str, ...]
    settings: tuple[str, ...]  # lines of [lmtp] that the site must have
    given: tuple[str, ...]  # command lines of bin/postroom that come first
    fault: str  # what the server cannot do meanwhile: "" or one of FAULTS
    paces: tuple[str, ...]
    sockets: tuple[str, ...]
    steps: tuple[Step, ...]


def stories(folder: Path = FOLDER) -> list[Story]:
    """Read every story of the folder, in order of name."""
    return [read_story(path) for path in sorted(folder.glob("*.txt"))]


def read_story(path: Path) -> Story:
    """Read one file. Raises TranscriptError."""
    return _Reader(path.stem, path.read_text("utf-8")).story()


def unescape(text: str) -> bytes:
    r"""Make octets of text: UTF-8, with \r \n \t \0 \\ and \xNN for what a text file cannot hold."""

    def octet(match: re.Match[bytes]) -> bytes:
        if match[1]:
            return bytes.fromhex(match[1].decode())
        if match[2] not in _NAMED:
            raise ValueError(f"unknown escape \\{match[2].decode('utf-8', 'replace')}")
        return _NAMED[match[2]]

    return _ESCAPE.sub(octet, text.encode())


class _Reader:
    def __init__(self, name: str, text: str) -> None:
        self._name = name
        self._lines: Iterator[tuple[int, str]] = iter(enumerate(text.splitlines(), 1))
        self._title = ""
        self._heads: dict[str, list[str]] = {
            "Clause": [],
            "Setting": [],
            "Given": [],
            "Fault": [],
            "Pace": [],
            "Socket": [],
        }
        self._steps: list[Step] = []

    def story(self) -> Story:
        for number, line in self._lines:
            try:
                self._read(number, line)
            except ValueError as error:
                raise TranscriptError(f"{self._name}.txt:{number}: {error}") from error
        paces = tuple(self._heads["Pace"]) or PACES
        problem = self._problem(paces)
        if problem:
            raise TranscriptError(f"{self._name}.txt: {problem}")
        return Story(
            self._name,
            self._title,
            tuple(clause for line in self._heads["Clause"] for clause in _SEPARATE.split(line)),
            tuple(self._heads["Setting"]),
            tuple(self._heads["Given"]),
            "".join(self._heads["Fault"]),
            paces,
            tuple(self._heads["Socket"]) or SOCKETS,
            tuple(self._steps),
        )

    def _problem(self, paces: tuple[str, ...]) -> str:
        if not self._title:
            return "the first line is a comment that says what the story shows"
        if not self._heads["Clause"]:
            return "no Clause"
        if not any(isinstance(step, Expect) for step in self._steps):
            return "expects nothing"
        if not set(self._heads["Fault"]) <= set(FAULTS):
            return f"Fault is one of {', '.join(FAULTS)}"
        if not set(self._heads["Socket"]) <= set(SOCKETS):
            return f"Socket is one of {', '.join(SOCKETS)}"
        return "" if set(paces) <= set(PACES) else f"Pace is one of {', '.join(PACES)}"

    def _read(self, number: int, line: str) -> None:
        if line.startswith("#"):
            self._title = self._title or line[1:].strip()
        elif line.startswith(" "):
            self._detail(line.lstrip())
        elif line.strip():
            match = _LINE(line)
            if match is None:
                raise ValueError("neither a step nor a comment")
            self._step(number, match["word"], int(match["times"] or 1), match["rest"])

    def _step(self, number: int, word: str, times: int, rest: str | None) -> None:
        last = self._steps[-1] if self._steps else None
        if word == "Stored" and isinstance(last, Store) and rest is not None:
            self._steps[-1] = Store(last.line, last.items + _read_items(times, rest))
        elif word in _STEPS and rest is not None:
            self._steps += _STEPS[word](number, times, rest)
        elif word in self._heads and rest is not None and times == 1:
            self._heads[word].append(rest.strip())
        elif word.lower() in ACTS and rest is None and times == 1:
            self._steps.append(Act(number, word.lower()))
        else:
            raise ValueError(f"unknown word {word!r}")

    def _detail(self, text: str) -> None:
        match self._steps[-1] if self._steps else None:
            case Expect(line, codes, times, says):
                self._steps[-1] = Expect(line, codes, times, (*says, _read_says(text)))
            case Store(line, items) if items:
                self._steps[-1] = Store(line, (*items[:-1], _more_stored(items[-1], text)))
            case _:
                raise ValueError("an indented line belongs to S: or Stored:")


def _read_send(number: int, times: int, rest: str, end: bytes) -> list[Step]:
    many = [unescape(rest.replace("{n}", str(count))) + end for count in range(1, times + 1)]
    return [Send(number, b"".join(many))]


def _read_expect(number: int, times: int, rest: str) -> list[Step]:
    codes = tuple(code.strip() for code in rest.split("|"))
    for code in codes:
        if not _CODES(code):
            raise ValueError(f"{code!r} is no reply code with an enhanced code")
    return [Expect(number, codes, times)]


def _read_stored(number: int, times: int, rest: str) -> list[Step]:
    return [Store(number, _read_items(times, rest))]


def _read_secure(number: int, times: int, rest: str) -> list[Step]:
    match = _SECURE(rest.strip())
    if match is None or times != 1:
        raise ValueError("behind TLS: stands without certificate, [foreign] certificate NAME")
    return [Secure(number, match["name"] or "", bool(match["foreign"]))]


def _read_items(times: int, rest: str) -> tuple[Stored, ...]:
    return () if rest.strip() == "nothing" else tuple(Stored(rest.strip()) for _ in range(times))


_STEPS: Final[dict[str, Callable[[int, int, str], list[Step]]]] = {
    "C": lambda number, times, rest: _read_send(number, times, rest, b"\r\n"),
    "RAW": lambda number, times, rest: _read_send(number, times, rest, b""),
    "S": _read_expect,
    "Stored": _read_stored,
    "TLS": _read_secure,
}


def _read_says(text: str) -> Says:
    words = text.split(" ", 1)
    wanted = words[0] != "never"
    verb, _, pattern = (text if wanted else words[1]).partition(" ")
    if verb not in ("says", "offers") or not pattern:
        raise ValueError("below S: stands [never] says REGEX or [never] offers KEYWORD")
    return Says(pattern, wanted, verb == "offers")


def _more_stored(item: Stored, text: str) -> Stored:
    changes = {name: getattr(item, name) for name in item.__struct_fields__}
    word, _, value = text.partition(" ")
    match word:
        case "|":
            changes["content"] = (item.content or b"") + unescape(value) + b"\r\n"
        case "from":
            changes["reverse_path"] = "" if value == "<>" else value
        case "sha256":
            changes["sha256"] = value
        case "octets":
            changes["size"] = int(value)
        case _:
            raise ValueError("below Stored: stands | LINE, from ADDRESS, sha256 HEX or octets N")
    return Stored(**changes)
