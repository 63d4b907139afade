"""`why`: what would a sender be told at RCPT, and by which rule? The very code that the front-end runs (DESIGN P10)."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from admin.command import Command, json_option, list_trouble, load_settings
from admin.output import as_json as spell_json
from admin.output import say
from admin.send import strip_brackets

if TYPE_CHECKING:
    from config.settings import Settings
    from lists.policy import Post, Taken, Verdict
    from lists.policy import Refused as Refusal


@click.command("why", cls=Command)
@click.argument("sender")
@click.argument("recipient")
@click.option("--message", "file", metavar="F", help="Judge this message too, as after DATA.")
@json_option
def command(sender: str, recipient: str, file: str | None, as_json: bool) -> None:
    """Tell whether mail from SENDER to RECIPIENT would be accepted, and which rule decides.

    SENDER is the reverse-path, "" or "<>" for the null one. Exit 0 accepted, 1 refused. For a post that would be accepted it also
    tells what would become of it then: accept, hold, reject or discard.
    """
    settings = load_settings()
    content = Path(file).read_bytes() if file else None
    with list_trouble():
        facts = _judge(settings, strip_brackets(sender), strip_brackets(recipient), content)
    if as_json:
        say(spell_json(facts))
    else:
        say(f"{facts['verdict']}: {facts['code']} {facts['enhanced']} {facts['text']} (rule {facts['rule']})")
        if facts["then"]:
            say(f"then: {facts['then']} (rule {facts['then_rule']})")
    if facts["verdict"] != "accepted":
        raise click.exceptions.Exit(1)


def _judge(settings: Settings, sender: str, recipient: str, content: bytes | None) -> dict[str, Any]:
    from lists.directory import Directory
    from lists.policy import Taken

    with closing(Directory(settings)) as directory:
        directory.load()
        answer = directory.judge(sender, recipient)
        if not isinstance(answer, Taken):
            return _refused(answer)
        post = _read_post(sender, content)
        if content is not None:
            answer = directory.judge_data(answer.destination, sender, post.size)
            if not isinstance(answer, Taken):
                return _refused(answer)
        verdict = None
        if answer.destination.purpose == "post":
            verdict = directory.judge_post(answer.destination.list_id, post)
        return _taken(answer, verdict)


def _read_post(sender: str, content: bytes | None) -> Post:
    """Return what the rules look at: the reverse-path alone, or the message too, as it would go over the wire (RFC 1870 5)."""
    from lists.policy import Post

    if content is None:
        return Post(reverse_path=sender, size=0)
    from admin.lmtp_client import with_crlf
    from bus.messages import Item
    from config.clock import Clock
    from config.names import INCOMING, ItemId
    from runners.posts import read_post

    item = Item(
        id=ItemId(""), root_id=ItemId(""), queue=INCOMING, reverse_path=sender, accepted_at=Clock().now()
    )
    return read_post(item, with_crlf(content)).post


def _refused(answer: Refusal) -> dict[str, Any]:
    return {
        "verdict": "refused",
        "code": answer.code,
        "enhanced": answer.enhanced,
        "text": answer.text,
        "rule": answer.rule,
        "then": "",
        "then_rule": "",
    }


def _taken(answer: Taken, verdict: Verdict | None) -> dict[str, Any]:
    to = answer.destination
    return {
        "verdict": "accepted",
        "code": 250,
        "enhanced": "2.1.5",
        "text": f"goes to queue {to.queue} as {to.purpose}" + (f" of {to.list_id}" if to.list_id else ""),
        "rule": answer.rule,
        "then": type(verdict).__name__.lower() if verdict else "",
        "then_rule": verdict.rule if verdict else "",
    }
