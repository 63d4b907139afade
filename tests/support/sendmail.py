"""A real Sendmail with a configuration, a spool and a port of its own, in a jail.

with Sendmail(folder, lists={"example.org": 8024}, relay=sink.address) as sendmail: ...
"""

from collections.abc import Mapping
from pathlib import Path

from tests.support.jailed import JailedMta
from tests.support.mta import Route

# Everything not said here is as Debian ships it. Mail to a list domain takes its mailer, all other mail goes to the relay.
MC = """\
include(`/usr/share/sendmail/cf/m4/cf.m4')dnl
OSTYPE(`debian')dnl
define(`confDOMAIN_NAME', `mx.example.net')dnl
define(`QUEUE_DIR', `/var/spool/mqueue')dnl
define(`STATUS_FILE', `/var/spool/mqueue/status')dnl
define(`confHOST_STATUS_DIRECTORY', `')dnl
define(`confPID_FILE', `/run/sendmail.pid')dnl
define(`confCONTROL_SOCKET_NAME', `')dnl
define(`LOCAL_MAILER_PATH', `/bin/false')dnl
define(`confSERVICE_SWITCH_FILE', `/etc/mail/service.switch-nodns')dnl
define(`confMIN_QUEUE_AGE', `0')dnl
define(`confTO_IDENT', `0')dnl
define(`SMART_HOST', `relay:[127.0.0.1]')dnl
define(`MAIL_HUB', `relay:[127.0.0.1]')dnl
define(`RELAY_MAILER_ARGS', `TCP $h {relay}')dnl
undefine(`ALIAS_FILE')dnl
FEATURE(`nocanonify')dnl
FEATURE(`no_default_msa')dnl
FEATURE(`promiscuous_relay')dnl
FEATURE(`accept_unresolvable_domains')dnl
FEATURE(`mailertable', `hash -o /etc/mail/mailertable')dnl
DAEMON_OPTIONS(`Name=MTA, Addr=127.0.0.1, Port={port}')dnl
MAILER(`local')dnl
MAILER(`smtp')dnl
MAILER_DEFINITIONS
{mailers}
"""
# `z` makes it LMTP, `m` takes several recipients in one transaction, `X` doubles dots, `8` and `u` leave octets and local parts as they are.
MAILER = """\
Mlists{number}, P=[IPC], F=mDFMuXz8, S=EnvFromSMTP/HdrFromSMTP, R=EnvToSMTP, E=\\r\\n, L=990,
\tT=DNS/RFC822/SMTP, A={where}
"""
START = """\
cd /etc/mail
m4 sendmail.mc > sendmail.cf
/usr/libexec/sendmail/makemap hash mailertable < mailertable
touch local-host-names
exec /usr/libexec/sendmail/sendmail -bD -q1s -X /var/log/mail/traffic
"""


class Sendmail(JailedMta):
    """One instance."""

    package = "sendmail"

    def __init__(self, folder: Path, *, lists: Mapping[str, Route], relay: str, port: int = 0) -> None:
        super().__init__(folder, port)
        mailers = (MAILER.format(number=n, where=_where(route)) for n, route in enumerate(lists.values()))
        mc = MC.replace("{relay}", relay.rpartition(":")[2]).replace("{port}", str(self.port))
        self.make_jail(
            files={
                "mail/sendmail.mc": mc.replace("{mailers}", "".join(mailers)),
                "mail/mailertable": "".join(
                    f"{domain}\tlists{n}:[127.0.0.1]\n" for n, domain in enumerate(lists)
                ),
            },
            spool={"/var/spool/mqueue": "root", "/var/log/mail": "root"},
            routes=lists.values(),
        )

    def command(self) -> tuple[str, ...]:
        """Return a script that makes configuration and map, and becomes the daemon in the foreground."""
        return ("sh", "-ec", START)

    def queued(self) -> list[str]:
        """Return the names of the mail that it has not got rid of."""
        return [file.name for file in self.jail.outside("/var/spool/mqueue").glob("[dq]f*")]

    def log(self) -> str:
        """Return what was said with its clients and its servers."""
        file = self.jail.outside("/var/log/mail") / "traffic"
        return file.read_text(errors="replace") if file.exists() else ""


def _where(route: Route) -> str:
    return f"FILE {JailedMta.inside(route)}" if isinstance(route, Path) else f"TCP $h {route}"
