"""`members`: who is in a list, in which role."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, get_args

import click

from admin.command import Group, Refused, json_option, load_settings, open_store
from admin.output import printable, say, warn, write_json_list

if TYPE_CHECKING:
    from config.names import ListId
    from lists.model import Member, Role
    from lists.roster import Roster
    from lists.store import Store

PAGE = 1000  # members of one read: no read stays open while a reader of ours is slow (DESIGN, "Lists' SQLite file")
MOST_NAMED = 100  # addresses that are looked up one by one, to name those that are not there
PROGRESS_S = 0.5  # between two words about progress
_YES_NO = {"yes": True, "on": True, "true": True, "no": False, "off": False, "false": False}
ROLES = ("member", "owner", "moderator", "nonmember")


@click.group("members", cls=Group)
def command() -> None:
    """Add, list, remove and change members."""


list_argument = click.argument("list_name", metavar="LIST")
addresses_argument = click.argument("addresses", metavar="[ADDRESS]...", nargs=-1)
file_option = click.option(
    "--file",
    metavar="F",
    help='One address a line, bare or as "Name <a@b>"; a line that begins with # is a comment; - is stdin.',
)
skip_option = click.option(
    "--skip-bad", is_flag=True, help="Pass over bad lines instead of refusing them all."
)
progress_option = click.option(
    "--progress", is_flag=True, help="Tell how far it is also where stderr is no terminal."
)


@command.command()
@list_argument
@addresses_argument
@file_option
@click.option("--role", type=click.Choice(ROLES), default="member", show_default=True)
@skip_option
@progress_option
def add(
    list_name: str, addresses: tuple[str, ...], file: str | None, role: Role, skip_bad: bool, progress: bool
) -> None:
    """Add addresses to LIST. Who is there already is counted, and stays as they are."""
    with open_store(load_settings()) as store:
        found = store.find_list(list_name)
        wanted = _gather(addresses, file, skip_bad)
        with _Progress(progress) as told:
            added = store.add_members(found.list_id, wanted, role, progress=told)
    say(f"{added} added to {found.address} as {role}, {len(wanted) - added} were there already")


@command.command()
@list_argument
@addresses_argument
@file_option
@click.option("--role", type=click.Choice(ROLES), default="member", show_default=True)
@skip_option
def remove(list_name: str, addresses: tuple[str, ...], file: str | None, role: Role, skip_bad: bool) -> None:
    """Remove addresses from LIST; exit 1 when one of them was not in it."""
    with open_store(load_settings()) as store:
        found = store.find_list(list_name)
        wanted = _gather(addresses, file, skip_bad)
        missing = [
            address for address in wanted[:MOST_NAMED] if store.member(found.list_id, address, role) is None
        ]
        gone = store.remove_members(found.list_id, wanted, role)
    say(f"{gone} removed from {found.address}")
    if gone < len(wanted):
        more = f": {', '.join(missing)}" if len(wanted) <= MOST_NAMED else ""
        raise Refused(f"{len(wanted) - gone} did not have the role {role} in {found.address}{more}")


def _gather(addresses: tuple[str, ...], file: str | None, skip_bad: bool) -> list[str]:
    """Return the addresses of the command line or the file, each once; bad ones are named, and refuse all unless `skip_bad`."""
    from admin.members_file import name_mistakes, read_members
    from lists.errors import BadAddress
    from lists.mailbox import address_key, check_address

    def find_problem(address: str) -> str:
        try:
            check_address(address)
        except BadAddress as error:
            return str(error)
        return ""

    if bool(addresses) == bool(file):
        raise click.UsageError("give addresses or --file", click.get_current_context())
    lines = [address.encode(errors="surrogateescape") for address in addresses]
    read = read_members(lines or _read_lines(file or "-"), find_problem)
    for text in name_mistakes(read.bad):
        warn(f"{file}: {text}" if file else text.partition(": ")[2])
    if read.bad and not skip_bad:
        raise Refused(
            f"nothing is changed: {len(read.bad)} bad; mend them, or pass over them with --skip-bad"
        )
    return list({address_key(address): address for address in reversed(read.addresses)}.values())[::-1]


def _read_lines(file: str) -> Iterator[bytes]:
    if file == "-":
        yield from sys.stdin.buffer
        return
    with open(file, "rb") as stream:
        yield from stream


class _Progress:
    """Tells how many of how many are done: in place on a terminal, in lines when asked for, else not at all."""

    def __init__(self, is_wanted: bool) -> None:
        self._in_place = sys.stderr.isatty()
        self._is_on = is_wanted or self._in_place
        self._told = time.monotonic()

    def __enter__(self) -> Callable[[int, int], None]:
        return self._tell

    def _tell(self, done: int, total: int) -> None:
        if self._is_on and (done >= total or time.monotonic() - self._told >= PROGRESS_S):
            self._told = time.monotonic()
            count = f"{done} of {total}"
            sys.stderr.write(f"\r{count}" if self._in_place else f"{count}\n")
            sys.stderr.flush()

    def __exit__(self, *_: object) -> None:
        if self._is_on and self._in_place:
            sys.stderr.write("\n")


@command.command()
@list_argument
@click.option("--role", type=click.Choice(ROLES), help="Only this role.")
@json_option
def ls(list_name: str, role: Role | None, as_json: bool) -> None:
    """List who is in LIST, in order of address."""
    with open_store(load_settings()) as store:
        list_id = store.find_list(list_name).list_id
        members = _page_through(store, list_id, role)
        if as_json:
            write_json_list(map(_facts, members))
        else:
            for member in members:
                say(_line(member))


def _page_through(store: Store, list_id: ListId, role: Role | None) -> Iterator[Member]:
    """Yield every member; between two pages nothing of the store is held open, however long the reader takes."""
    after = ""
    while page := store.members(list_id, role, after=after, limit=PAGE):
        yield from page
        after = page[-1].cursor


def _facts(member: Member) -> dict[str, Any]:
    return {
        "address": member.address,
        "role": member.role,
        "delivery": member.delivery,
        "moderation_action": member.moderation_action,
    }


def _line(member: Member) -> str:
    text = f"{member.role:9}  {printable(member.address)}"
    if not member.delivery:
        text += "  delivery=no"
    return text + (f"  moderation_action={member.moderation_action}" if member.moderation_action else "")


@command.command()
@list_argument
@click.argument("address")
@json_option
def show(list_name: str, address: str, as_json: bool) -> None:
    """Show what LIST knows of one address: each role, and the other addresses of the same person."""
    with open_store(load_settings()) as store:
        list_id = store.find_list(list_name).list_id
        found, also = store.look(
            lambda roster: (_memberships(roster, list_id, address), _others(roster, address))
        )
    if not found:
        raise Refused(f"{printable(address)} is not in {list_id}")
    if as_json:
        write_json_list({**_facts(member), "also": also} for member in found)
    else:
        for member in found:
            say(_line(member))
        _say_also(also)


def _memberships(roster: Roster, list_id: ListId, address: str) -> list[Member]:
    from lists.model import ROLES

    found = (roster.member(list_id, address, role) for role in ROLES)
    return [member for member in found if member is not None]


def _others(roster: Roster, address: str) -> list[str]:
    from lists.mailbox import address_key

    key = address_key(address)
    return [each for each in roster.addresses_of_person(address) if address_key(each) != key]


def _say_also(also: list[str]) -> None:
    if also:
        say(f"also       {', '.join(map(printable, also))}")


@command.command("set")
@list_argument
@click.argument("address")
@click.argument("assignments", metavar="[KEY=VALUE]...", nargs=-1)
@click.option("--role", type=click.Choice(ROLES), default="member", show_default=True)
@click.option(
    "--also",
    metavar="OTHER",
    multiple=True,
    help="OTHER is the same person's: it may post wherever ADDRESS may, in every list; posts go to ADDRESS alone.",
)
@click.option("--not-also", metavar="OTHER", multiple=True, help="OTHER is another person's after all.")
def set_(
    list_name: str,
    address: str,
    assignments: tuple[str, ...],
    role: Role,
    also: tuple[str, ...],
    not_also: tuple[str, ...],
) -> None:
    """Change one member: delivery=yes|no (gets posts), moderation_action=accept|hold|reject|discard|defer, or empty for the list's."""
    if not (assignments or also or not_also):
        raise click.UsageError("give KEY=VALUE, --also or --not-also", click.get_current_context())
    values = _read_assignments(assignments)
    with open_store(load_settings()) as store:
        changed = store.set_member(list_name, address, role=role, **values)
        _link(store, changed, also, not_also)
        others = store.look(lambda roster: _others(roster, changed.address))
    say(_line(changed))
    _say_also(others)


