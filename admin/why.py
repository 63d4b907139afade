"""`why`: what would a sender be told at RCPT, and by which rule? The very code that the front-end runs (DESIGN P10)."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from admin.command import Command, json_option, list_trouble, load_settings
from admin.output import as_json as spell_json
from admin.output import printable, say
from admin.send import strip_brackets

if TYPE_CHECKING:
    from config.settings import Settings
    from lists.policy import Refused as Refusal
    from lists.policy import Taken


@click.command("why", cls=Command)
@click.argument("sender")
@click.argument("recipient")
@click.option("--message", "file", metavar="F", help="Judge this message too, as after DATA.")
@json_option
def command(sender: str, recipient: str, file: str | None, as_json: bool) -> None:
    """Tell whether mail from SENDER to RECIPIENT would be accepted, and which rule decides.

    SENDER is the reverse-path, "" or "<>" for the null one. Exit 0 accepted, 1 refused.
    """
    settings = load_settings()
    size = _size(file) if file else None
    with list_trouble():
        answer = _judge(settings, strip_brackets(sender), strip_brackets(recipient), size)
    facts = _facts(answer)
    if as_json:
        say(spell_json(facts))
    else:
        say(
            f"{facts['verdict']}: {facts['code']} {facts['enhanced']} {printable(facts['text'])} (rule {facts['rule']})"
        )
    if facts["verdict"] != "accepted":
        raise click.exceptions.Exit(1)


def _size(file: str) -> int:
    """Count the octets of a message as they would go over the wire (RFC 1870 5)."""
    from admin.lmtp_client import with_crlf

    return len(with_crlf(Path(file).read_bytes()))


def _judge(settings: Settings, sender: str, recipient: str, size: int | None) -> Taken | Refusal:
    from lists.directory import Directory
    from lists.policy import Taken

    with closing(Directory(settings)) as directory:
        directory.load()
        answer = directory.judge(sender, recipient)
        if isinstance(answer, Taken) and size is not None:
            return directory.judge_data(answer.destination, sender, size)
        return answer


def _facts(answer: Taken | Refusal) -> dict[str, Any]:
    from lists.policy import Taken

    if isinstance(answer, Taken):
        to = answer.destination
        return {
            "verdict": "accepted",
            "code": 250,
            "enhanced": "2.1.5",
            "text": f"goes to queue {to.queue} as {to.purpose}" + (f" of {to.list_id}" if to.list_id else ""),
            "rule": answer.rule,
        }
    return {
        "verdict": "refused",
        "code": answer.code,
        "enhanced": answer.enhanced,
        "text": answer.text,
        "rule": answer.rule,
    }
