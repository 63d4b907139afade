"""`why`: what would a sender be told, at RCPT and after DATA, and by which rule? The very code that the front-end and incoming run (DESIGN P10)."""

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
    from collections.abc import Iterable

    from config.settings import Settings
    from lists.directory import Directory
    from lists.policy import Refused, Taken
    from lists.posts import Post
    from lists.rules import Finding, Verdict


@click.command("why", cls=Command)
@click.argument("sender")
@click.argument("recipient")
@click.option("--message", "file", metavar="F", help="Judge this message too, as after DATA.")
@json_option
def command(sender: str, recipient: str, file: str | None, as_json: bool) -> None:
    """Tell whether mail from SENDER to RECIPIENT would be accepted, and which rule decides.

    SENDER is the reverse-path, "" or "<>" for the null one. Exit 0 accepted, 1 refused, at RCPT or after DATA. For a post that would be
    accepted it also tells what would become of it then: accept, hold, reject or discard. With --message every rule says its word;
    those behind the one that decides say what they would have.
    """
    settings = load_settings()
    content = Path(file).read_bytes() if file else None
    with list_trouble():
        facts = _judge(settings, strip_brackets(sender), strip_brackets(recipient), content)
    facts["senders"] = _senders(strip_brackets(sender))
    if as_json:
        say(spell_json(facts))
    else:
        _write(facts, with_rules=content is not None)
    if facts["verdict"] != "accepted":
        raise click.exceptions.Exit(1)


def _senders(reverse_path: str) -> list[dict[str, str]]:
    """Return everybody whom a reverse-path may stand for, itself first."""
    from lists.senders import resolve_sender

    return [{"address": sender.key, "form": sender.form} for sender in resolve_sender(reverse_path)]


def _write(facts: dict[str, Any], *, with_rules: bool) -> None:
    for sender in facts["senders"][1:]:
        say(f"sender: stands for {printable(sender['address'])} too (form {sender['form']})")
    say(f"{facts['verdict']}: {facts['code']} {facts['enhanced']} {facts['text']} (rule {facts['rule']})")
    if facts["then"]:
        unless = ", unless From: or Sender: is a member's" if facts["then"] == "reject" else ""
        say(f"then: {facts['then']} (rule {facts['then_rule']}){unless}")
    for found in facts["rules"] if with_rules else ():
        say(f"  {found['rule']:<30} {found['result']}{'   <- decides' if found['decides'] else ''}")


def _judge(settings: Settings, sender: str, recipient: str, content: bytes | None) -> dict[str, Any]:
    from lists.directory import Directory
    from lists.policy import Taken

    with closing(Directory(settings)) as directory:
        directory.load()
        answer = directory.judge(sender, recipient)
        if not isinstance(answer, Taken):
            return _refused(answer)
        return _judge_message(settings, directory, answer, sender, content)


def _judge_message(
    settings: Settings, directory: Directory, taken: Taken, sender: str, content: bytes | None
) -> dict[str, Any]:
    """Say what the final dot would be answered; without a message, as far as the envelope tells."""
    from admin.lmtp_client import with_crlf
    from lists.policy import Refused
    from lists.posts import Post
    from lmtp import accept, replies

    wire = None if content is None else with_crlf(content)  # as it goes over the wire (RFC 1870 5)
    post = Post(sender, wire)
    if post.size > settings.lmtp.max_size:
        too_big = replies.TOO_BIG
        return _refused(Refused(too_big.code, too_big.enhanced, too_big.text, "max-size"))
    is_report = wire is not None and accept.read_header(wire).is_report
    answer = directory.judge_data(taken.destination, post, is_report=is_report)
    if taken.destination.purpose != "post":
        if isinstance(answer, Refused):
            return _refused(answer)
        facts = _taken(answer)
        if not answer.destination.list_id:
            facts["text"] += f" of the site, for {settings.site.owner or 'nobody: [site] owner is not set'}"
        return facts
    findings = directory.explain_post(taken.destination.list_id, post)
    if isinstance(answer, Refused) and not _may_be_rescued(directory, taken, answer, post):
        return _refused(answer, findings)
    return _taken(taken, directory.judge_post(taken.destination.list_id, post), findings)


def _may_be_rescued(directory: Directory, taken: Taken, refused: Refused, post: Post) -> bool:
    """Say whether a From: or Sender: that nobody has shown us could still make this sender a member."""
    from lists.rules.senders import GENERIC, OWN_ACTION

    found = directory.mailing_list(taken.destination.list_id)
    is_unsure = found is not None and found.settings.sender_check == "message"
    return is_unsure and not post.has_content and refused.rule in (GENERIC, OWN_ACTION)


def _refused(answer: Refused, findings: Iterable[Finding] = ()) -> dict[str, Any]:
    return {
        "verdict": "refused",
        "code": answer.code,
        "enhanced": answer.enhanced,
        "text": answer.text,
        "rule": answer.rule,
        "then": "",
        "then_rule": "",
        "rules": [_shown(finding) for finding in findings],
    }


def _taken(answer: Taken, verdict: Verdict | None = None, findings: Iterable[Finding] = ()) -> dict[str, Any]:
    to = answer.destination
    return {
        "verdict": "accepted",
        "code": 250,
        "enhanced": "2.1.5",
        "text": f"goes to queue {to.queue} as {to.purpose}" + (f" of {to.list_id}" if to.list_id else ""),
        "rule": answer.rule,
        "then": _word(verdict) if verdict else "",
        "then_rule": verdict.rule if verdict else "",
        "rules": [_shown(finding) for finding in findings],
    }


def _shown(finding: Finding) -> dict[str, Any]:
    result = (
        _word(finding.verdict) if finding.verdict else "pass" if finding.was_asked else "needs the message"
    )
    return {"rule": finding.rule.name, "result": result, "decides": finding.decides}


def _word(verdict: Verdict) -> str:
    return type(verdict).__name__.lower()
