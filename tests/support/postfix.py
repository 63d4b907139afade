"""A real Postfix with a configuration, a spool and a port of its own, beside any other on the machine.

    with Postfix(folder, lists={"example.org": "lmtp:inet:127.0.0.1:8024"}, relay=sink.address) as postfix: ...

Uses the one that tests/support/debian.py has unpacked, else the installed one. Mail to a domain in `lists` takes that transport, all other mail goes to
`relay`. It runs in the foreground as our child, so it is ended by its process id; its daemons end with it. Needs root, since Postfix does.
Accounts are those of every Debian: "mail" owns the queue, "daemon" is the group of the drop folder (both must not be ours).
"""

import os
import pwd
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

import psutil

from tests.support import debian
from tests.support.mta import cannot, wait_for_banner
from tests.support.site import free_port

OWNER = "mail"
GROUP = "daemon"
QUEUES = ("maildrop", "incoming", "active", "deferred", "hold", "corrupt")
FOLDERS = (*QUEUES, "bounce", "defer", "flush", "pid", "private", "public", "saved", "trace")
STOP_S = 20.0

MAIN = """\
compatibility_level = 3.6
queue_directory = {spool}/queue
data_directory = {spool}/data
daemon_directory = {root}/usr/lib/postfix/sbin
command_directory = {root}/usr/sbin
shlib_directory = {root}/usr/lib/postfix
meta_directory = {root}/etc/postfix
import_environment = MAIL_CONFIG TZ LANG=C LD_LIBRARY_PATH={libraries}
mail_owner = {owner}
setgid_group = {group}
maillog_file = {log}
maillog_file_prefixes = {log}
myhostname = mx.example.net
mydestination =
alias_maps =
alias_database =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
smtp_host_lookup = native
disable_dns_lookups = yes
smtp_tls_security_level = none
lmtp_send_xforward_command = yes
mynetworks = 127.0.0.0/8
relayhost = {relay}
relay_domains = {domains}
transport_maps = inline:{{{transports}}}
recipient_delimiter = +
smtpd_recipient_restrictions = {probes} permit_mynetworks, reject_unauth_destination
unverified_recipient_reject_code = 550
address_verify_poll_delay = 1s
address_verify_poll_count = 5
# Retries within a test's patience.
minimal_backoff_time = 1s
maximal_backoff_time = 2s
queue_run_delay = 1s
in_flow_delay = 0
transport_retry_time = 1s
service_throttle_time = 1s
"""

# As shipped, without chroot, and with one port of ours. postlog: there is no syslog here.
MASTER = """\
127.0.0.1:{port} inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 1 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
lmtp unix - - n - - lmtp
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
showq unix n - n - - showq
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""


class Postfix:
    """One instance; a context that starts and ends it.

    `probe`: asks the list server about a recipient before it takes mail for it (reject_unverified_recipient), with the sender that
    Postfix uses by default. `options`: more lines for main.cf. `folder` keeps log and configuration; the spool lies elsewhere, since OWNER must be able to walk into it.
    """

    def __init__(
        self,
        folder: Path,
        *,
        lists: Mapping[str, str],
        relay: str,
        port: int = 0,
        probe: bool = False,
        options: str = "",
    ) -> None:
        self.port = port or free_port()
        folder.mkdir(parents=True, exist_ok=True)
        self.log = folder / "mail.log"
        self._root = root()
        self._folder = folder
        self._spool = Path(tempfile.mkdtemp(prefix="postfix-"))
        self._process: subprocess.Popen[bytes] | None = None
        probes = [f"{domain}=reject_unverified_recipient" for domain in lists] if probe else []
        relay_host, _, relay_port = relay.rpartition(":")
        (folder / "main.cf").write_text(
            MAIN.format(
                spool=self._spool,
                root=str(self._root).rstrip("/"),
                libraries=_libraries(self._root),
                owner=OWNER,
                group=GROUP,
                log=self.log,
                relay=f"[{relay_host}]:{relay_port}",
                domains=" ".join(lists),
                transports=", ".join(f"{{{domain}={transport}}}" for domain, transport in lists.items()),
                probes=f"check_recipient_access inline:{{{', '.join(probes)}}}," if probes else "",
            )
        )
        with (folder / "main.cf").open("a") as file:
            file.write(options)
        (folder / "master.cf").write_text(MASTER.format(port=self.port))

    def __enter__(self) -> "Postfix":
        self._make_spool()
        with (self._folder / "master.out").open("ab") as output:
            self._process = subprocess.Popen(
                [self._root / "usr/lib/postfix/sbin/master", "-c", self._folder, "-d"],
                env=os.environ
                | {"MAIL_CONFIG": str(self._folder), "LD_LIBRARY_PATH": _libraries(self._root)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # at its end it kills its process group, the daemons
            )
        self._wait_for_banner(self._process)
        return self

    def __exit__(self, *_: object) -> None:
        process = self._process
        if process is not None and process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        shutil.rmtree(self._spool, ignore_errors=True)

    def processes(self) -> list[psutil.Process]:
        """Return its daemons, each named for what it does."""
        assert self._process is not None
        children: list[psutil.Process] = psutil.Process(self._process.pid).children()
        return children

    def queued(self) -> list[str]:
        """Return the queue ids of the mail that it has not got rid of."""
        return [
            path.name
            for queue in QUEUES
            for path in (self._spool / "queue" / queue).rglob("*")
            if path.is_file()
        ]

    def lines(self, pattern: str) -> list[str]:
        """Return the lines of its log that match."""
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return [line for line in text.splitlines() if re.search(pattern, line)]

    def _make_spool(self) -> None:
        owner = pwd.getpwnam(OWNER)
        self._spool.chmod(0o711)
        (self._spool / "data").mkdir(mode=0o700)
        shutil.chown(self._spool / "data", owner.pw_uid)
        (self._spool / "queue").mkdir(mode=0o755)
        for name in FOLDERS:
            folder = self._spool / "queue" / name
            folder.mkdir(mode=0o700)
            if name != "pid":
                shutil.chown(folder, owner.pw_uid)
        for name, mode in (("maildrop", 0o730), ("public", 0o710), ("pid", 0o755)):
            (self._spool / "queue" / name).chmod(mode)
        for name in ("maildrop", "public"):
            shutil.chown(self._spool / "queue" / name, group=GROUP)

    def _wait_for_banner(self, process: subprocess.Popen[bytes]) -> None:
        if wait_for_banner(self.port, lambda: process.poll() is None):
            return
        output = (self._folder / "master.out").read_text(errors="replace")
        self.__exit__()
        raise RuntimeError(f"Postfix did not start: {output}{''.join(self.lines(''))}")


def root() -> Path:
    """Return the folder that holds Postfix as if it were "/"; without one the test is skipped, but fails in CI."""
    unpacked = debian.root_of("postfix")
    found = unpacked or (Path("/") if Path("/usr/lib/postfix/sbin/master").exists() else None)
    if found is None:
        cannot("Postfix is not there: run `python3 tests/support/debian.py`")
    if os.geteuid() != 0:
        cannot("Postfix wants to be started by root")
    assert found is not None
    return found


def _libraries(root: Path) -> str:
    """Return the folders of shared libraries that an unpacked Postfix needs; its own path is compiled in otherwise."""
    if root == Path("/"):
        return ""
    folders = [root / "usr/lib/postfix", *root.glob("usr/lib/*-linux-gnu*"), *root.glob("lib/*-linux-gnu*")]
    return ":".join(str(folder) for folder in folders if folder.is_dir())
