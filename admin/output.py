"""How listings and octets are written: a table for a person, JSON for a script.

Much of what is shown was written by strangers (addresses, subjects, replies of servers), so for a person every control character is
spelled out: none of it can move the cursor, rename the window or turn the direction of text. JSON escapes by itself. A listing is written as it comes, so that
100,000 rows need no memory.
"""

import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

_SPELLED = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0))} | {
    code: f"\\u{code:04x}" for code in (*range(0x2028, 0x202F), *range(0x2066, 0x206A))
}
_SPELLED_BUT_LINES = {code: text for code, text in _SPELLED.items() if code not in (0x09, 0x0A)}

MAX_CELL = 80  # characters; an address of 64 octets and a domain fit

Row = Mapping[str, Any]


def printable(value: object) -> str:
    """Return a value as one line of text without control characters; None is nothing."""
    match value:
        case None:
            text = ""
        case bool():
            text = "yes" if value else "no"
        case float():
            text = f"{value:.1f}"
        case datetime():
            text = f"{value:%Y-%m-%d %H:%M:%S}Z"  # as members show and log tell it; JSON has its fractions
        case dict():
            text = as_json(value)
        case list() | tuple():
            text = ", ".join(printable(item) for item in value)
        case _:
            text = str(value)
    return text.translate(_SPELLED)


def as_json(value: object) -> str:
    """Return a value as one line of JSON; what JSON has no form for becomes its text."""
    import msgspec  # not at the top: help and usage errors do without

    return msgspec.json.encode(value, enc_hook=str).decode()


def write_listing(rows: Iterable[Row], columns: Sequence[str], *, json: bool, empty: str = "") -> None:
    """Write rows as a JSON list of objects, or as a table of `columns`; `empty` is said where there is no row at all."""
    if json:
        write_json_list(rows)
        return
    values = [[row.get(column) for column in columns] for row in rows]
    if not values:
        say(empty)
        return
    is_number = [all(_is_number(value) for value in cells) for cells in zip(*values, strict=True)]
    table = [
        [column.replace("_", " ") for column in columns],
        *([_cut(printable(cell)) for cell in row] for row in values),
    ]
    widths = [max(map(len, cells)) for cells in zip(*table, strict=True)]
    for cells in table:
        line = "  ".join(
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(cells, widths, is_number, strict=True)
        )
        sys.stdout.write(line.rstrip() + "\n")


def _cut(text: str) -> str:
    """Keep a table readable beside one long subject; JSON has all of it."""
    return text if len(text) <= MAX_CELL else text[: MAX_CELL - 1] + "…"


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def write_json_list(rows: Iterable[Row]) -> None:
    """Write a JSON list with one object on each line."""
    lead = "[\n"
    for row in rows:
        sys.stdout.write(lead + as_json(row))
        lead = ",\n"
    sys.stdout.write("[]\n" if lead == "[\n" else "\n]\n")


def write_pairs(pairs: Mapping[str, Any]) -> None:
    """Write the facts of one thing, a line each, for a person."""
    width = max((len(key) for key in pairs), default=0)
    for key, value in pairs.items():
        sys.stdout.write(f"{key.replace('_', ' '):{width}}  {printable(value)}".rstrip() + "\n")


def write_content(content: bytes) -> None:
    """Write a message: its octets as they are into a file or pipe, without control characters onto a terminal."""
    sys.stdout.flush()
    if sys.stdout.isatty():
        text = content.decode("utf-8", "backslashreplace").replace("\r\n", "\n")
        sys.stdout.write(text.translate(_SPELLED_BUT_LINES))
        return
    sys.stdout.buffer.write(content)
    sys.stdout.buffer.flush()


def say(text: str) -> None:
    """Write one line for the person who asked."""
    if text:
        sys.stdout.write(f"{text}\n")


def warn(text: str) -> None:
    """Write one line on stderr, as every complaint is written."""
    sys.stdout.flush()
    sys.stderr.write(f"postroom: {printable(text)}\n")
    sys.stderr.flush()
