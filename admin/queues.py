"""`queues`: how much waits where, and stopping one for a while."""

from __future__ import annotations

from typing import Any

import click

from admin.command import Group, ask_bus, json_option, load_settings
from admin.output import say, warn, write_listing

COLUMNS = ("queue", "ready", "leased", "deferred", "shunted", "oldest_age_s", "done", "paused")


@click.group("queues", cls=Group)
def command() -> None:
    """See how much waits, pause and resume."""


@command.command()
@json_option
def ls(as_json: bool) -> None:
    """List every queue with what is ready, in hand, waiting for its time, and set aside."""
    status = ask_bus(load_settings(), "status")
    write_listing(status["queues"], COLUMNS, json=as_json)
    if not as_json:
        _tell_flow(status.get("flow") or {}, status["queues"])


def _tell_flow(flow: dict[str, Any], queues: list[dict[str, Any]]) -> None:
    if flow.get("state", "ok") != "ok":
        warn(f"no new mail is taken: {flow.get('reason')}")
    for queue in flow.get("full") or ():
        warn(f"{queue} is full: mail for its addresses is told 452 for now")
    for row in queues:
        if row.get("balanced") is False:
            warn(f"the counters of {row['queue']} do not balance; please report this")


@command.command()
@click.argument("queue")
def pause(queue: str) -> None:
    """Give no item of QUEUE to its runner until `queues resume`; mail is still accepted."""
    _order("pause", queue)
    say(f"{queue} is paused; bin/postroom queues resume {queue} lets it go on")


@command.command()
@click.argument("queue")
def resume(queue: str) -> None:
    """Let QUEUE go on."""
    _order("resume", queue)
    say(f"{queue} goes on")


def _order(what: str, queue: str) -> None:
    ask_bus(load_settings(), what, queue=queue)
