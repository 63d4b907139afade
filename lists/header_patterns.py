"""One entry of `header_matches`: a field, what its value must look like, and what becomes of the post then.

"X-Spam-Flag: ^yes -> discard". The field's name is compared without case; the expression is RE2's (linear time), without case, found anywhere in the
value as a reader sees it (RFC 2047 decoded) and as it stands. An empty expression matches whenever the field is there. The last "->" counts.
"""

import re
from collections.abc import Iterable
from typing import Any, get_args

from msgspec import Struct

from lists.errors import BadPattern
from lists.model import Action
from lists.patterns import MAX_PATTERN, compile_expression

MAX_ENTRY = MAX_PATTERN + 100  # characters: the expression, the field's name and the action
MAX_ENTRIES = 50  # of one list; each takes at most 0.3 ms on the largest value that is looked at
_ENTRY = re.compile(r"([!-9;-~]{1,76})[ \t]*:[ \t]*(.*?)[ \t]*->[ \t]*(\w+)", re.DOTALL)


class HeaderPattern(Struct, frozen=True):
    """An entry ready for matching."""

    name: str  # of the field, in lower case
    expression: Any  # compiled by RE2
    action: str

    def match(self, texts: Iterable[str]) -> bool:
        """Does one of these, what the fields of this name say, look like that?"""
        return any(self.expression.search(text) is not None for text in texts)


def read_header_pattern(entry: str) -> HeaderPattern:
    """Read "Field: expression -> action"; raises BadPattern with the reason."""
    entry = entry.strip()
    found = _ENTRY.fullmatch(entry) if len(entry) <= MAX_ENTRY else None
    if found is None:
        raise BadPattern(f'{entry[:80]!r} is not of the form "Field: expression -> action"')
    name, expression, action = found.groups()
    if action not in get_args(Action):
        raise BadPattern(f"{entry[:80]!r}: {action!r} is not one of {', '.join(get_args(Action))}")
    return HeaderPattern(name.lower(), compile_expression(expression), action)


def read_header_patterns(entries: tuple[str, ...]) -> tuple[HeaderPattern, ...]:
    """Read all entries of a list, in their order; raises BadPattern for the first one that cannot be taken."""
    if len(entries) > MAX_ENTRIES:
        raise BadPattern(f"has {len(entries)} entries; {MAX_ENTRIES} are the most")
    return tuple(map(read_header_pattern, entries))
