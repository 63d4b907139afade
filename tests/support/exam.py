"""The exam of others: the stories of tests/conformance told to stock aiosmtpd's LMTP class and to GNU Mailman's LMTP runner, beside Postroom.

`make exam` prints the table, `make exam ARGS=--record` puts it into docs/conformance.md. It shows that the stories can fail, and where.
aiosmtpd has a handler as its users write them, with the lists of the stories; Mailman is installed by pip into bench/out, as for the bench. Nobody can look into
what Mailman stores, so there only replies count. A missing enhanced code is not held against a server but in the story of enhanced codes: else there would be
nothing else to read. What asks for settings or faults that a server cannot be given is not asked of it.
"""

import argparse
import asyncio
import contextlib
import logging
import re
import socket
import sys
import tempfile
import tomllib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import aiosmtpd
from aiosmtpd.lmtp import LMTP
from aiosmtpd.smtp import SMTP, Envelope, Session
from msgspec import Struct

from bench.targets import MAILMAN, Mailman
from config.clock import Clock
from tests.support.conformance import LISTS, MEMBER, sites_by_settings
from tests.support.loop_thread import LoopThread
from tests.support.player import Played, Rules, Shelf, play
from tests.support.transcript import Stored, Story, stories
from tests.support.wire import Address

PAGE: Final = Path(__file__).resolve().parents[2] / "docs" / "conformance.md"
BEGIN: Final = "<!-- exam: made by make exam ARGS=--record -->"
END: Final = "<!-- end of exam -->"
LENIENT: Final = Rules(
    timeout_s=3.0, enhanced=False
)  # a local server answers in milliseconds; nothing is nothing
STORING_S: Final = 0.05  # what its store may take: long enough for a client to be gone meanwhile
MAX_CELL: Final = 110  # characters
PURPOSES: Final = (
    "",
    "bounces",
    "confirm",
    "join",
    "subscribe",
    "leave",
    "unsubscribe",
    "owner",
    "admin",
    "request",
)
_ID: Final = re.compile(r"[0-9a-f]{32}")

Ask = Callable[[Story], Played | None]  # None: cannot be asked of this server


class Handler:
    """What a user of aiosmtpd writes: recipients are checked in RCPT, mail is kept in DATA."""

    def __init__(self, fault: str) -> None:
        self._fault = fault
        self._kept: list[Stored] = []

    def take(self) -> Sequence[Stored]:
        """As player.Shelf."""
        kept, self._kept = self._kept, []
        return kept

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        local, _, domain = address.lower().partition("@")
        name, _, purpose = local.partition("+")[0].partition("-")
        if f"{name}@{domain}" not in LISTS or purpose not in PURPOSES:
            return "550 5.1.1 No such list"
        sender = envelope.mail_from
        if name == "closed" and not purpose and sender and sender.lower() != MEMBER[1]:
            return "550 5.7.1 Only members may post"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        await asyncio.sleep(STORING_S)
        if self._fault:
            raise OSError(28, "No space left on device")
        content = envelope.content
        assert isinstance(content, bytes)
        self._kept += [Stored(each, envelope.mail_from, content) for each in dict.fromkeys(envelope.rcpt_tos)]
        return "250 2.0.0 OK"


@contextlib.contextmanager
def stock_server(story: Story) -> Iterator[tuple[Address, Shelf]]:
    """Run aiosmtpd's LMTP class for one story."""
    logging.getLogger("mail.log").setLevel(logging.CRITICAL)
    handler = Handler(story.fault)
    limits = tomllib.loads("\n".join(story.settings))
    with LoopThread() as thread, socket.create_server(("127.0.0.1", 0)) as listening:
        make = partial(
            LMTP,
            handler,
            hostname="lists.example.org",
            loop=thread.loop,
            enable_SMTPUTF8=True,
            data_size_limit=limits.get("max_size", 33554432),
        )

        async def start() -> Any:
            return await thread.loop.create_server(make, sock=listening)

        server = thread.run(start())
        yield listening.getsockname(), handler
        thread.call(server.close)


def ask_stock(story: Story) -> Played | None:
    """Examine aiosmtpd."""
    if story.given or not set(tomllib.loads("\n".join(story.settings))) <= {"max_size"}:
        return None
    with stock_server(story) as (address, shelf):
        return play(story, address, "as written", shelf, LENIENT)


