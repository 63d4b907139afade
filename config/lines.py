"""The line of a TOML file on which an option is written, for error messages.

tomllib forgets lines. This reads headers and keys again with two expressions; where a file is written in a way that they do not see,
the answer is the line of the table, or None: an error message without a line number is still true.
"""

import re

_HEADER = re.compile(r"\s*\[\[?\s*(?P<name>[^\[\]]+?)\s*\]\]?\s*(#.*)?")
_KEY = re.compile(r"\s*(?P<name>(?:[\w-]+|\"[^\"]*\"|'[^']*')(?:\s*\.\s*(?:[\w-]+|\"[^\"]*\"|'[^']*'))*)\s*=")
_PART = re.compile(r"[\w-]+|\"[^\"]*\"|'[^']*'")


def find_line(text: str, path: tuple[str, ...]) -> int | None:
    """Return the line (from 1) that sets `path`, else that of the longest beginning of it that is written."""
    best: tuple[int, int] | None = None
    table: tuple[str, ...] = ()
    for number, line in enumerate(text.splitlines(), 1):
        if header := _HEADER.fullmatch(line):
            here = table = _split(header["name"])
        elif key := _KEY.match(line):
            here = table + _split(key["name"])
        else:
            continue
        if here and here == path[: len(here)] and (best is None or len(here) > best[0]):
            best = len(here), number
    return best[1] if best else None


def _split(name: str) -> tuple[str, ...]:
    return tuple(part.strip("\"'") for part in _PART.findall(name))
