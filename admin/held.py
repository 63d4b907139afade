"""`held`: posts that wait for a moderator.

A decision is not carried out here: it is published as an item, and the incoming runner acts on it. The item's id comes from what it
is about, so the same decision twice is one item.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from admin.command import (
    Group,
    bus_trouble,
    json_option,
    load_settings,
    make_clock,
    open_store,
    spell_list_id,
)
from admin.output import as_json as spell_json
from admin.output import say, write_content, write_listing, write_pairs

if TYPE_CHECKING:
    from config.settings import Settings
    from lists.model import HeldPost
    from lists.store import Store

COLUMNS = ("id", "list_id", "at", "reverse_path", "reason", "size", "subject")
SAID = {"accept": "will go out to the members", "reject": "will be refused", "discard": "will be thrown away"}


@click.group("held", cls=Group)
def command() -> None:
    """See held posts, and decide about them."""


@command.command()
@click.argument("list_name", metavar="[LIST]", required=False)
@json_option
def ls(list_name: str | None, as_json: bool) -> None:
    """List held posts."""
    with open_store(load_settings()) as store:
        list_id = spell_list_id(list_name) if list_name else None  # posts of a removed list are held too
        if list_name and not store.held(list_id, limit=1):
            store.find_list(list_name)
        write_listing(
            map(_facts, _page_through(store, list_id)), COLUMNS, json=as_json, empty="nothing is held"
        )


def _page_through(store: Store, list_id: str | None) -> Iterator[HeldPost]:
    after = 0
    while page := store.held(list_id, after=after):
        yield from page
        after = page[-1].id


def _facts(post: HeldPost) -> dict[str, Any]:
    import msgspec

    return msgspec.structs.asdict(post) | {"at": post.at.isoformat(timespec="seconds")}


@command.command()
@click.argument("number", metavar="ID", type=int)
@click.option("--content", is_flag=True, help="Write the post itself, octet for octet, and nothing else.")
@json_option
def show(number: int, content: bool, as_json: bool) -> None:
    """Show a held post: what is known of it, then the post as it came."""
    with open_store(load_settings()) as store:
        post, octets = store.held_post(number)
    if content:
        write_content(octets)
    elif as_json:
        say(spell_json(_facts(post) | {"content": octets.decode("utf-8", "backslashreplace")}))
    else:
        write_pairs(_facts(post))
        say("-" * 72)
        write_content(octets)


numbers_argument = click.argument("numbers", metavar="ID...", type=int, nargs=-1, required=True)


@command.command()
@numbers_argument
def accept(numbers: tuple[int, ...]) -> None:
    """Let held posts go out to the members."""
    _decide(numbers, "accept")


@command.command()
@numbers_argument
def reject(numbers: tuple[int, ...]) -> None:
    """Refuse held posts, and tell their senders, as far as that mail may be sent (RFC 3834)."""
    _decide(numbers, "reject")


@command.command()
@numbers_argument
def discard(numbers: tuple[int, ...]) -> None:
    """Throw held posts away."""
    _decide(numbers, "discard")


def _decide(numbers: tuple[int, ...], act: str) -> None:
    settings = load_settings()
    with open_store(settings) as store:
        posts = [store.held_post(number)[0] for number in dict.fromkeys(numbers)]
    for post in posts:
        _publish(settings, post, act)
        say(f"{post.id}: {SAID[act]}")


def _publish(settings: Settings, post: HeldPost, act: str) -> None:
    import msgspec

    from bus.messages import Item
    from config.names import INCOMING, id_about

    item = Item(
        id=id_about(f"held:{post.id}:{act}"),
        root_id=post.item_id,
        queue=INCOMING,
        list_id=post.list_id,
        reverse_path=post.reverse_path,
        accepted_at=make_clock(settings).now(),
        message_id=post.message_id,
        args={
            key: msgspec.Raw(msgspec.msgpack.encode(value))
            for key, value in (("held", post.id), ("act", act))
        },
    )
    with bus_trouble(settings):
        from bus.client import publish_now

        publish_now(settings, [item], b"", released=True)
