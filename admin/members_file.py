"""Reads a file of members: one address a line, bare or as "Anne Example <anne@example.org>".

Blank lines and lines that begin with # say nothing. Every other line is an address or a mistake, and a mistake is named by
its line. Pure; what a good address is, the list store decides.
"""

from collections.abc import Callable, Iterable

from msgspec import Struct

MOST_NAMED = 20  # mistakes told one by one; a wrong file has 100,000 of them
MAX_LINE = 2000  # octets; an address has 254, a name seldom more

_BOM = b"\xef\xbb\xbf"


class BadLine(Struct, frozen=True):
    """A line that names no member."""

    number: int  # from 1
    problem: str

    def __str__(self) -> str:
        return f"line {self.number}: {self.problem}"


class MembersFile(Struct, frozen=True):
    """What a file says."""

    addresses: tuple[str, ...]  # in order of the file, as written
    bad: tuple[BadLine, ...]


def read_members(lines: Iterable[bytes], find_problem: Callable[[str], str]) -> MembersFile:
    """Read every line; `find_problem` returns what is wrong with an address, "" when nothing is."""
    addresses: list[str] = []
    bad: list[BadLine] = []
    for number, line in enumerate(lines, 1):
        text, problem = _read_line(line.removeprefix(_BOM) if number == 1 else line)
        if text and not problem:
            problem = find_problem(text)
        if problem:
            bad.append(BadLine(number, problem))
        elif text:
            addresses.append(text)
    return MembersFile(tuple(addresses), tuple(bad))


def _read_line(line: bytes) -> tuple[str, str]:
    """Return the address of a line, and what is wrong with the line; both empty for a line that says nothing."""
    if len(line) > MAX_LINE:
        return "", f"has {len(line)} octets; is this a file of members?"
    try:
        text = line.decode("utf-8").strip()
    except UnicodeDecodeError:
        return "", "is not UTF-8"
    if not text or text.startswith("#"):
        return "", ""
    if text.endswith(">"):
        _name, bracket, address = text[:-1].rpartition("<")
        if not bracket:
            return "", f"{shorten(text)!r} has a > without its <"
        return address.strip(), "" if address.strip() else f"{shorten(text)!r} has no address between < and >"
    return text, ""


def shorten(text: str) -> str:
    """Return the beginning of a text, enough to know it again."""
    return text if len(text) <= 60 else f"{text[:57]}..."


def name_mistakes(bad: Iterable[BadLine]) -> list[str]:
    """Return what a person is told about the mistakes: the first ones, and how many more there are."""
    told = list(bad)
    texts = [str(line) for line in told[:MOST_NAMED]]
    if len(told) > MOST_NAMED:
        texts.append(f"and {len(told) - MOST_NAMED} more lines")
    return texts
