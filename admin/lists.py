"""`lists`: creating, showing, changing and removing mailing lists."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from admin import transfer
from admin.command import Group, Refused, json_option, list_trouble, load_settings, open_store, origin_of
from admin.output import as_json as spell_json
from admin.output import printable, say, warn, write_json_list, write_listing

if TYPE_CHECKING:
    from lists.model import MailingList

COLUMNS = ("list_id", "address", "description")
LONG_NAME = 31  # octets; NAME-confirm+TOKEN of a longer one has over 64 (RFC 5321 4.5.3.1.1)


@click.group("lists", cls=Group)
def command() -> None:
    """Create, show, change, move and remove lists."""


for each in (transfer.export_, transfer.import_):
    command.add_command(each)

set_option = click.option(
    "--set",
    "assignments",
    multiple=True,
    metavar="KEY=VALUE",
    help="A setting; repeatable. lists settings tells all.",
)


@command.command()
@click.argument("address")
@click.option("--owner", "owners", multiple=True, metavar="ADDRESS", help="Owner of the list; repeatable.")
@set_option
def create(address: str, owners: tuple[str, ...], assignments: tuple[str, ...]) -> None:
    """Create the list ADDRESS. It takes mail within a second."""
    settings = load_settings()
    with open_store(settings) as store:
        made = store.create_list(address, assignments, owners, origin_of())
    if len(made.name.encode()) > LONG_NAME:
        warn(
            f"{made.name} has over {LONG_NAME} octets: some of its addresses with a token pass the 64 that every mail system takes"
        )
    say(f"{made.address} created, list-id {made.list_id}")


@command.command()
@json_option
def ls(as_json: bool) -> None:
    """List every list."""
    with open_store(load_settings()) as store:
        rows = [_facts(each) for each in store.lists()]
    write_listing(
        rows, COLUMNS, json=as_json, empty="no lists yet; bin/postroom lists create ADDRESS makes one"
    )


def _facts(mailing_list: MailingList) -> dict[str, Any]:
    return {
        "list_id": mailing_list.list_id,
        "address": mailing_list.address,
        "description": mailing_list.settings.description,
    }


@command.command()
@click.argument("list_name", metavar="LIST")
@json_option
def show(list_name: str, as_json: bool) -> None:
    """Show a list: its addresses, owners, and every setting with what it means."""
    with open_store(load_settings()) as store:
        shown = store.find_list(list_name)
        facts = _facts(shown) | {
            "owners": list(store.owners(shown.list_id)),
            "members": store.count_members(shown.list_id),
        }
    if as_json:
        say(spell_json(facts | {"settings": shown.settings}))
        return
    say(f"{shown.address}, list-id {shown.list_id}, {facts['members']} members")
    say(f"owners: {', '.join(map(printable, facts['owners'])) or 'none'}")
    _write_settings(shown)


def _write_settings(shown: MailingList) -> None:
    from lists.model import ListSettings
    from lists.options import describe_option, option_names, show_value

    default = ListSettings()
    for name in option_names():
        value = getattr(shown.settings, name)
        mark = (
            ""
            if value == getattr(default, name)
            else f"   (default: {show_value(getattr(default, name)) or 'empty'})"
        )
        say(f"\n{name} = {printable(show_value(value))}{mark}")
        _write_meaning(describe_option(name))


@command.command("settings")
@click.argument("name", required=False)
@json_option
def settings_(name: str | None, as_json: bool) -> None:
    """Tell every setting that a list has: what it takes, its default, what it means."""
    from lists.options import check_name, option_names

    with list_trouble():
        names = option_names() if name is None else (check_name(name),)
    rows = [_explain(each) for each in names]
    if as_json:
        write_json_list(rows)
        return
    for row in rows:
        default = printable(row["default"]) or "empty"
        say(f"{row['name']} = {row['takes']}   (default: {default})")
        _write_meaning(row["meaning"])


def _explain(name: str) -> dict[str, str]:
    from lists.model import ListSettings
    from lists.options import describe_option, describe_type, show_value

    return {
        "name": name,
        "takes": describe_type(name),
        "default": show_value(getattr(ListSettings(), name)),
        "meaning": describe_option(name),
    }


def _write_meaning(meaning: str) -> None:
    from textwrap import wrap

    for line in wrap(meaning, 96):
        say(f"    {line}")


@command.command("set")
@click.argument("list_name", metavar="LIST")
@click.argument("assignments", metavar="KEY=VALUE...", nargs=-1, required=True)
def set_(list_name: str, assignments: tuple[str, ...]) -> None:
    """Change settings of a list. What is on its way in sees the change within a second."""
    with open_store(load_settings()) as store:
        from lists.options import show_value

        changed = store.set_options(list_name, assignments, origin_of())
    for name in dict.fromkeys(text.partition("=")[0].strip().lower() for text in assignments):
        say(f"{name} = {printable(show_value(getattr(changed, name)))}")


@command.command()
@click.argument("list_name", metavar="LIST")
@click.option("--yes", is_flag=True, help="Do not ask. Without a terminal nothing is asked anyway.")
def remove(list_name: str, yes: bool) -> None:
    """Remove a list with its members, settings and bans. There is no way back; its held posts stay."""
    with open_store(load_settings()) as store:
        doomed = store.find_list(list_name)
        count = store.count_members(doomed.list_id)
        if not yes and sys.stdin.isatty():
            _ask(doomed, count)
        store.remove_list(doomed.list_id, origin_of())
    say(f"{doomed.address} removed, {count} members with it")


def _ask(doomed: MailingList, count: int) -> None:
    if not click.confirm(f"Remove {doomed.address} and its {count} members for good?", err=True):
        raise Refused(f"{doomed.address} stays")
