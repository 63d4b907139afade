"""`demo`: the first try without an MTA. --prepare writes a small site for `make run`; without it one post goes all the way."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from admin.command import (
    Command,
    Refused,
    ask_bus,
    config_named,
    json_option,
    load_settings,
    make_clock,
    open_store,
)
from admin.output import as_json as spell_json
from admin.output import printable, say, warn

if TYPE_CHECKING:
    from admin.trace import Entry
    from config.settings import Settings
    from lists.model import MailingList

LIST = "demo@lists.localhost"
MEMBERS = ("anne@members.localhost", "bert@members.localhost", "cora@members.localhost")
DELIVERY_S = 20.0  # a post arrives within a second; this long for a machine that is busy with something else
LOG_S = 2.0  # the last lines are written just after the last file
POLL_S = 0.05

FIRST = "run `make run` in another terminal first"

CONFIG = """\
# A site to try Postroom with, made by `make run`. Change it, or remove it and get a new one.
# `bin/postroom config sample` explains every option.

[site]
owner = "postmaster@members.localhost"

[lmtp]
listen = ["127.0.0.1:8024", "unix:var/run/lmtp.sock"]

[outgoing]
maildir = "var/mail"    # instead of an MTA: the mail of each member in a folder of its own

[logs]
format = "console"      # what master prints; var/log/postroom.jsonl has JSON
"""


@click.command("demo", cls=Command)
@click.option("--prepare", is_flag=True, help="Make the site for it: configuration, list and members.")
@json_option
def command(prepare: bool, as_json: bool) -> None:
    """Send one post through the running site and show its way to every member.

    Run `make run` in another terminal first.
    """
    if prepare:
        _prepare()
    else:
        _run(as_json)


def _prepare() -> None:
    """Make what is missing; whatever is there already stays."""
    _write_config()
    settings = load_settings()
    if not settings.outgoing.maildir:
        warn(f"no list {LIST} is made: this configuration sends by SMTP, and its members do not exist")
        return
    made = _make_list(settings)
    _tell_what_next(settings, made)


def _write_config() -> None:
    """Write the file that the call, the environment or this folder names, where there is none."""
    file = Path(config_named() or os.environ.get("POSTROOM_CONFIG") or "postroom.toml")
    if not file.exists():
        file.write_text(CONFIG, "utf-8")
        say(f"wrote {file}")


def _make_list(settings: Settings) -> MailingList:
    from lists.errors import ListExists
    from lists.model import ListSettings

    with open_store(settings) as store:
        try:
            made = store.create_list(
                LIST,
                ListSettings(generic_nonmember_action="accept", description="A list to try Postroom with"),
                [MEMBERS[0]],
            )
        except ListExists:
            return store.find_list(LIST)
        store.add_members(made.list_id, MEMBERS, "member")
    return made


def _tell_what_next(settings: Settings, made: MailingList) -> None:
    from admin.send import find_target

    target = find_target(settings)
    swaks = f"--socket {target.path}" if target.path else f"--server {target}"
    say(
        f"""
The list {made.address} has the members {", ".join(MEMBERS)}.
When the site is up, type in another terminal:

  bin/postroom demo                        sends one post and shows its way to every member
  bin/postroom send --from {MEMBERS[0]} --to {made.address}
  bin/postroom send --from you@example.net --to {made.address} --to nosuch@lists.localhost
  bin/master status                        what runs, what waits

