"""GNU Mailman as a whole: its master and every runner that it starts by default, SQLite, mail out by SMTP to the sink.

What differs from its defaults, and why (docs/bench.md tells the same to readers): the bounce runner looks once a second, as its other runners do, instead of
every two minutes, or nothing but that pause would be measured; the lists archive nothing and make no digests, since Postroom has neither. Its state is made once
and kept from round to round. `master` is run as `mailman start` runs it, but without the seconds of that command.
"""

import base64
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from bench.suite import JOINED, MEMBERS, THOUSAND, member_address, read_number
from bench.targets import (
    Mailman,
    Process,
    TargetFailed,
    free_port,
    root_option,
    session_pids,
    wait_for_banner,
)

READY_S = 60.0
QUIET_S = 240.0  # for the mail of one burst
BUSY = ("in", "pipeline", "out", "virgin", "bounces", "command")  # queues that mail passes
ASIDE = ("shunt", "bad")
RUNNERS = 12  # of its default configuration
PAUSE_S = 0.1  # between looks at what nobody tells of
SETTINGS = {
    "default_nonmember_action": "accept",
    "archive_policy": "never",
    "digests_enabled": "false",
    "max_message_size": "0",
    "admin_immed_notify": "false",
}
MEMBER_ROLE = 1  # in its table of members


class WholeMailman(Mailman):
    """M, all of it."""

    def __init__(self, smtp_port: int) -> None:
        super().__init__(tuple(MEMBERS), "mailman-whole")
        self._smtp_port = smtp_port
        self._rest_port = free_port()
        self._bounced = 0
        self._is_made = False

    def begin(self) -> float:
        """Start it; the first time make its lists before."""
        if not self._is_made:
            self._make()
            self._is_made = True
        return self._start_master()

    def wait_until_ready(self) -> None:
        """Wait until its REST server answers and every runner is there: it does not tell more."""
        deadline = time.monotonic() + READY_S
        while not self._answers() or len(self.everybody()) <= RUNNERS:
            if time.monotonic() > deadline:
                raise TargetFailed(f"Mailman's runners were not all up after {READY_S:g} s")
            time.sleep(PAUSE_S)

    def settle(self) -> None:
        """Wait until the queues are empty, and what is in hand is done."""
        deadline = time.monotonic() + QUIET_S
        while waiting := [path for queue in BUSY for path in self._files(queue)]:
            if time.monotonic() > deadline:
                raise TargetFailed(f"{len(waiting)} messages wait after {QUIET_S:g} s")
            time.sleep(PAUSE_S)
        if aside := [path.name for queue in ASIDE for path in self._files(queue)]:
            raise TargetFailed(f"{len(aside)} messages were set aside")

    def everybody(self) -> Sequence[int]:
        """Return master, its runners and the processes of the REST server: all of one session."""
        return session_pids(self._process.popen.pid) if self._process is not None else []

    def bounce_recipients(self, count: int) -> list[tuple[str, str]]:
        """As it writes them, and reads them from To:."""
        numbers = range(self._bounced, self._bounced + count)
        self._bounced += count
        name, _, domain = THOUSAND.partition("@")
        found = []
        for number in numbers:
            member = member_address(number)
            found.append((f"{name}-bounces+{member.replace('@', '=')}@{domain}", member))
        return found

    def scored(self) -> int:
        """Count in its table of members."""
        return self._count_members(THOUSAND, "bounce_score > 0")

    def joined(self) -> int:
        """Count in its table of members."""
        return self._count_members(JOINED, "1")

    def _count_members(self, address: str, what: str) -> int:
        where = f"list_id = '{address.replace('@', '.')}' AND role = {MEMBER_ROLE} AND {what}"
        return read_number(self._database, f"SELECT count(*) FROM member WHERE {where}")

    def _files(self, queue: str) -> list[Path]:
        return [path for path in (self.queue / queue).glob("*") if path.suffix in (".pck", ".bak", ".psv")]

    def _make(self) -> None:
        """Make the lists with their members; the settings are given by REST, so it is up for a moment."""
        self._prepare()
        file = self._folder / "members"
        for address, count in MEMBERS.items():
            if count:
                file.write_text("".join(f"{member_address(number)}\n" for number in range(count)))
                options = (*root_option(), "-C", "mailman.cfg", "addmembers", "--no-welcome-msg")
                self._run("mailman", *options, file.name, address.replace("@", "."))
        self._start_master()
        try:
            self.wait_until_ready()
            for address in MEMBERS:
                self._ask(f"lists/{address.replace('@', '.')}/config", SETTINGS)
        finally:
            self.stop()

    def _start_master(self) -> float:
        """`--force`: a lock that it left when it had to be killed does not count."""
        start = time.monotonic()
        command = (self._programs / "master", "--force", "-C", "mailman.cfg")
        self._process = Process(command, self._folder, self._folder / "master.log")
        wait_for_banner(self.address, self._process.popen, self._process.log)
        return time.monotonic() - start

    def _answers(self) -> bool:
        try:
            self._ask("system/versions")
        except TargetFailed:
            return False
        return True

    def _ask(self, path: str, change: dict[str, str] | None = None) -> None:
        """GET a resource, or PATCH it."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self._rest_port}/3.1/{path}",
            data=urllib.parse.urlencode(change).encode() if change else None,
            headers={"Authorization": "Basic " + base64.b64encode(b"restadmin:restpass").decode()},
            method="PATCH" if change else "GET",
        )
        try:
            with urllib.request.urlopen(request, timeout=10):
                pass
        except (OSError, urllib.error.URLError) as error:
            raise TargetFailed(f"Mailman's REST server, {path}: {error}") from error

    def _configuration(self) -> str:
        return f"""\
{super()._configuration()}
smtp_host: 127.0.0.1
smtp_port: {self._smtp_port}
[webservice]
port: {self._rest_port}
[runner.bounces]
sleep_time: 1s
"""
