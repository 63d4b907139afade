"""`shunt`: items that were set aside for a person, with the reason; to be tried again or thrown away."""

from __future__ import annotations

import sys
from typing import Any

import click

from admin.command import (
    Group,
    Refused,
    ask_bus,
    ask_bus_with_content,
    json_option,
    load_settings,
    open_store,
    spell_list_id,
)
from admin.output import as_json as spell_json
from admin.output import say, write_content, write_listing, write_pairs

COLUMNS = ("item_id", "queue", "list_id", "at", "reason")
HEAD = ("item_id", "queue", "list_id", "recipient", "at", "reason", "attempts", "crashes")


@click.group("shunt", cls=Group)
def command() -> None:
    """See what was set aside and why; try it again, or throw it away."""


queue_option = click.option("--queue", metavar="QUEUE", help="Only items of this queue.")
list_option = click.option("--list", "list_name", metavar="LIST", help="Only items of this list.")


@command.command()
@queue_option
@list_option
@json_option
def ls(queue: str | None, list_name: str | None, as_json: bool) -> None:
    """List shunted items."""
    settings = load_settings()
    rows = ask_bus(settings, "shunts", **_filters(queue, list_name))
    if list_name and not rows:  # a removed list may have left items behind; an unknown one is a typing error
        with open_store(settings) as store:
            store.find_list(list_name)
    write_listing(rows, COLUMNS, json=as_json, empty="nothing is set aside")


@command.command()
@click.argument("item_id", metavar="ID")
@click.option("--content", is_flag=True, help="Write the message itself, octet for octet, and nothing else.")
@json_option
def show(item_id: str, content: bool, as_json: bool) -> None:
    """Show one shunted item: the reason, what the handler said, the envelope."""
    meta, octets = ask_bus_with_content(load_settings(), "shunt", id=item_id)
    if content:
        write_content(octets)
        return
    if as_json:
        say(spell_json(meta))
        return
    write_pairs(
        {key: meta.get(key) for key in HEAD} | _envelope(meta.get("item") or {}) | {"octets": len(octets)}
    )
    if detail := str(meta.get("detail") or ""):
        sys.stdout.write("\n")
        write_content(detail.encode() + b"\n")
    say(
        f"\nbin/postroom shunt show {item_id} --content writes the message; shunt retry or shunt drop ends it"
    )


def _envelope(item: dict[str, Any]) -> dict[str, Any]:
    keys = ("reverse_path", "message_id", "accepted_at", "root_id", "hop", "args")
    return {key: item[key] for key in keys if item.get(key) not in (None, "", {})}


@command.command()
@click.argument("item_ids", metavar="[ID]...", nargs=-1)
@queue_option
@list_option
@click.option("--all", "every", is_flag=True, help="All that is set aside.")
def retry(item_ids: tuple[str, ...], queue: str | None, list_name: str | None, every: bool) -> None:
    """Put items back into their queues, as if they had never failed."""
    count = _settle("unshunt", item_ids, queue, list_name, every)
    say(f"{count} put back")


@command.command()
@click.argument("item_ids", metavar="[ID]...", nargs=-1)
@queue_option
@list_option
@click.option("--all", "every", is_flag=True, help="All that is set aside.")
def drop(item_ids: tuple[str, ...], queue: str | None, list_name: str | None, every: bool) -> None:
    """Throw items away for good; the counters remember how many."""
    count = _settle("drop", item_ids, queue, list_name, every)
    say(f"{count} thrown away")


def _settle(
    what: str, item_ids: tuple[str, ...], queue: str | None, list_name: str | None, every: bool
) -> int:
    """Do it to the named items or to those of a queue or list; never to all of them by an empty command line."""
    filters = _filters(queue, list_name)
    if bool(item_ids) + bool(filters) + every != 1:
        raise click.UsageError(
            "name items, or give --queue and --list, or --all", click.get_current_context()
        )
    settings = load_settings()
    if every:  # an empty order means nothing to the bus, so that nothing is dropped by mistake
        queues = [row["queue"] for row in ask_bus(settings, "status")["queues"] if row["shunted"]]
        return sum(int(ask_bus(settings, what, queue=queue)["count"]) for queue in queues)
    count = int(ask_bus(settings, what, **({"ids": list(item_ids)} if item_ids else filters))["count"])
    if item_ids and count < len(set(item_ids)):
        raise Refused(
            f"{count} of {len(set(item_ids))} done; the others are not set aside (bin/postroom trace ID)"
        )
    return count


def _filters(queue: str | None, list_name: str | None) -> dict[str, str]:
    filters = {"queue": queue} if queue else {}
    if list_name:
        filters["list_id"] = spell_list_id(list_name)
    return filters
