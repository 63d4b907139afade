"""`lists export|import`: a whole list as one file that a person can read, compare and keep."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

import click

from admin.command import Command, load_settings, open_store, origin_of
from admin.output import say
from admin.progress import Progress


@click.command("export", cls=Command)
@click.argument("list_name", metavar="LIST")
@click.option("--output", metavar="F", help="Write here (0600), only when all is written; else to stdout.")
def export_(list_name: str, output: str | None) -> None:
    """Write LIST as a file: settings, bans, members and owners with all that is known of each, the addresses of persons, bounces.

    Held posts, open requests and the history are not in it.
    """
    with open_store(load_settings()) as store:
        lines = store.export_list(list_name)
        with _open_output(output) as stream:
            for line in lines:
                stream.write(line)


@contextmanager
def _open_output(path: str | None) -> Iterator[BinaryIO]:
    """Open stdout, or a file that gets its name when it is whole: a file half written never looks like an export."""
    if path is None:
        sys.stdout.flush()
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    part = f"{path}.part"
    try:
        with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as stream:
            yield stream
        os.replace(part, path)
    except BaseException:
        if os.path.exists(part):
            os.unlink(part)
        raise


@click.command("import", cls=Command)
@click.argument("file", metavar="FILE")
@click.option("--address", metavar="ADDRESS", default="", help="Make the list here; else where it was.")
@click.option("--progress", is_flag=True, help="Tell how far it is also where stderr is no terminal.")
def import_(file: str, address: str, progress: bool) -> None:
    """Make the list that FILE says (- is stdin), whole or not at all. There must be no such list yet."""
    with open_store(load_settings()) as store, _open_input(file) as lines, Progress(progress) as told:
        made = store.import_list(lines, address, told, origin_of(f"from {file}"))
        count = store.count_members(made.list_id)
    say(f"{made.address} created, list-id {made.list_id}, {count} members")


@contextmanager
def _open_input(file: str) -> Iterator[BinaryIO]:
    if file == "-":
        yield sys.stdin.buffer
        return
    with open(file, "rb") as stream:
        yield stream
