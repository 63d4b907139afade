"""`trace`: where is this message, and what happened to it? From the log, and from the bus what is still queued (DESIGN P10)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from admin.command import Command, Refused, ask_bus, json_option, load_settings, make_clock
from admin.output import printable, say, warn, write_json_list

if TYPE_CHECKING:
    from config.settings import Settings

Entry = dict[str, Any]

LEAD = ("at", "level", "event", "process")  # told at the beginning of a line, or not at all
IDS = ("item_id", "root_id", "message_id")
_QUIET: tuple[Any, ...] = ("", None, [], {})  # values that tell a person nothing


@click.command("trace", cls=Command)
@click.argument("text", metavar="ID")
@json_option
def command(text: str, as_json: bool) -> None:
    """Tell the story of one message, in order of time.

    ID is the id in the 250 that the MTA logged, a root id, or a Message-ID.
    """
    settings = load_settings()
    entries, notes = gather(settings, text)
    for note in notes:
        warn(note)
    if not entries:
        raise Refused(
            f"nothing is known of {text!r}: neither {settings.logs.file or 'a log ([logs] file is empty)'} nor the bus names it"
        )
    if as_json:
        write_json_list(entries)
    else:
        write_story(entries)


def gather(settings: Settings, text: str) -> tuple[list[Entry], list[str]]:
    """Return every line about the message in order of time, then what is still queued; and what the reader should know besides."""
    from admin.log_lines import MAX_LINES, LogFiles, collect, find_roots

    text = text.strip("<> ")
    notes: list[str] = []
    queued = _find_queued(settings, [text], notes)
    roots = {str(row["root_id"]) for row in queued}
    entries: list[Entry] = []
    if settings.logs.file:
        with LogFiles(Path(settings.logs.file)) as log:
            roots |= find_roots(log, text)
            entries, is_cut = collect(log, roots, text)
            if is_cut:
                notes.append(f"only the first {MAX_LINES} lines are shown")
    if not notes:
        queued = _find_queued(settings, sorted(roots) or [text], notes)
    at = make_clock(settings).now().isoformat(timespec="microseconds")
    return entries + [{"at": at, "event": "queued", "process": "bus", **row} for row in queued], notes


def _find_queued(settings: Settings, ids: Sequence[str], notes: list[str]) -> list[Entry]:
    """Ask the bus what it still holds of these; each item once."""
    rows: dict[str, Entry] = {}
    try:
        for text in ids:
            rows |= {row["item_id"]: row for row in ask_bus(settings, "find", id=text)}
    except Refused as error:
        notes.append(f"what is still queued is not shown: {error}")
    return list(rows.values())


def write_story(entries: Sequence[Entry]) -> None:
    """Write one line for each entry, the date where it changes, times in UTC."""
    day = ""
    for entry in entries:
        date, _, time = str(entry["at"]).partition("T")
        if date != day:
            day = date
            say(f"{printable(day)} (times are UTC)")
        facts = " ".join(f"{key}={_spell(value)}" for key, value in _facts(entry))
        say(
            f"{printable(time[:12]):12} {printable(entry.get('process')):12} {printable(entry.get('event')):18} {facts}".rstrip()
        )


def _facts(entry: Entry) -> list[tuple[str, Any]]:
    """Return what a line says besides when, who and what; the ids last, the root's only where it differs."""
    same_root = entry.get("root_id") == entry.get("item_id")
    keys = [key for key in entry if key not in LEAD and key not in IDS]
    keys += [key for key in IDS if not (key == "root_id" and same_root)]
    return [(key, entry[key]) for key in keys if key in entry and entry[key] not in _QUIET]


def _spell(value: Any) -> str:
    from admin.output import as_json

    text = value if isinstance(value, str) else as_json(value)
    return printable(f'"{text}"' if isinstance(value, str) and " " in text else text)
