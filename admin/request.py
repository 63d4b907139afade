"""`members requests|approve|refuse`: who wants to join or leave, and the word of a moderator.

A decision is not carried out here: it is published as an item, and the membership runner acts on it, as on a moderator's mail. The item's id comes from
the request's number, so the same decision twice is one item.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from admin.command import (
    Command,
    Refused,
    bus_trouble,
    json_option,
    load_settings,
    make_clock,
    open_store,
    origin_of,
)
from admin.member_facts import request_facts
from admin.output import printable, say, write_listing

if TYPE_CHECKING:
    from config.settings import Settings
    from lists.records import Request
    from lists.store import Store

COLUMNS = ("id", "kind", "address", "state", "created_at", "expires_at")
SAID = {"approve": "is approved", "refuse": "is refused"}

list_argument = click.argument("list_name", metavar="LIST")
kind_option = click.option(
    "--kind", type=click.Choice(("join", "leave")), help="Which request, when ADDRESS has both."
)


@click.command(cls=Command)
@list_argument
@json_option
def requests(list_name: str, as_json: bool) -> None:
    """List who wants to join or leave LIST, oldest first."""
    with open_store(load_settings()) as store:
        list_id = store.find_list(list_name).list_id
        rows = map(request_facts, _page_through(store, list_id))
        write_listing(rows, COLUMNS, json=as_json, empty="nobody waits")


def _page_through(store: Store, list_id: str) -> Iterator[Request]:
    after = 0
    while page := store.records.requests(list_id, after):
        yield from page
        after = page[-1].id


@click.command(cls=Command)
@list_argument
@click.argument("address")
@kind_option
def approve(list_name: str, address: str, kind: str | None) -> None:
    """Let ADDRESS join or leave LIST, as it has asked; also when its own confirmation has not come yet."""
    _decide(list_name, address, kind, "approve")


@click.command(cls=Command)
@list_argument
@click.argument("address")
@kind_option
def refuse(list_name: str, address: str, kind: str | None) -> None:
    """Refuse what ADDRESS has asked of LIST. An address that had confirmed is told."""
    _decide(list_name, address, kind, "refuse")


def _decide(list_name: str, address: str, kind: str | None, act: str) -> None:
    settings = load_settings()
    with open_store(settings) as store:
        found = _find(store, list_name, address, kind)
    _publish(settings, found, act)
    say(f"request {found.id}: {printable(found.address)} to {found.kind} {SAID[act]}")


def _find(store: Store, list_name: str, address: str, kind: str | None) -> Request:
    """Return the one request of an address; raises Refused for none and for two."""
    list_id = store.find_list(list_name).list_id
    wanted = (kind,) if kind else ("join", "leave")
    found = store.look(
        lambda roster: [
            each
            for name in wanted
            if (each := roster.request(list_id, address, "join" if name == "join" else "leave")) is not None
        ]
    )
    if len(found) == 1:
        return found[0]
    if found:
        raise Refused(f"{printable(address)} wants to join and to leave {list_id}: say which with --kind")
    raise Refused(
        f"{printable(address)} has asked nothing of {list_id} (bin/postroom members requests shows all)"
    )


def _publish(settings: Settings, request: Request, act: str) -> None:
    import msgspec

    from bus.messages import Item
    from config.names import MEMBERSHIP, id_about

    args = {"act": act, "request": request.id, "who": origin_of().who}
    item = Item(
        id=id_about(f"request:{request.id}:{act}"),
        root_id=request.item_id,
        queue=MEMBERSHIP,
        list_id=request.list_id,
        reverse_path="",
        accepted_at=make_clock(settings).now(),
        args={key: msgspec.Raw(msgspec.msgpack.encode(value)) for key, value in args.items()},
    )
    with bus_trouble(settings):
        from bus.client import publish_now

        publish_now(settings, [item], b"", released=True)
