"""The sample configuration file, made from the descriptions beside the options, so that it cannot be out of date."""

import textwrap
import typing
from typing import Any

import msgspec

from config.settings import RunnerSettings, Settings

WIDTH = 100  # columns of a comment
_HEAD = """\
# Postroom's configuration. Every line that is commented out shows the default; an empty file is a valid configuration.
# Relative paths are relative to the folder of this file.
"""
_RUNNER_HEAD = """\
# One table per queue: incoming, outgoing, owner; bounces, confirm, membership and request get their runners later. Any
# other name is a queue of your own, with a runner class of your own: see docs/runners.md.
"""


def sample() -> str:
    """Write a configuration file that documents every option and changes none."""
    parts = [_HEAD]
    for field in msgspec.structs.fields(Settings):
        if field.name == "runners":
            parts.append(_RUNNER_HEAD + _table("runners.incoming", RunnerSettings))
        else:
            parts.append(_table(field.name, field.type))
    return "\n".join(parts)


def _table(name: str, struct: type[msgspec.Struct]) -> str:
    lines = [f"[{name}]"]
    if name != "runners.incoming":
        lines.insert(0, f"# {(struct.__doc__ or '').strip()}")
    hints = typing.get_type_hints(struct, include_extras=True)
    defaults = struct()
    for field in msgspec.structs.fields(struct):
        lines += textwrap.wrap(
            _description(hints[field.name]), WIDTH, initial_indent="# ", subsequent_indent="# "
        )
        lines.append(f"#{field.encode_name} = {spell_toml(getattr(defaults, field.name))}")
    return "\n".join(lines) + "\n"


def _description(hint: Any) -> str:
    """Return the description nearest to the field: an outer Meta wins over that of the type it annotates."""
    texts = [meta.description for meta in getattr(hint, "__metadata__", ()) if isinstance(meta, msgspec.Meta)]
    return next((text for text in reversed(texts) if text), "")


def spell_toml(value: Any) -> str:
    """Write the value of an option as the file spells it."""
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return msgspec.json.encode(value).decode()  # a JSON string is a TOML basic string
        case list():
            return "[" + ", ".join(spell_toml(item) for item in value) + "]"
        case dict():
            return (
                "{"
                + ", ".join(f"{spell_toml(key)} = {spell_toml(item)}" for key, item in value.items())
                + "}"
            )
        case _:
            return str(value)
