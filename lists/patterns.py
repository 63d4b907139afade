"""Lists of addresses and regular expressions, as accept_these_nonmembers and bans have them.

An entry is an address, compared by its key, or a regular expression that begins with "^", matched without case from the start of the
address. Expressions are RE2's, which match in linear time: no owner's pattern can hold up the dialogue.
"""

import functools
from collections.abc import Iterable
from typing import Any

import re2
from msgspec import Struct

from lists.errors import BadAddress, BadPattern
from lists.mailbox import address_key, check_address

MAX_PATTERN = 1000  # characters
_MEMORY = 1 << 20  # octets RE2 may take for one expression; its default is 8 MiB


class Patterns(Struct, frozen=True):
    """Entries ready for matching."""

    addresses: frozenset[str] = frozenset()  # keys
    expressions: tuple[Any, ...] = ()  # compiled by RE2

    @classmethod
    def of(cls, entries: Iterable[str]) -> "Patterns":
        """Compile entries; raises BadPattern for the first one that cannot be taken."""
        addresses, expressions = [], []
        for entry in entries:
            if entry.startswith("^"):
                expressions.append(compile_expression(entry))
            else:
                addresses.append(address_key(_checked(entry)))
        return cls(frozenset(addresses), tuple(expressions))

    @property
    def has_entries(self) -> bool:
        """Is there anything to match?"""
        return bool(self.addresses or self.expressions)

    def with_addresses(self, keys: Iterable[str]) -> "Patterns":
        """Return patterns that stand for these addresses too, given by their keys."""
        return Patterns(self.addresses.union(keys), self.expressions)

    def match(self, key: str) -> bool:
        """Does any entry stand for this address, given by its key?"""
        if key in self.addresses:
            return True
        return any(expression.match(key) is not None for expression in self.expressions)


NO_PATTERNS = Patterns()


def check_pattern(entry: str) -> str:
    """Return `entry` if it can be used; raises BadPattern with the reason."""
    Patterns.of((entry,))
    return entry


def _checked(entry: str) -> str:
    if "*" in entry:  # legal in an address, but whoever writes it means a pattern
        raise BadPattern(f"{entry!r}: a regular expression begins with ^, as in ^.*@example\\.net$")
    try:
        return check_address(entry)
    except BadAddress as error:
        raise BadPattern(f"{entry!r} is neither an address ({error.problem}) nor a ^regex") from error


@functools.lru_cache(maxsize=4096)
def compile_expression(entry: str) -> Any:
    """Compile an expression, matched without case in linear time; raises BadPattern."""
    if len(entry) > MAX_PATTERN:
        raise BadPattern(f"{entry[:40]!r}... is longer than {MAX_PATTERN} characters")
    options = re2.Options()
    options.case_sensitive = False
    options.log_errors = False
    options.max_mem = _MEMORY
    try:
        return re2.compile(entry, options)
    except re2.error as error:
        reason = error.args[0] if error.args else "bad"
        text = reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)
        raise BadPattern(f"{entry!r} cannot be matched in linear time or is no regex: {text}") from error