Any LMTP client will do: swaks --protocol LMTP {swaks} --from {MEMBERS[0]} --to {made.address}
The mail of each member is in {settings.outgoing.maildir}/ADDRESS/new. Ctrl-C stops the site; nothing is lost by it.
"""
    )


def _run(as_json: bool) -> None:
    settings = load_settings()
    members = _members(settings)
    _find_site(settings)
    content = _write_post(settings, members[0])
    item_id = _send(settings, members[0], content, show=not as_json)
    files = _wait_for_files(settings, members, content)
    entries = _wait_for_story(settings, item_id)
    if as_json:
        arrived = [{"member": address, "file": str(file)} for address, file in files.items()]
        say(spell_json({"item_id": item_id, "trace": entries, "delivered": arrived}))
    else:
        _tell(settings, item_id, entries, files)
    if missing := [address for address in members if address not in files]:
        raise Refused(
            f"nothing arrived at {', '.join(missing)} within {DELIVERY_S:.0f} s; look at bin/master status and bin/postroom trace {item_id}"
        )


def _find_site(settings: Settings) -> None:
    """Make sure that it is this site that is up: another may listen at the same address."""
    try:
        ask_bus(settings, "status")
    except Refused as error:
        raise Refused(f"{error}; {FIRST}") from error


def _members(settings: Settings) -> list[str]:
    if not settings.outgoing.maildir:
        raise Refused(f"the demo needs [outgoing] maildir, to see where mail arrives; {FIRST}")
    with open_store(settings) as store:
        listed = {mailing_list.address: mailing_list.list_id for mailing_list in store.lists()}
        if LIST not in listed:
            raise Refused(f"there is no list {LIST} in {settings.lists.store}; {FIRST}")
        found = store.members(listed[LIST], "member")
    members = [member.address for member in found if member.delivery]
    if not members:
        raise Refused(f"{LIST} has no members; bin/postroom members add {LIST} {MEMBERS[0]} gives it one")
    return members


def _write_post(settings: Settings, sender: str) -> bytes:
    from admin.send import write_message

    return write_message(settings, make_clock(settings), sender, [LIST], "Hello from bin/postroom demo")


def _send(settings: Settings, sender: str, content: bytes, *, show: bool) -> str:
    """Hand a post in and return the id that the 250 names."""
    from admin.send import find_target, hand_in

    target = find_target(settings)
    (result,) = hand_in(settings, target, sender, [LIST], content, show=show, remedy=FIRST)
    if not result.reply.is_positive:
        raise Refused(f"{LIST} did not take the post: {result.reply}")
    return result.reply.text.split()[-1]


def _wait_for_files(settings: Settings, members: list[str], content: bytes) -> dict[str, Path]:
    """Return the file that each member got, those that came within the time; it is known by its Message-ID."""
    mark = re.search(rb"(?m)^Message-ID: .*$", content)
    deadline = time.monotonic() + DELIVERY_S
    files: dict[str, Path] = {}
    while mark and len(files) < len(members) and time.monotonic() < deadline:
        for address in members:
            if address not in files and (file := _find_file(settings, address, mark[0])):
                files[address] = file
        time.sleep(POLL_S)  # a folder cannot be awaited without a library for the kernel's inotify
    return {address: files[address] for address in members if address in files}


def _find_file(settings: Settings, address: str, mark: bytes) -> Path | None:
    from runners.maildir import folder_name

    folder = Path(settings.outgoing.maildir) / folder_name(address) / "new"
    newest_first = sorted(folder.glob("*"), key=lambda file: file.name, reverse=True)[:50]
    return next((file for file in newest_first if mark in file.read_bytes()), None)


def _wait_for_story(settings: Settings, item_id: str) -> list[Entry]:
    """Return the trace, once nothing is queued any more and the log says where it ended."""
    from admin.trace import gather

    deadline = time.monotonic() + LOG_S
    while True:
        entries, _ = gather(settings, item_id)
        events = {entry.get("event") for entry in entries}
        if ("outgoing.delivered" in events and "queued" not in events) or time.monotonic() > deadline:
            return entries
        time.sleep(POLL_S)


def _tell(settings: Settings, item_id: str, entries: list[Entry], files: dict[str, Path]) -> None:
    from admin.trace import write_story

    say(f"\nIts way (bin/postroom trace {item_id}):")
    write_story(entries)
    say("\nWhere it arrived:")
    for address, file in files.items():
        say(f"{printable(address)}: {printable(file)}")
