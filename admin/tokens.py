"""`tokens`: codes that were sent out and wait for an answer. What they are nobody here knows: the store has their hashes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from admin.command import Group, Refused, json_option, load_settings, make_clock, open_store, origin_of
from admin.member_facts import token_facts
from admin.output import say, write_listing

if TYPE_CHECKING:
    from lists.records import Token
    from lists.store import Store

COLUMNS = ("id", "list_id", "address", "purpose", "about", "created_at", "expires_at", "used_at")


@click.group("tokens", cls=Group)
def command() -> None:
    """See codes that were sent out, and take them back."""


@command.command()
@click.argument("list_name", metavar="[LIST]", required=False)
@click.option("--all", "with_used", is_flag=True, help="Used and expired ones too.")
@json_option
def ls(list_name: str | None, with_used: bool, as_json: bool) -> None:
    """List codes that still work, of LIST or of all lists."""
    settings = load_settings()
    now = make_clock(settings).now()
    with open_store(settings) as store:
        list_id = store.find_list(list_name).list_id if list_name else None
        rows = (
            token_facts(number, token)
            for number, token in _page_through(store, list_id)
            if with_used or token.is_open(now)
        )
        write_listing(rows, COLUMNS, json=as_json, empty="no code is out")


def _page_through(store: Store, list_id: str | None) -> Iterator[tuple[int, Token]]:
    after = 0
    while page := store.records.tokens(list_id, after):
        yield from page
        after = page[-1][0]


@command.command()
@click.argument("numbers", metavar="ID...", type=int, nargs=-1, required=True)
@click.option("--why", metavar="TEXT", default="", help="For the history.")
def revoke(numbers: tuple[int, ...], why: str) -> None:
    """Make codes useless, all or none; who sends one in is told that it is not good, or no longer."""
    from lists.changes import UseToken

    settings = load_settings()
    now = make_clock(settings).now()
    with open_store(settings) as store:
        found = {number: _find(store, number) for number in dict.fromkeys(numbers)}
        for number, token in found.items():
            if not token.is_open(now):
                raise Refused(f"token {number} was used, revoked or has expired")
        changes = [UseToken(token.hash) for token in found.values()]
        store.perform(changes, origin_of(why or "revoked"))
    for number, token in found.items():
        say(f"{number}: the code about {token.about or token.purpose} works no longer")


def _find(store: Store, number: int) -> Token:
    for found, token in store.records.tokens(after=number - 1, limit=1):
        if found == number:
            return token
    raise Refused(f"there is no token {number} (bin/postroom tokens ls shows all)")
