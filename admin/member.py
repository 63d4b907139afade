"""`members show|log|set`: everything about one address in a list, what happened to it and why, and changing it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from admin.command import Command, Refused, json_option, load_settings, open_store, origin_of, spell_list_id
from admin.member_facts import evidence_facts, history_facts, member_facts, request_facts
from admin.output import as_json as spell_json
from admin.output import printable, say, write_json_list, write_pairs

if TYPE_CHECKING:
    from config.names import ListId
    from lists.model import Member, Role
    from lists.records import History
    from lists.roster import Roster
    from lists.store import Store

ROLES = ("member", "owner", "moderator", "nonmember")
SHOWN = 10  # lines of history and bounces that `show` tells; `log` has all
PAGE = 500

list_argument = click.argument("list_name", metavar="LIST")
role_option = click.option("--role", type=click.Choice(ROLES), default="member", show_default=True)


@click.command(cls=Command)
@list_argument
@click.argument("address")
@json_option
def show(list_name: str, address: str, as_json: bool) -> None:
    """Show what is known of ADDRESS in LIST: roles, delivery, preferences, the person's other addresses, bounces, requests, history.

    Also of somebody who is not in LIST any more; exit 1 when nothing at all is known.
    """
    with open_store(load_settings()) as store:
        list_id = store.find_list(list_name).list_id
        facts = _everything(store, list_id, address)
    if not (facts["memberships"] or facts["requests"] or facts["history"]):
        raise Refused(f"{printable(address)} is not in {list_id}, and nothing is known of it there")
    if as_json:
        say(spell_json(facts))
    else:
        _write_everything(facts)


def _everything(store: Store, list_id: ListId, address: str) -> dict[str, Any]:
    def read(roster: Roster) -> dict[str, Any]:
        bounces = roster.bounces(list_id, address)
        return {
            "list_id": list_id,
            "address": address,
            "also": _others(roster, address),
            "memberships": [member_facts(each) for each in roster.roles(list_id, address)],
            "requests": [
                request_facts(each)
                for kind in ("join", "leave")
                if (each := roster.request(list_id, address, kind)) is not None
            ],
            "bounces": {
                "state": bounces.state.value,
                "score": bounces.score.value,
                "day": bounces.score.day,
                "counts": bounces.counts,
                "warnings_sent": bounces.warnings_sent,
                "probed_at": bounces.probed_at,
                "due_at": bounces.due_at,
            },
            "evidence": [evidence_facts(each) for each in roster.evidence(list_id, address, SHOWN)],
        }

    facts = store.look(read)
    history = store.records.history(list_id, address, limit=SHOWN)
    return facts | {"history": [history_facts(each) for each in history]}


def _write_everything(facts: dict[str, Any]) -> None:
    if not facts["memberships"]:
        say(f"{printable(facts['address'])} is not in {facts['list_id']}")
    for member in facts["memberships"]:
        write_pairs(_spelled({name: value for name, value in member.items() if value not in ("", None)}))
        say("")
    _say_also(facts["also"])
    for request in facts["requests"]:
        say(
            f"request {request['id']} to {request['kind']}: {request['state']}, until {_time(request['expires_at'])}"
        )
    if facts["evidence"]:
        _write_bounces(facts)
    if facts["history"]:
        say("\nhistory, newest first (members log has all):")
        for entry in facts["history"]:
            say(f"  {_told(entry, with_address=False)}")


def _write_bounces(facts: dict[str, Any]) -> None:
    stand = facts["bounces"]
    counts = ", ".join(f"{number} {name}" for name, number in stand["counts"].items())
    say(f"\nbounces: score {stand['score']:g}, {stand['state']}" + (f" ({counts})" if counts else ""))
    if stand["due_at"]:
        say(f"  {stand['warnings_sent']} warnings sent, next step {_time(stand['due_at'])}")
    for each in facts["evidence"]:
        what = " ".join(filter(None, (each["class"], each["status"], each["diagnostic"])))
        say(f"  {each['day']}  {printable(what)}  (item {each['item_id']})")


def _spelled(facts: dict[str, Any]) -> dict[str, Any]:
    return {
        name: _time(value) if name.endswith(("_at", "_until")) else value for name, value in facts.items()
    }


def _time(at: Any) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S}Z"


@click.command(cls=Command)
@list_argument
@click.argument("address", required=False)
@click.option("--limit", type=click.IntRange(min=0), default=50, show_default=True, help="How many; 0: all.")
@json_option
def log(list_name: str, address: str | None, limit: int, as_json: bool) -> None:
    """Tell what was changed in LIST, or of ADDRESS there, newest first: from what to what, by whom or by which mail, and why.

    It knows addresses that have left, and lists that were removed.
    """
    with open_store(load_settings()) as store:
        entries = map(history_facts, _page_through(store, _find(store, list_name), address, limit))
        if as_json:
            write_json_list(entries)
            return
        for entry in entries:
            say(_told(entry, with_address=address is None))


def _find(store: Store, list_name: str) -> str:
    """Return the list-id, of a list that is gone too, as long as there is a history of it."""
    list_id = spell_list_id(list_name)
    if store.records.history(list_id, limit=1):
        return list_id
    return store.find_list(list_name).list_id


def _page_through(store: Store, list_id: str, address: str | None, limit: int) -> Iterator[History]:
    """Yield entries; between two pages nothing of the store is held open."""
    before = None
    left = limit or float("inf")
    while left > 0:
        page = store.records.history(list_id, address, before, int(min(left, PAGE)))
        if not page:
            return
        yield from page
        before = page[-1].id
        left -= len(page)


def _told(entry: dict[str, Any], *, with_address: bool) -> str:
    change = (
        f"{entry['old']} -> {entry['new']}" if entry["old"] and entry["new"] else entry["old"] or entry["new"]
    )
    if entry["old"] and not entry["new"]:
        change = f"no longer {entry['old']}"
    origin = ", ".join(
        filter(
            None,
            (entry["cause"], entry["who"], entry["why"], entry["item_id"] and f"item {entry['item_id']}"),
        )
    )
    words = (
        _time(entry["at"]),
        (entry["address"] or "(list)") if with_address else "",
        entry["what"],
        change,
    )
    return printable("  ".join((*filter(None, words), f"({origin})")))


@click.command("set", cls=Command)
@list_argument
@click.argument("address")
@click.argument("assignments", metavar="[KEY=VALUE]...", nargs=-1)
@role_option
@click.option(
    "--also",
    metavar="OTHER",
    multiple=True,
    help="OTHER is the same person's: it may post wherever ADDRESS may, in every list; posts go to ADDRESS alone.",
)
@click.option("--not-also", metavar="OTHER", multiple=True, help="OTHER is another person's after all.")
@click.option("--why", metavar="TEXT", default="", help="For the history.")
def set_(
    list_name: str,
    address: str,
    assignments: tuple[str, ...],
    role: Role,
    also: tuple[str, ...],
    not_also: tuple[str, ...],
    why: str,
) -> None:
    """Change what one membership says.

    \b
    delivery=yes|no               gets posts
    delivery_status=enabled|by_user|by_owner|vacation   the same, saying who stopped it
    until=YYYY-MM-DD              with it: enabled again from this day on
    delivery_mode=regular|mime_digests|plaintext_digests
    moderation_action=accept|hold|reject|discard|defer  empty: the list's
    receive_own_postings=yes|no   gets a copy of their own posts
    acknowledge_posts=yes|no      is told when a post of theirs went out
    hide_address=yes|no           is not shown to other members
    display_name=TEXT, language=CODE
    """
    from lists.errors import NoSuchMember
    from lists.member_options import read_member_changes

    if not (assignments or also or not_also):
        raise click.UsageError("give KEY=VALUE, --also or --not-also", click.get_current_context())
    with open_store(load_settings()) as store:
        list_id = store.find_list(list_name).list_id
        changes = read_member_changes(list_id, address, assignments, role)
        found = store.member(list_id, address, role)
        if found is None:
            raise NoSuchMember(list_id, address)
        _check_links(store, found, also, not_also)
        store.perform(changes, origin_of(why))
        for other in also:
            store.link_addresses(found.address, other, origin_of(why))
        for other in not_also:
            store.unlink_addresses(found.address, other, origin_of(why))
        changed = store.member(list_id, address, role) or found
        others = store.look(lambda roster: _others(roster, changed.address))
    say(member_line(changed))
    _say_also(others)


def _check_links(store: Store, member: Member, also: tuple[str, ...], not_also: tuple[str, ...]) -> None:
    """Look at all addresses before any is changed."""
    from lists.mailbox import address_key, check_address

    for other in also:
        check_address(other)
        if address_key(other) == member.key:
            raise Refused(f"{printable(other)} is this very address")
    theirs = {address_key(each) for each in store.look(lambda roster: _others(roster, member.address))}
    for other in not_also:
        if address_key(other) not in theirs:
            raise Refused(f"{printable(other)} is not an address of {printable(member.address)}'s person")


def _others(roster: Roster, address: str) -> list[str]:
    """Return the other addresses of the same person."""
    from lists.mailbox import address_key

    key = address_key(address)
    return [each for each in roster.addresses_of_person(address) if address_key(each) != key]


def _say_also(also: list[str]) -> None:
    if also:
        say(f"also       {', '.join(map(printable, also))}")


def member_line(member: Member) -> str:
    """Return a membership as a line for a person: what is not as usual is named."""
    text = f"{member.role:9}  {printable(member.address)}"
    if member.delivery_status != "enabled":
        text += f"  delivery_status={member.delivery_status}"
    if member.status_until is not None:
        text += f"  until={member.status_until:%Y-%m-%d}"
    for name in ("moderation_action", "delivery_mode"):
        if getattr(member, name) not in ("", "regular"):
            text += f"  {name}={getattr(member, name)}"
    return text
