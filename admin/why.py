"""`why`: what would a sender be told, at MAIL, RCPT and after DATA, and by which rule? The very code that the front-end and incoming run (DESIGN P10).

Left out is what the moment decides: full queues, a disk without space, what a session may do.
"""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

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
    from lmtp.data import Message
    from lmtp.replies import Reply

SYNTAX: Final = "syntax"  # in place of a rule's name: it is no address, and no list was asked


@click.command("why", cls=Command)
@click.argument("sender")
@click.argument("recipient")
@click.option("--message", "file", metavar="F", help="Judge this message too, as after DATA.")
@json_option
def command(sender: str, recipient: str, file: str | None, as_json: bool) -> None:
    """Tell whether mail from SENDER to RECIPIENT would be accepted, and which rule decides.

    SENDER is the reverse-path, "" or "<>" for the null one. Exit 0 accepted, 1 refused, at RCPT or after DATA. For a post that would be
    accepted it also tells what would become of it then: accept, hold, reject or discard. With --message every rule says its word;
    those behind the one that decides say what they would have. A file whose first line ends with LF is text and goes out with CR LF; any other
    is taken octet for octet, so a bare CR or LF in it is one on the wire.
    """
    settings = load_settings()
    content = Path(file).read_bytes() if file else None
    envelope = _read_envelope(sender, recipient)
    with list_trouble():
        facts = _judge(settings, *envelope, content) if isinstance(envelope, tuple) else _told(envelope)
    facts["senders"] = _senders(envelope[0]) if isinstance(envelope, tuple) else []
    if as_json:
        say(spell_json(facts))
    else:
        _write(facts, with_rules=content is not None)
    if facts["verdict"] != "accepted":
        raise click.exceptions.Exit(1)


def _read_envelope(sender: str, recipient: str) -> tuple[str, str] | Reply:
    """Return reverse-path and recipient as the dialogue reads them, or what it answers when one of them is none."""
    from lmtp.addresses import parse_odd
    from lmtp.commands import Mail, Rcpt, parse
    from lmtp.replies import Reply

    found: list[str] = []
    for verb, address in ((b"MAIL FROM", sender), (b"RCPT TO", recipient)):
        match parse(b"%b:<%b>\r\n" % (verb, os.fsencode(strip_brackets(address))), parse_odd):
            case Mail(read) | Rcpt(read):
                found.append(read)
            case Reply() as refusal:
                return refusal
    return found[0], found[1]


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
    from lists.policy import Refused
    from lists.posts import Post
    from lmtp import accept

    message = None if content is None else _gather(settings, content)
    if message is not None and (refusal := accept.refuse_message(message)):
        return _told(refusal, "max-size" if message.too_big else "bare-newlines")
    post = Post(sender, message.content if message else None)
    is_report = message is not None and accept.read_header(message.content).is_report
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


def _gather(settings: Settings, content: bytes) -> Message:
    """Read a message as the dialogue does between DATA and the final dot."""
    from admin.lmtp_client import with_crlf
    from lmtp.data import Gathering

    if content.partition(b"\n")[0].endswith(b"\r"):
        lines = content if content.endswith(b"\r\n") else content + b"\r\n"
    else:
        lines = with_crlf(content)
    gathering = Gathering(settings.lmtp.max_size, normalize=settings.lmtp.bare_newlines == "normalize")
    gathering.feed((b"\r\n" + lines).replace(b"\r\n.", b"\r\n..")[2:] + b".\r\n", 0)
    return gathering.message()


def _may_be_rescued(directory: Directory, taken: Taken, refused: Refused, post: Post) -> bool:
    """Say whether a From: or Sender: that nobody has shown us could still make this sender a member."""
    from lists.rules.senders import GENERIC, OWN_ACTION

    found = directory.mailing_list(taken.destination.list_id)
    is_unsure = found is not None and found.settings.sender_check == "message"
    return is_unsure and not post.has_content and refused.rule in (GENERIC, OWN_ACTION)


def _told(reply: Reply, rule: str = SYNTAX) -> dict[str, Any]:
    """Say what the dialogue answers whatever the lists would say."""
    from lists.policy import Refused

    return _refused(Refused(reply.code, reply.enhanced, reply.text, rule))


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
