"""What is wrong with a site's own texts: files that cannot be read, that nobody looks for, or that name what their writer does not fill. Blocking.

Which names a text may use is what the built-in texts of the same name use, beside the standard ones: a test holds that these are all filled.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct

from runners.texts import BUILT_IN, DEFAULT_LANGUAGE, BadTemplate, load_template, template_names

STANDARD = frozenset(
    {
        "address",
        "join_address",
        "leave_address",
        "list_address",
        "list_description",
        "list_id",
        "list_name",
        "owner_address",
        "request_address",
        "site_name",
    }
)  # of notices.standard_values, for a list
_LANGUAGE = re.compile(r"[a-z]{2,3}(?:_[A-Z]{2})?")
_LINE = re.compile(r": line (\d+) ")


class Problem(Struct, frozen=True):
    """One thing that is wrong; str() is "file:line: what"."""

    path: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.text}"


def check_folder(folder: Path) -> Iterator[Problem]:
    """Yield what is wrong with each file below `[notices] templates`, in order of path."""
    if not folder.is_dir():
        yield Problem(str(folder), 0, "is no folder")
        return
    for path in sorted(each for each in folder.rglob("*") if not each.is_dir()):
        yield from _check(path, path.relative_to(folder).parts)


def _check(path: Path, parts: tuple[str, ...]) -> Iterator[Problem]:
    if not _is_looked_for(parts):
        yield Problem(
            str(path), 0, "nobody looks here: site/LANGUAGE/NAME.txt, domains/DOMAIN/..., lists/LIST-ID/..."
        )
        return
    if path.stem not in template_names():
        yield Problem(str(path), 0, f"there is no text {path.stem!r}")
        return
    try:
        template = load_template(path)
    except BadTemplate as error:
        text = str(error).removeprefix(f"{path}: ")
        found = _LINE.search(str(error))
        yield Problem(str(path), int(found[1]) if found else _line_of_dollar(path), text)
        return
    known = known_names(path.stem)
    for name in sorted(template.names() - known):
        yield Problem(str(path), _line_of(path, name), f"there is no ${name} for this text")


def _is_looked_for(parts: tuple[str, ...]) -> bool:
    depth = {"site": 3, "domains": 4, "lists": 4}.get(parts[0])
    return depth == len(parts) and _LANGUAGE.fullmatch(parts[-2]) is not None and parts[-1].endswith(".txt")


def known_names(name: str) -> frozenset[str]:
    """Return what a text of this name may use."""
    return STANDARD | load_template(BUILT_IN / DEFAULT_LANGUAGE / f"{name}.txt").names()


def _line_of(path: Path, name: str) -> int:
    use = re.compile(rf"\$(?:{name}\b|\{{{name}\}})")
    lines = path.read_text().splitlines()
    return next((number for number, line in enumerate(lines, 1) if use.search(line)), 0)


def _line_of_dollar(path: Path) -> int:
    """Return the first line with a "$" that begins no name, 0 when it cannot be read."""
    try:
        lines = path.read_bytes().decode().splitlines()
    except (OSError, UnicodeDecodeError):
        return 0
    wrong = re.compile(r"\$(?!\$|[_a-zA-Z]|\{[_a-zA-Z][_a-zA-Z0-9]*\})")
    return next((number for number, line in enumerate(lines, 1) if wrong.search(line.replace("$$", ""))), 0)
