"""`members`: who is in a list, in which role. What concerns one address alone is in member.py."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from admin import member, request
from admin.command import Group, Refused, json_option, load_settings, open_store, origin_of
from admin.member import ROLES, list_argument, member_line, role_option
from admin.member_facts import member_facts
from admin.output import say, warn, write_json_list
from admin.progress import Progress

if TYPE_CHECKING:
    from config.names import ListId
    from lists.model import Member, Role
    from lists.store import Store

PAGE = 1000  # members of one read: no read stays open while a reader of ours is slow (DESIGN, "Lists' SQLite file")
MOST_NAMED = 100  # addresses that are looked up one by one, to name those that are not there


@click.group("members", cls=Group)
def command() -> None:
    """Add, list, remove and change members."""


for each in (member.show, member.log, member.set_, request.requests, request.approve, request.refuse):
    command.add_command(each)

addresses_argument = click.argument("addresses", metavar="[ADDRESS]...", nargs=-1)
file_option = click.option(
    "--file",
    metavar="F",
    help='One address a line, bare or as "Name <a@b>"; a line that begins with # is a comment; - is stdin.',
)
skip_option = click.option(
    "--skip-bad", is_flag=True, help="Pass over bad lines instead of refusing them all."
)
why_option = click.option("--why", metavar="TEXT", default="", help="For the history.")
progress_option = click.option(
    "--progress", is_flag=True, help="Tell how far it is also where stderr is no terminal."
)


@command.command()
@list_argument
@addresses_argument
@file_option
@role_option
@skip_option
@why_option
@progress_option
def add(
    list_name: str,
    addresses: tuple[str, ...],
    file: str | None,
    role: Role,
    skip_bad: bool,
    why: str,
    progress: bool,
) -> None:
    """Add addresses to LIST. Who is there already is counted, and stays as they are."""
    with open_store(load_settings()) as store:
        found = store.find_list(list_name)
        wanted = _gather(addresses, file, skip_bad)
        with Progress(progress) as told:
            added = store.add_members(found.list_id, wanted, role, progress=told, origin=origin_of(why))
    say(f"{added} added to {found.address} as {role}, {len(wanted) - added} were there already")


@command.command()
@list_argument
@addresses_argument
@file_option
@role_option
@skip_option
@why_option
def remove(
    list_name: str, addresses: tuple[str, ...], file: str | None, role: Role, skip_bad: bool, why: str
) -> None:
    """Remove addresses from LIST; exit 1 when one of them was not in it."""
    with open_store(load_settings()) as store:
        found = store.find_list(list_name)
        wanted = _gather(addresses, file, skip_bad)
        missing = [
            address for address in wanted[:MOST_NAMED] if store.member(found.list_id, address, role) is None
        ]
        gone = store.remove_members(found.list_id, wanted, role, origin_of(why))
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
            write_json_list(map(member_facts, members))
        else:
            for found in members:
                say(member_line(found))


def _page_through(store: Store, list_id: ListId, role: Role | None) -> Iterator[Member]:
    """Yield every member; between two pages nothing of the store is held open, however long the reader takes."""
    after = ""
    while page := store.members(list_id, role, after=after, limit=PAGE):
        yield from page
        after = page[-1].cursor
