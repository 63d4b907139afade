"""A real OpenSMTPD with a configuration, a spool and a port of its own, in a jail.

    with OpenSmtpd(folder, lists={"example.org": 8024}, relay=sink.address) as opensmtpd: ...

A TCP route is its LMTP client (`relay host "lmtp://..."`), a socket the program mail.lmtp, once for each recipient.
"""

from collections.abc import Mapping
from pathlib import Path

from tests.support.jailed import JailedMta
from tests.support.mta import Route

MAIN = """\
queue ttl 1h
listen on 127.0.0.1 port {port} hostname mx.example.net
table everybody {{ "@" = nobody }}
{actions}
action "relay" relay host "smtp://{relay}"
{matches}
match from any for any action "relay"
"""
# As the package would install it: it asks the daemon through a socket that only its group may use.
RETRY = (
    "install --group=opensmtpq --mode=2755 /usr/sbin/smtpctl /run/smtpctl && exec /run/smtpctl schedule all"
)


class OpenSmtpd(JailedMta):
    """One instance."""

    package = "opensmtpd"

    def __init__(self, folder: Path, *, lists: Mapping[str, Route], relay: str, port: int = 0) -> None:
        super().__init__(folder, port)
        actions = (_action(number, route) for number, route in enumerate(lists.values()))
        matches = (
            f'match from any for domain "{domain}" action "lists{number}"'
            for number, domain in enumerate(lists)
        )
        main = MAIN.format(
            port=self.port, actions="\n".join(actions), relay=relay, matches="\n".join(matches)
        )
        self.make_jail(
            files={"smtpd.conf": main, "mailname": "mx.example.net\n"},
            spool={"/var/spool/smtpd": "root", "/var/lib/opensmtpd/empty": "root"},
            routes=lists.values(),
        )

    def command(self) -> tuple[str, ...]:
        """Return the program in the foreground, logging to its output."""
        return ("/usr/sbin/smtpd", "-d", "-f", "/etc/smtpd.conf")

    def queued(self) -> list[str]:
        """Return the names of the envelopes that it has not got rid of."""
        queue = self.jail.outside("/var/spool/smtpd") / "queue"
        return [file.name for file in queue.glob("*/*/*") if file.name != "message"]

    def retry_now(self) -> None:
        """Try everything again that waits: its own back-off is longer than a test's patience."""
        self.jail.run("sh", "-ec", RETRY)


def _action(number: int, route: Route) -> str:
    if isinstance(route, Path):
        return f'action "lists{number}" lmtp "{JailedMta.inside(route)}" rcpt-to virtual <everybody>'
    return f'action "lists{number}" relay host "lmtp://127.0.0.1:{route}"'
