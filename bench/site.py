"""Postroom as a target and as a suite: a whole site as its users have it, started by bin/master with a configuration of a few lines.

All processes are up, runners at their default priority. Lists named bench-N have no members; those of suite.py have, and their mail goes out to the sink.
The state lies under bench/out/, which should be on a real disk; the sockets in a folder with a short name, since their paths end at 100 octets.
"""

import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.load import Address
from bench.sink import make_counter, make_questions
from bench.suite import JOINED, MEMBERS, THOUSAND, member_address, read_number
from bench.targets import (
    LISTS,
    OUT,
    REPOSITORY,
    STOP_S,
    Process,
    TargetFailed,
    free_port,
    list_address,
    wait_for_banner,
)
from config import load
from config.clock import Clock
from config.settings import Settings
from lists.secret import load_site_key
from lists.store import Store
from lists.tokens import make_verp
from master import control

SETTLE_S = 240.0  # for the posts of one row to be handled
OPEN_LIST = ("generic_nonmember_action=accept",)


class Postroom:
    """P: one site with `lists` lists without members, and, with `members`, those of suite.py."""

    name = "P"

    def __init__(self, smtp_port: int, folder: str = "postroom", *, lists: int = LISTS, members: bool = True):
        self.address: Address = ("127.0.0.1", free_port())
        self.folder = OUT / folder
        self._lists = lists
        self._members = members
        self._smtp_port = smtp_port
        self._run: Path | None = None
        self._process: Process | None = None
        self.settings = Settings()
        self._bounced = 0  # members whose bounces were asked for

    def start(self) -> None:
        """Make a new site and start it."""
        self._make()
        self.start_again()

    def begin(self) -> float:
        """Make a new site and start it: making one takes a second, so no round sees what another has left."""
        self._make()
        start = time.monotonic()
        self.start_again()
        return time.monotonic() - start

    def _make(self) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        self._run = Path(tempfile.mkdtemp(prefix="postroom-"))
        self._file.write_text(self._configuration(self._run))
        self.settings = load.load(self._file)
        self._make_lists()
        self._bounced = 0

    def start_again(self) -> None:
        """Start the site that is there; returns with the banner."""
        command = (REPOSITORY / "bin" / "master", "start", "--config", self._file)
        self._process = Process(command, self.folder, self.folder / "master.log")
        wait_for_banner(self.address, self._process.popen, self._process.log)

    def stop(self) -> None:
        """End it and remove its sockets."""
        try:
            if self._process is not None:
                self._process.stop()
        finally:
            if self._run is not None:
                shutil.rmtree(self._run, ignore_errors=True)

    def settle(self) -> None:
        """Wait until every queue is empty: what was accepted is handled as in real life. Raises TargetFailed."""
        deadline = time.monotonic() + SETTLE_S
        while waiting := self._waiting():
            if time.monotonic() > deadline:
                raise TargetFailed(f"after {SETTLE_S:g} s there still wait {waiting}")
            time.sleep(0.1)  # the master is asked; nobody tells when a queue is empty

    def pids(self) -> Sequence[int]:
        """Return what a message passes before its 250: the front-ends and the bus."""
        return self.pids_of("lmtp", "bus")

    def front_end(self) -> Sequence[int]:
        """Return the front-ends."""
        return self.pids_of("lmtp")

    def pids_of(self, *roles: str) -> Sequence[int]:
        """Return the processes of these roles; without any, all processes of the suite."""
        processes = self._status()["processes"]
        return [one["pid"] for one in processes if one["pid"] and (not roles or one["role"] in roles)]

    def wait_until_ready(self) -> None:
        """Wait until every process does its work."""
        deadline = time.monotonic() + STOP_S
        while any(one["state"] != "ready" for one in self._status()["processes"] if one["role"] != "master"):
            if time.monotonic() > deadline:
                raise TargetFailed("not every process is ready")
            time.sleep(0.05)

    def everybody(self) -> Sequence[int]:
        """Return all processes of the suite, master and its forker too."""
        forker = self._status()["forker"]
        return [*self.pids_of(), *([forker["pid"]] if forker else [])]

    def bounce_recipients(self, count: int) -> list[tuple[str, str]]:
        """With the tokens that posts of today have in their reverse-paths."""
        key, today = load_site_key(self.settings), Clock().now().date()
        name, _, domain = THOUSAND.partition("@")
        with Store(self.settings) as store:
            list_id = store.find_list(THOUSAND).list_id
            members = store.members(list_id, limit=MEMBERS[THOUSAND])[self._bounced : self._bounced + count]
        self._bounced += count
        found = []
        for member in members:
            token = make_verp(key, list_id, member.id, today)
            found.append((f"{name}-bounces+{token}@{domain}", member.address))
        return found

    def scored(self) -> int:
        """Count in the list store."""
        return read_number(self._store, "SELECT count(*) FROM bounce_record WHERE score > 0")

    def joined(self) -> int:
        """Count in the list store."""
        select = "SELECT count(*) FROM membership JOIN list ON list.id = list_row WHERE role = 'member' AND list.address"
        return read_number(self._store, f"{select} = '{JOINED}'")

    @property
    def _store(self) -> Path:
        return Path(self.settings.lists.store.removeprefix("sqlite:///"))

    @property
    def _file(self) -> Path:
        return self.folder / "postroom.toml"

    def _status(self) -> dict[str, Any]:
        try:
            return control.call(self.settings, {"do": "status"})
        except (control.MasterAway, control.MasterError) as error:
            raise TargetFailed(f"no status: {error}") from error

    def _waiting(self) -> dict[str, int]:
        """Return what each queue still holds; a shunted item is not waited for but is a failure."""
        queues = self._status()["queues"]
        for queue in queues:
            if queue["shunted"]:
                raise TargetFailed(f"{queue['shunted']} items of {queue['queue']} were shunted")
        counts = {one["queue"]: one["ready"] + one["leased"] + one["deferred"] for one in queues}
        return {queue: count for queue, count in counts.items() if count}

    def _configuration(self, run: Path) -> str:
        return f"""\
[site]
name = "bench.example.org"
owner = "postmaster@example.org"
var = "var"
run = "{run}"
[lmtp]
listen = ["127.0.0.1:{self.address[1]}", "unix:{run}/lmtp.sock"]
[outgoing]
smtp = "127.0.0.1:{self._smtp_port}"
"""

    def _make_lists(self) -> None:
        with Store(self.settings) as store:
            for number in range(self._lists):
                store.create_list(list_address(number), OPEN_LIST)
            for address, count in MEMBERS.items() if self._members else ():
                made = store.create_list(address, OPEN_LIST)
                store.add_members(made.list_id, [member_address(number) for number in range(count)])


class Sink:
    """The process that takes what the site sends, see sink.py."""

    def __init__(self) -> None:
        OUT.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self._counts = OUT / "sink.counts"
        self._asked = OUT / "sink.questions"
        self.counter = make_counter(self._counts)
        self.questions = make_questions(self._asked)
        self._process: Process | None = None

    def start(self) -> None:
        """Start it and wait for its greeting."""
        files = ("--counts", self._counts, "--questions", self._asked)
        command = (sys.executable, "-m", "bench.sink", "--port", str(self.port), *files)
        self._process = Process(command, REPOSITORY, OUT / "sink.log")
        wait_for_banner(("127.0.0.1", self.port), self._process.popen, self._process.log)

    def stop(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.stop()
