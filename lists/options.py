"""List settings as text: KEY=VALUE from a person, rows in the store, and back.

Every value that gets into a ListSettings from outside comes through here, checked; an error names the option and, when there is one,
the nearest right name.
"""

import difflib
import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, get_args, get_origin, get_type_hints

import msgspec

from lists.errors import BadOption, BadPattern
from lists.header_patterns import read_header_patterns
from lists.model import ListSettings, MemberAction
from lists.patterns import Patterns

_TYPES = get_type_hints(ListSettings)
_DESCRIBED = get_type_hints(ListSettings, include_extras=True)
_WORDS = {
    "true": True,
    "yes": True,
    "on": True,
    "1": True,
    "false": False,
    "no": False,
    "off": False,
    "0": False,
}
# Options whose form says more than their type: what compiles can be used, and what cannot is refused here.
_CHECKS: dict[str, Callable[[tuple[str, ...]], object]] = {
    "accept_these_nonmembers": Patterns.of,
    "acceptable_aliases": Patterns.of,
    "header_matches": read_header_patterns,
}
# Their entries have blanks: without a JSON array each line is an entry.
_BY_LINE = frozenset({"header_matches"})


def option_names() -> tuple[str, ...]:
    """Return the names of all options, in the order in which they are explained."""
    return ListSettings.__struct_fields__


def describe_option(name: str) -> str:
    """Return the sentence that explains an option."""
    return next((meta.description for meta in _DESCRIBED[name].__metadata__ if meta.description), "")


def describe_type(name: str) -> str:
    """Return what an option takes, as a person writes it: "yes|no", its choices, or what the text is."""
    kind = _TYPES[name]
    if kind is bool:
        return "yes|no"
    if kind is int:
        return "NUMBER"
    if get_origin(kind) is tuple:
        return "LINES" if name in _BY_LINE else "ENTRIES"
    return "|".join(get_args(kind)) or "TEXT"


def check_name(name: str) -> str:
    """Return the name of an option if it is one; raises BadOption with the nearest one, or with where they all are."""
    name = name.strip().lower()
    if name not in _TYPES:
        near = difflib.get_close_matches(name, option_names(), n=1, cutoff=0.5)
        hint = "" if near else "; bin/postroom lists settings tells all"
        raise BadOption(name, f"there is no such option{hint}", near[0] if near else "")
    return name


def change_settings(settings: ListSettings, assignments: Iterable[str]) -> ListSettings:
    """Return `settings` with each "KEY=VALUE" applied; raises BadOption and changes nothing."""
    values = {}
    for text in assignments:
        name, equals, value = text.partition("=")
        name = check_name(name)
        if not equals:
            raise BadOption(name, "needs a value: write KEY=VALUE")
        values[name] = _read(name, value.strip(" "))
    return _convert({**msgspec.structs.asdict(settings), **values})


def settings_from(values: Mapping[str, Any]) -> ListSettings:
    """Make settings of values that come from outside, the rest at their defaults; raises BadOption."""
    for name in values:
        check_name(name)
    return _convert({**msgspec.structs.asdict(ListSettings()), **values})


def check_member_action(text: str) -> str:
    """Return a member's own moderation action if it is one, "" for the list's; raises BadOption."""
    return text and _choose("moderation_action", text, get_args(MemberAction))


def show_value(value: object) -> str:
    """Write a value as `change_settings` reads it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        has_blanks = any(" " in entry or "->" in entry for entry in value)
        return json.dumps(value, ensure_ascii=False) if has_blanks else " ".join(value)
    return str(value)


def to_rows(settings: ListSettings) -> dict[str, str]:
    """Return what the store keeps: name and JSON of every option that is not at its default."""
    default = ListSettings()
    return {
        name: msgspec.json.encode(getattr(settings, name)).decode()
        for name in option_names()
        if getattr(settings, name) != getattr(default, name)
    }


def from_rows(rows: Mapping[str, str]) -> ListSettings:
    """Read what `to_rows` wrote; rows are ours, so they are not checked pattern by pattern again."""
    return msgspec.convert({name: msgspec.json.decode(text) for name, text in rows.items()}, ListSettings)


def _read(name: str, text: str) -> Any:
    """Turn the text of one value into the option's type; what is not in order is left to `_convert`."""
    kind = _TYPES[name]
    if kind is bool:
        if text.lower() not in _WORDS:
            raise BadOption(name, f"{text!r} is neither yes nor no")
        return _WORDS[text.lower()]
    if kind is int:
        if not (text.isascii() and text.isdigit()):
            raise BadOption(name, f"{text!r} is not a whole number")
        return int(text)
    if get_origin(kind) is tuple:
        return _read_entries(name, text)
    choices = get_args(kind)
    return _choose(name, text, choices) if choices else text


def _choose(name: str, text: str, choices: tuple[str, ...]) -> str:
    if text not in choices:
        near = difflib.get_close_matches(text.lower(), choices, n=1, cutoff=0.5)
        raise BadOption(name, f"{text!r} is not one of {', '.join(choices)}", near[0] if near else "")
    return text


def _read_entries(name: str, text: str) -> tuple[str, ...]:
    """Read a list: entries separated by blanks (for some by line ends), or a JSON array when an entry has such a character in it."""
    if not text.startswith("["):
        entries = text.splitlines() if name in _BY_LINE else text.split()
        return tuple(entry.strip() for entry in entries if entry.strip())
    try:
        return msgspec.json.decode(text, type=tuple[str, ...])
    except msgspec.DecodeError as error:
        raise BadOption(name, f"is no JSON array of strings: {error}") from error


def _convert(values: dict[str, Any]) -> ListSettings:
    try:
        settings = msgspec.convert(values, ListSettings)
    except msgspec.ValidationError as error:
        reason, _, path = str(error).partition(" - at `$.")
        raise BadOption(path.rstrip("`") or "settings", reason) from error
    for name, check in _CHECKS.items():
        try:
            check(getattr(settings, name))
        except BadPattern as error:
            raise BadOption(name, str(error)) from error
    return settings