@contextlib.contextmanager
def mailman_examinee() -> Iterator[Ask]:
    """Run Mailman's LMTP runner; the first time it is installed, which needs the network. Raises bench.targets.TargetFailed."""
    mailman = Mailman(list(LISTS))

    def ask(story: Story) -> Played | None:
        if story.given or story.settings:
            return None
        with _without_queue(mailman) if story.fault else contextlib.nullcontext():
            return play(story, mailman.address, "as written", None, LENIENT)

    try:
        mailman.start()
        yield ask
    finally:
        mailman.stop()


@contextlib.contextmanager
def _without_queue(mailman: Mailman) -> Iterator[None]:
    """Move the folder away into which posts are put."""
    folder, away = mailman.queue / "in", mailman.queue / "in.away"
    folder.rename(away)
    try:
        yield
    finally:
        with contextlib.suppress(FileNotFoundError):
            away.rename(folder)


class Row(Struct, frozen=True):
    """One line of the table."""

    story: str
    cells: tuple[str, ...]


COLUMNS: Final = ("Postroom", f"aiosmtpd {aiosmtpd.__version__}", MAILMAN.replace("==", " "))


def examine() -> list[Row]:
    """Ask all stories of all three."""
    with tempfile.TemporaryDirectory(prefix="exam-") as folder, contextlib.ExitStack() as stack:
        site_of = stack.enter_context(sites_by_settings(partial(_make_folder, Path(folder))))
        ask_mailman = stack.enter_context(mailman_examinee())

        def ask_ours(story: Story) -> Played:
            site = site_of(story)
            return play(story, site.address(story.sockets[0]), "as written", site.shelf, site.rules)

        asked: tuple[Ask, ...] = (ask_ours, ask_stock, ask_mailman)
        return [Row(story.name, tuple(_cell(ask(story)) for ask in asked)) for story in stories()]


def _make_folder(parent: Path, name: str) -> Path:
    folder = parent / name
    folder.mkdir()
    return folder


def _cell(played: Played | None) -> str:
    if played is None:
        return "-"
    if played.finding is None:
        return "pass" if played.has_enhanced else "pass (no enhanced codes)"
    finding = played.finding
    text = f"line {finding.line}: {finding.got} (not {finding.expected})"
    text = _ID.sub("ID", text).replace("|", "or").replace("`", "'")
    return text if len(text) <= MAX_CELL else text[: MAX_CELL - 3] + "..."


def write_table(rows: Sequence[Row]) -> str:
    """Write the table in Markdown."""
    lines = [f"| story | {' | '.join(COLUMNS)} |", "| --- |" + " --- |" * len(COLUMNS)]
    lines += [f"| {row.story} | {' | '.join(row.cells)} |" for row in rows]
    counts = [sum(row.cells[at].startswith("pass") for row in rows) for at in range(len(COLUMNS))]
    asked = [sum(row.cells[at] != "-" for row in rows) for at in range(len(COLUMNS))]
    totals = [f"{count} of {number}" for count, number in zip(counts, asked, strict=True)]
    return "\n".join([*lines, f"| passed | {' | '.join(totals)} |"])


def read_table(page: str) -> list[Row]:
    """Read the recorded table back from the page."""
    table = page.partition(BEGIN)[2].partition(END)[0]
    cells = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in table.splitlines()
        if line.startswith("|")
    ]
    return [Row(row[0], tuple(row[1:])) for row in cells[2:-1]]


def record(table: str) -> None:
    """Put the table into the page, with the day."""
    page = PAGE.read_text("utf-8")
    head, _, rest = page.partition(BEGIN)
    today = f"{Clock().now():%Y-%m-%d}"
    PAGE.write_text(
        f"{head}{BEGIN}\n\nRecorded on {today}.\n\n{table}\n\n{END}{rest.partition(END)[2]}", "utf-8"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table; 1 when Postroom does not pass everything."""
    parser = argparse.ArgumentParser(
        description="Tell the stories of tests/conformance to Postroom and to others."
    )
    parser.add_argument("--record", action="store_true", help="put the table into docs/conformance.md")
    options = parser.parse_args(argv)
    rows = examine()
    table = write_table(rows)
    print(table)
    if options.record:
        record(table)
    return int(any(row.cells[0] != "pass" for row in rows))


if __name__ == "__main__":
    sys.exit(main())
