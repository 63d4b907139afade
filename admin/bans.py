"""`bans`: who may not post, to one list or to any list of the site."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from admin.command import Group, json_option, load_settings, open_store, origin_of
from admin.output import printable, say, write_listing

if TYPE_CHECKING:
    from config.names import ListId
    from lists.store import Store

COLUMNS = ("pattern", "list_id", "at")


@click.group("bans", cls=Group)
def command() -> None:
    """Who may not post. PATTERN is an address or a ^regex; without LIST it is about every list."""


def _split(words: tuple[str, ...]) -> tuple[str | None, str]:
    """Return LIST and PATTERN; click cannot leave out the first of two arguments."""
    if len(words) > 2:
        raise click.UsageError(
            f"one pattern at a time, not {' '.join(words[1:])}", click.get_current_context()
        )
    return (words[0] if len(words) == 2 else None), words[-1]


def _list_id(store: Store, list_name: str | None) -> ListId:
    from config.names import ListId

    return store.find_list(list_name).list_id if list_name else ListId("")


def _where(list_id: str) -> str:
    return list_id or "any list of this site"


@command.command()
@click.argument("words", metavar="[LIST] PATTERN", nargs=-1, required=True)
def add(words: tuple[str, ...]) -> None:
    """Refuse PATTERN at RCPT, and posts whose From: it matches."""
    list_name, pattern = _split(words)
    with open_store(load_settings()) as store:
        list_id = _list_id(store, list_name)
        is_new = store.add_ban(pattern, list_id, origin_of())
    say(f"{printable(pattern)} may not post to {_where(list_id)}{'' if is_new else ', as before'}")


@command.command()
@click.argument("words", metavar="[LIST] PATTERN", nargs=-1, required=True)
def rm(words: tuple[str, ...]) -> None:
    """Lift a ban."""
    list_name, pattern = _split(words)
    with open_store(load_settings()) as store:
        list_id = _list_id(store, list_name)
        store.remove_ban(pattern, list_id, origin_of())
    say(f"{printable(pattern)} is no longer banned from {_where(list_id)}")


@command.command()
@click.argument("list_name", metavar="[LIST]", required=False)
@json_option
def ls(list_name: str | None, as_json: bool) -> None:
    """List the bans of LIST, or all; those with an empty list-id are of the whole site."""
    with open_store(load_settings()) as store:
        found = store.bans(_list_id(store, list_name) if list_name else None)
    rows = [{"pattern": ban.pattern, "list_id": ban.list_id, "at": ban.at.isoformat()} for ban in found]
    write_listing(rows, COLUMNS, json=as_json, empty="nobody is banned")
