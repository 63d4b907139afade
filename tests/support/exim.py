"""A real Exim with a configuration, a spool and a port of its own, in a jail.

with Exim(folder, lists={"example.org": 8024}, relay=sink.address) as exim: ...
"""

from collections.abc import Mapping
from pathlib import Path

from tests.support.jailed import JailedMta
from tests.support.mta import Route

# As Debian's, without what a smarthost site does not need. A retry within a test's patience.
MAIN = """\
primary_hostname = mx.example.net
daemon_smtp_ports = {port}
local_interfaces = 127.0.0.1
exim_user = Debian-exim
exim_group = Debian-exim
spool_directory = /var/spool/exim4
log_file_path = /var/log/exim4/%slog
log_selector = +smtp_confirmation
keep_environment =
tls_advertise_hosts =
# A bounce that nobody takes is dropped, not frozen.
ignore_bounce_errors_after = 0s
qualify_domain = example.net
domainlist list_domains = {domains}
smtputf8_advertise_hosts = *
allow_utf8_domains = true
acl_smtp_rcpt = check_rcpt
acl_smtp_data = check_data

begin acl
check_rcpt:
  {verify}
  accept
check_data:
  accept

begin routers
{routers}
smarthost:
  driver = manualroute
  domains = ! +list_domains
  route_list = * 127.0.0.1
  self = send
  transport = relay

begin transports
{transports}
relay:
  driver = smtp
  port = {relay}
  allow_localhost

begin retry
* * F,1h,1s
"""
ROUTER = """\
lists_{number}:
  driver = accept
  domains = {domain}
  transport = lists_{number}
"""
TCP = """\
lists_{number}:
  driver = smtp
  protocol = lmtp
  hosts = 127.0.0.1
  port = {port}
  allow_localhost
  hosts_randomize = false
  rcpt_include_affixes = true
"""
SOCKET = """\
lists_{number}:
  driver = lmtp
  socket = {socket}
  batch_max = 40
  user = Debian-exim
  rcpt_include_affixes = true
"""


class Exim(JailedMta):
    """One instance; `verify` is what it asks about each recipient before it takes mail for it, as in `require verify = ...`."""

    package = "exim"

    def __init__(
        self, folder: Path, *, lists: Mapping[str, Route], relay: str, port: int = 0, verify: str = ""
    ) -> None:
        super().__init__(folder, port)
        self.verify = verify
        main = MAIN.format(
            port=self.port,
            domains=" : ".join(lists),
            verify=f"require verify = {verify}" if verify else "",
            routers="".join(ROUTER.format(number=n, domain=domain) for n, domain in enumerate(lists)),
            transports="".join(_transport(n, route) for n, route in enumerate(lists.values())),
            relay=relay.rpartition(":")[2],
        )
        self.make_jail(
            files={"exim4/exim4.conf": main},
            spool={"/var/spool/exim4": "Debian-exim", "/var/log/exim4": "Debian-exim"},
            routes=lists.values(),
        )

    def command(self) -> tuple[str, ...]:
        """Return the program in the foreground, looking at its queue every second."""
        return ("/usr/sbin/exim4", "-bdf", "-q1s")

    def queued(self) -> list[str]:
        """Return the names of the mail that it has not got rid of."""
        return [file.name for file in self.jail.outside("/var/spool/exim4").glob("input/**/*-H")]

    def log(self) -> str:
        """Return its log."""
        file = self.jail.outside("/var/log/exim4") / "mainlog"
        return file.read_text(errors="replace") if file.exists() else ""


def _transport(number: int, route: Route) -> str:
    if isinstance(route, Path):
        return SOCKET.format(number=number, socket=JailedMta.inside(route))
    return TCP.format(number=number, port=route)
