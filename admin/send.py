"""`send`: hands one message to a front-end over LMTP and shows each recipient's reply."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from admin.command import Command, Refused, json_option, load_settings, make_clock
from admin.output import printable, say, write_json_list

if TYPE_CHECKING:
    from admin.lmtp_client import Result, Target
    from config.clock import Clock
    from config.settings import Settings


@click.command("send", cls=Command)
@click.option("--from", "reverse_path", required=True, metavar="A", help='Reverse-path; "" is the null one.')
@click.option("--to", "recipients", required=True, multiple=True, metavar="B", help="Recipient; repeatable.")
@click.option("--file", metavar="F", help="The message, header and body; - is stdin. Else one is written.")
@click.option("--subject", default="A message from bin/postroom send", help="Of a message that is written.")
@click.option("--host", metavar="HOST:PORT", help="LMTP over TCP; else the first [lmtp] listen.")
@click.option("--socket", metavar="PATH", help="LMTP over a unix socket.")
@click.option("-v", "--verbose", is_flag=True, help="Show the whole dialogue.")
@json_option
def command(
    reverse_path: str,
    recipients: tuple[str, ...],
    file: str | None,
    subject: str,
    host: str | None,
    socket: str | None,
    verbose: bool,
    as_json: bool,
) -> None:
    """Send one message over LMTP; exit 0 when every recipient was accepted.

    One line for each recipient: the reply that decided about it.
    """
    settings = load_settings()
    target = find_target(settings, host, socket)
    reverse_path = strip_brackets(reverse_path)
    addresses = [strip_brackets(recipient) for recipient in recipients]
    if file is None:
        content = write_message(settings, make_clock(settings), reverse_path, addresses, subject)
    else:
        content = _read_content(file)
    results = hand_in(settings, target, reverse_path, addresses, content, show=verbose and not as_json)
    if as_json:
        write_json_list(
            {
                "recipient": result.recipient,
                "stage": result.stage,
                "code": result.reply.code,
                "enhanced": result.reply.enhanced,
                "text": result.reply.text,
            }
            for result in results
        )
    else:
        for result in results:
            say(f"{printable(result.recipient)}: {printable(result.reply)}")
    if not all(result.reply.is_positive for result in results):
        raise click.exceptions.Exit(1)


def find_target(settings: Settings, host: str | None = None, socket: str | None = None) -> Target:
    """Return where to send to: what was asked for, else the first place where this site's front-end listens.

    Where TLS is required over TCP, the first unix socket, if there is one: we speak no TLS.
    """
    from admin.lmtp_client import Target, read_target

    if host and socket:
        raise click.UsageError("--host and --socket: give one of them")
    if socket:
        return Target(path=str(Path(socket).absolute()))
    if not host and not settings.lmtp.listen:
        raise Refused("[lmtp] listen names no place; give --host or --socket")
    try:
        return read_target(host or min(settings.lmtp.listen, key=lambda place: needs_tls(settings, place)))
    except ValueError as error:
        raise click.UsageError(f"--host: {error}") from None


def needs_tls(settings: Settings, place: str) -> bool:
    """Whether the front-end takes no mail in the clear at this place of `[lmtp] listen`."""
    return settings.lmtp.tls_require != "no" and not place.startswith("unix:")


def strip_brackets(address: str) -> str:
    """Return an address without the "<>" that it may be written in; "<>" is the null reverse-path."""
    return address[1:-1] if address.startswith("<") and address.endswith(">") else address


def hand_in(
    settings: Settings,
    target: Target,
    reverse_path: str,
    recipients: list[str],
    content: bytes,
    *,
    show: bool,
    remedy: str = "start the site with bin/master start",
) -> list[Result]:
    """Send, and tell what can go wrong there to a person; `show` prints the dialogue, `remedy` helps where nobody listens."""
    from admin.lmtp_client import LmtpFailure, UnsafeAddress, send

    def print_line(line: str) -> None:
        say(printable(line))

    on_line = print_line if show else lambda line: None
    try:
        return send(target, reverse_path, recipients, content, helo=settings.site.name, on_line=on_line)
    except UnsafeAddress as error:
        raise click.UsageError(str(error)) from None
    except LmtpFailure as error:
        raise Refused(f"{target}: {error}; bin/postroom trace may know more") from error
    except OSError as error:
        raise Refused(f"nobody answers at {target} ({error.strerror or error}); {remedy}") from error


def write_message(
    settings: Settings, clock: Clock, reverse_path: str, recipients: list[str], subject: str
) -> bytes:
    """Write the least message that is a good one: Date, From, To, Message-ID, Subject and a line."""
    from email.header import Header
    from email.utils import format_datetime

    from config.names import new_item_id

    subject = " ".join(subject.split())
    lines = (
        f"Date: {format_datetime(clock.now())}",
        f"From: {reverse_path or f'postmaster@{settings.site.name}'}",
        f"To: {', '.join(recipients)}",
        f"Message-ID: <{new_item_id(clock.time_ms())}@{settings.site.name}>",
        f"Subject: {subject if subject.isascii() else Header(subject, 'utf-8').encode()}",
        "",
        "This message was written by bin/postroom send.",
    )
    return "".join(f"{line}\r\n" for line in lines).encode(errors="backslashreplace")


def _read_content(file: str) -> bytes:
    if file == "-":
        return sys.stdin.buffer.read()
    return Path(file).read_bytes()