def _link(store: Store, member: Member, also: tuple[str, ...], not_also: tuple[str, ...]) -> None:
    """Make addresses one person's, or no longer; all are looked at before any is changed."""
    from lists.mailbox import address_key, check_address

    for other in also:
        check_address(other)
        if address_key(other) == member.key:
            raise Refused(f"{printable(other)} is this very address")
    theirs = {address_key(each) for each in store.look(lambda roster: _others(roster, member.address))}
    for other in not_also:
        if address_key(other) not in theirs:
            raise Refused(f"{printable(other)} is not an address of {printable(member.address)}'s person")
    for other in also:
        store.link_addresses(member.address, other)
    for other in not_also:
        store.unlink_addresses(member.address, other)


def _read_assignments(assignments: tuple[str, ...]) -> dict[str, Any]:
    from lists.model import MemberAction

    values: dict[str, Any] = {}
    for text in assignments:
        key, _, value = (part.strip() for part in text.partition("="))
        if key == "delivery" and value in _YES_NO:
            values[key] = _YES_NO[value]
        elif key == "moderation_action" and value in ("", *get_args(MemberAction)):
            values[key] = value
        else:
            raise Refused(
                f"{text!r}: write delivery=yes|no or moderation_action={'|'.join(get_args(MemberAction))}"
            )
    return values
