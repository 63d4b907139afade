"""A site with a real MTA before and behind it, and a sink where everything ends.

    with running_mail(folder, make_postfix) as mail:
        mail.send("guest@example.com", ["ant@example.org"], "1@client.example.net")

Mail goes by SMTP to the MTA, by LMTP to the site, by SMTP to the same MTA and from there to the sink. Lists are in two domains: example.org, which
the MTA reaches over TCP, and unix.example.org over the unix socket.
"""

import re
import smtplib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.exim import Exim
from tests.support.mta import Mta, Route
from tests.support.opensmtpd import OpenSmtpd
from tests.support.postfix import Postfix
from tests.support.sendmail import Sendmail
from tests.support.sink import Sink, Transaction
from tests.support.site import Site, free_port
from tests.support.waiting import wait_until

MEMBERS = [f"member-{number:02}@example.net" for number in range(20)]
WORKING = ("incoming", "outgoing")
ARRIVE_S = 60.0

# folder, domain -> route, relay, port
MakeMta = Callable[[Path, Mapping[str, Route], str, int], AbstractContextManager[Mta]]


@dataclass
class Mail:
    """A site, the MTA before and behind it, and where everything ends."""

    site: Site
    mta: Mta
    sink: Sink

    def send(
        self, sender: str, recipients: str | Sequence[str], message_id: str, *, content: bytes = b""
    ) -> None:
        """Hand one message to the MTA by SMTP, a small one unless `content` is given. Raises what smtplib raises."""
        recipients = [recipients] if isinstance(recipients, str) else list(recipients)
        with smtplib.SMTP("127.0.0.1", self.mta.port, timeout=30) as client:
            client.ehlo()
            offered = {"8bitmime": "BODY=8BITMIME", "smtputf8": "SMTPUTF8"}
            client.sendmail(
                sender,
                recipients,
                content or make_post(sender, recipients[0], message_id),
                [option for name, option in offered.items() if client.has_extn(name)],
            )

    def copies(self, message_id: str) -> list[str]:
        """Return the recipients that the sink has one message for, with repetitions."""
        return [
            recipient
            for done in self.sink.transactions
            if message_id_of(done) == message_id
            for recipient in done.accepted
        ]

    def accepted(self, message_id: str) -> list[dict[str, Any]]:
        """Return the log's lines of the recipients that the site took a message for, those of a second delivery too."""
        return [line for line in self.site.log("lmtp.accepted") if line["message_id"] == f"<{message_id}>"]

    def bounce_to(self, address: str) -> bytes:
        """Return what was sent to `address` with the null reverse-path, b"" if nothing."""
        for done in self.sink.transactions:
            if done.reverse_path == "" and address in done.accepted:
                return done.content
        return b""

    def is_quiet(self) -> bool:
        """Say whether no post is under way; mail to a list's other addresses may wait for a runner."""
        queues = self.site.status()["queues"]
        return self.has_delivered() and not any(
            one["ready"] + one["leased"] + one["deferred"] for one in queues if one["queue"] in WORKING
        )

    def has_delivered(self) -> bool:
        """Say whether the MTA has got rid of everything; OpenSMTPD is told to try again, since its own back-off is long."""
        if isinstance(self.mta, OpenSmtpd):
            self.mta.retry_now()
        return not self.mta.queued()

    def wait_quiet(self) -> None:
        """Wait until nothing is under way: what has not come then never comes."""
        wait_until(self.is_quiet, ARRIVE_S, what="nothing is under way", every_s=0.3)


def make_post(sender: str, recipient: str, message_id: str, body: str = "Hello.\r\n") -> bytes:
    """Make a small message."""
    return (
        f"From: <{sender}>\r\nTo: <{recipient}>\r\nSubject: a post\r\nMessage-ID: <{message_id}>\r\n\r\n{body}"
    ).encode()


def message_id_of(done: Transaction) -> str:
    """Return the Message-ID of what the sink has taken, without its brackets."""
    found = re.search(rb"(?im)^Message-ID:\s*<([^>]*)>", done.content)
    return found[1].decode() if found else ""


@contextmanager
def running_mail(folder: Path, make_mta: MakeMta, env: Mapping[str, str] | None = None) -> Iterator[Mail]:
    """Run it all, with an open list in each domain and a closed one with the one member anne@example.net."""
    port = free_port()
    with Sink() as sink:
        site = Site(folder / "site", f'[outgoing]\nsmtp = "127.0.0.1:{port}"\n', env)
        assert site.unix is not None
        routes: dict[str, Route] = {"example.org": site.port, "unix.example.org": site.unix}
        with site, make_mta(folder / "mta", routes, sink.address, port) as mta:
            make_list(site, "ant@example.org", "accept", MEMBERS)
            make_list(site, "bee@unix.example.org", "accept", MEMBERS)
            make_list(site, "closed@example.org", "reject", ["anne@example.net"])
            yield Mail(site, mta, sink)


def make_list(site: Site, address: str, strangers: str, members: Sequence[str]) -> None:
    """Make a list; `strangers` is what becomes of their posts."""
    for command in (
        ("lists", "create", address, "--set", f"generic_nonmember_action={strangers}"),
        ("members", "add", address, *members),
    ):
        done = site.postroom(*command)
        assert done.returncode == 0, done.stderr


def make_postfix(folder: Path, routes: Mapping[str, Route], relay: str, port: int) -> Postfix:
    """Make a Postfix."""
    return Postfix(folder, lists=transports(routes), relay=relay, port=port)


def transports(routes: Mapping[str, Route]) -> dict[str, str]:
    """Write routes as Postfix's transports."""
    return {
        domain: f"lmtp:unix:{route}" if isinstance(route, Path) else f"lmtp:inet:127.0.0.1:{route}"
        for domain, route in routes.items()
    }


def make_exim(folder: Path, routes: Mapping[str, Route], relay: str, port: int) -> Exim:
    """Make an Exim."""
    return Exim(folder, lists=routes, relay=relay, port=port)


def make_sendmail(folder: Path, routes: Mapping[str, Route], relay: str, port: int) -> Sendmail:
    """Make a Sendmail."""
    return Sendmail(folder, lists=routes, relay=relay, port=port)


def make_opensmtpd(folder: Path, routes: Mapping[str, Route], relay: str, port: int) -> OpenSmtpd:
    """Make an OpenSMTPD."""
    return OpenSmtpd(folder, lists=routes, relay=relay, port=port)


MTAS: dict[str, MakeMta] = {
    "postfix": make_postfix,
    "exim": make_exim,
    "sendmail": make_sendmail,
    "opensmtpd": make_opensmtpd,
}
