"""A whole site that people write mail to: a test tells what each of them says, and what comes back, like a transcript.

    def test_...(story: Story) -> None:
        story.make_list("ant@example.org", owners=["olga@example.com"])
        story.says("zoe@example.net", "ant-join@example.org")
        question = story.hears("zoe@example.net", "Please confirm")
        story.answers(question)

Real processes under bin/master, a real LMTP dialogue in, an SMTP sink where the mail goes. `hears` waits for the next mail to somebody with these words
in its subject and takes it; `hears_nothing` says that everything is quiet and nothing else came. `wait_days` sets the site's clock.
"""

import json
import re
import time
from collections.abc import Iterator, Sequence
from email import message_from_bytes
from email.message import EmailMessage, Message
from email.policy import default
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest
from msgspec import Struct

from config.load import load
from config.names import ListId
from lists.model import Member
from lists.store import Store
from tests.support.sink import Rule, Sink, Transaction
from tests.support.site import Site
from tests.support.waiting import wait_until
from tests.support.wire import Wire

DAY_S = 86_400
HEARD_S = 20.0
QUEUES = ("incoming", "bounces", "confirm", "membership", "owner", "request", "outgoing")


class Heard(Struct, frozen=True):
    """One mail that arrived at somebody."""

    to: str
    mail: Transaction

    @property
    def message(self) -> EmailMessage:
        """The mail, parsed."""
        parsed: Message = message_from_bytes(self.mail.content, policy=default)
        assert isinstance(parsed, EmailMessage)
        return parsed

    @property
    def subject(self) -> str:
        """Its subject."""
        return str(self.message["subject"])

    @property
    def text(self) -> str:
        """Its body."""
        return str(self.message.get_content())

    @property
    def sender(self) -> str:
        """The address that an answer goes to."""
        (address,) = self.message["from"].addresses
        return str(address.addr_spec)


class Story:
    """One site, its people and their mail."""

    def __init__(self, folder: Path, config: str = "", rules: Sequence[Rule] = ()) -> None:
        self.sink = Sink(rules)
        self._folder = folder
        self._config = config
        self._taken: set[tuple[int, str]] = set()
        self._days = 0.0
        self._number = 0

    def __enter__(self) -> Self:
        self.sink.__enter__()
        clock = self._folder / "clock"
        config = f'[outgoing]\nsmtp = "{self.sink.address}"\n{self._config}'
        if "[site]" not in config:
            config = f'[site]\nclock_file = "{clock}"\nname = "lists.example.org"\nowner = "site@example.com"\n{config}'
        self.site = Site(self._folder, config)
        self.site.start()
        self.store = Store(load(self.site.config))
        self.store.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.store.close()
        self.site.end()
        self.sink.__exit__(kind, error, trace)

    # What people do ---------------------------------------------------------------------------------------------------

    def make_list(
        self,
        address: str,
        *,
        owners: Sequence[str] = (),
        members: Sequence[str] = (),
        settings: Sequence[str] = (),
    ) -> ListId:
        """Make a list."""
        list_id = self.store.create_list(address, settings, owners).list_id
        if members:
            self.store.add_members(list_id, members)
        return list_id

    def says(
        self,
        who: str,
        to: str,
        subject: str = "hello",
        body: str = "hello\n",
        *,
        reverse_path: str | None = None,
        headers: Sequence[str] = (),
        content: bytes | None = None,
    ) -> str:
        """Send a mail by LMTP; returns the reply to the final dot. RCPT must take it."""
        self._number += 1
        if content is None:
            lines = [
                f"From: {who}",
                f"To: {to}",
                f"Subject: {subject}",
                f"Message-ID: <{self._number}@said.example>",
            ]
            content = "\r\n".join((*lines, *headers, "", *body.splitlines(), "")).encode()
        with Wire.connect(("127.0.0.1", self.site.port)) as wire:
            replies = wire.mail(content, to, sender=who if reverse_path is None else reverse_path)
        return replies[-1]

    def is_told_at_rcpt(self, who: str, to: str) -> str:
        """Begin a mail by LMTP and leave it; returns the reply to RCPT."""
        with Wire.connect(("127.0.0.1", self.site.port)) as wire:
            return wire.codes(f"MAIL FROM:<{who}>", f"RCPT TO:<{to}>")[-1]

    def answers(
        self, heard: Heard, *, who: str = "", headers: Sequence[str] = (), reverse_path: str | None = None
    ) -> str:
        """Reply to a mail, as a mail program does: to its From:, the subject with Re:."""
        subject = f"Re: {heard.subject}"
        return self.says(who or heard.to, heard.sender, subject, headers=headers, reverse_path=reverse_path)

    def does(self, *arguments: str) -> str:
        """Give a command of bin/postroom; returns what it printed."""
        done = self.site.postroom(*arguments)
        assert done.returncode == 0, done.stderr
        return str(done.stdout)

    def wait_days(self, days: float) -> None:
        """Let days go by, and wait for the second within which every process sees it."""
        self._days += days
        (self._folder / "clock").write_text(str(self._days * DAY_S))
        seen = time.monotonic() + 1.1
        wait_until(lambda: time.monotonic() > seen)

    # What they get ----------------------------------------------------------------------------------------------------

    def hears(self, who: str, subject: str) -> Heard:
        """Wait for a mail to somebody whose subject has these words, and take it."""
        found: list[Heard] = []

        def look() -> bool:
            found[:] = [heard for heard in self._waiting(who) if subject.lower() in heard.subject.lower()]
            return bool(found)

        wait_until(look, HEARD_S)
        self._take(found[0])
        return found[0]

    def hears_nothing(self, who: str) -> None:
        """Be sure that nothing more has come to somebody, and nothing is on its way."""
        self.wait_quiet()
        rest = [heard.subject for heard in self._waiting(who)]
        assert rest == [], f"{who} has mail"

    def wait_quiet(self) -> None:
        """Wait until every queue is empty but for what is due later or set aside."""

        def quiet() -> bool:
            status: dict[str, Any] = self.site.status()
            return all(not each["ready"] and not each["leased"] for each in status["queues"])

        wait_until(quiet, HEARD_S)

    def count(self, who: str) -> int:
        """Return how many mails somebody has had in all."""
        return len([heard for heard in self._all() if heard.to == who])

    def _waiting(self, who: str) -> Iterator[Heard]:
        return (
            heard for heard in self._all() if heard.to == who and (id(heard.mail), who) not in self._taken
        )

    def _all(self) -> list[Heard]:
        delivered = [mail for mail in list(self.sink.transactions) if mail.is_delivered]
        return [Heard(to, mail) for mail in delivered for to in mail.accepted]

    def _take(self, heard: Heard) -> None:
        self._taken.add((id(heard.mail), heard.to))

    # What is so -------------------------------------------------------------------------------------------------------

    def member(self, list_id: ListId, address: str) -> Member | None:
        """Return a member, None for anybody else."""
        return self.store.look(lambda roster: roster.member(list_id, address))

    def shunts(self) -> list[dict[str, Any]]:
        """Return what was set aside."""
        return list(json.loads(self.does("shunt", "ls", "--json")))

    def lines(self, event: str) -> list[dict[str, Any]]:
        """Return the log lines of an event."""
        return self.site.log(event)


def tokens_in(text: str) -> list[str]:
    """Return the confirmation tokens in a text."""
    return re.findall(r"\b[a-z2-7]{24}\b", text)


@pytest.fixture
def story(tmp_path: Path) -> Iterator[Story]:
    """A site that has started."""
    with Story(tmp_path) as told:
        yield told
