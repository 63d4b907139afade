"""One message, a runner that is killed at a named place, and what came of it: the list store and the mail, told so that two runs can be compared.

A Stage is one site for one kind of message. `prepare` of a Kind makes the state before; the store is copied away, and `play` puts the copy back, gives
the bus a new journal, lets the same item with the same octets come, and returns an Ending. The clock of the site stands at noon of a fixed day when the
stage is made, so that days and tokens are the same in each run; only the seconds differ, and they are looked at with a tolerance.
"""

import re
import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct

from bus.messages import Item
from config.clock import Clock
from config.names import ListId
from config.settings import OutgoingSettings
from lists.changes import Change
from lists.records import Origin
from runners.outcome import Ack
from tests.support.bus_process import wait_until
from tests.support.runners import RunnerProcess, RunnerSite
from tests.support.sink import Sink, Transaction

ANT: Final = "ant@example.org"
ANT_ID: Final = ListId("ant.example.org")
NOON: Final = datetime.fromisoformat("2031-01-06T12:00:00+00:00")
MEMBERS: Final = ("anne@example.net", "bart@example.net", "cris@example.com")
OWNERS: Final = ("olga@example.com", "otto@example.net")

# What lists.db has in milliseconds since 1970, by column; everything else must be the same to the octet.
TIMES: Final = frozenset(
    [
        "at",
        "since",
        "until",
        "created_at",
        "expires_at",
        "used_at",
        "due_at",
        "probed_at",
        "status_at",
        "status_until",
        "told_at",
    ]
)
TOLERANCE_MS: Final = 300_000
DEAD: Final = -9
REVIVED_S: Final = 20.0
_DATE = re.compile(rb"(?m)^Date: [^\r\n]*")


class Message(Struct, frozen=True):
    """What comes to a runner from outside."""

    item: Item
    content: bytes = b""


class Kind(Struct, frozen=True):
    """One kind of message: whose queue it comes to, and the state that it finds."""

    name: str
    queue: str
    prepare: Callable[["Stage"], Message | None]  # None: a timer of the runner publishes it
    sends: bool = True  # is mail made of it?
    many: bool = False  # for several recipients of one item
    at_outgoing: bool = True  # is outgoing killed too? False: another kind gives it items of the same form
    uses_store: bool = True
    also: tuple[str, ...] = ()  # other queues that it goes through; their runners are not disturbed


class Copy(Struct, frozen=True, order=True):
    """One mail at one recipient; `digest` is of its octets without the value of Date:."""

    recipient: str
    reverse_path: str
    digest: str


class Ending(Struct, frozen=True):
    """What one message left behind."""

    tables: Mapping[str, list[tuple[Any, ...]]]
    times: list[int]
    copies: Counter[Copy]
    named: Counter[str]  # recipients of whom the journal says that they may get a second copy
    shunts: list[dict[str, Any]]


class Stage:
    """One site for one kind of message."""

    def __init__(self, site: RunnerSite, sink: Sink) -> None:
        self.site = site
        self.sink = sink
        self._saved = site.folder / "saved.db"
        self._living: dict[str, RunnerProcess] = {}
        self.message: Message | None = None
        self.queue = ""
        self._also: tuple[str, ...] = ()

    # Before -----------------------------------------------------------------------------------------------------------

    def set_clock(self, now: datetime) -> None:
        """Let the site's clock say this."""
        offset_s = now.timestamp() - Clock().time_ms() / 1000
        Path(self.site.settings.site.clock_file).write_text(f"{offset_s:.3f}")

    def change(self, *changes: Change) -> None:
        """Do this to the list store."""
        self.site.store.perform(changes, Origin("command"))

    def come(self, queue: str, recipient: str, content: bytes, **fields: Any) -> list[Transaction]:
        """Let a message come to its runner, undisturbed, and return the mail that is made of it."""
        before = len(self.sink.transactions)
        self._run(queue)
        self.site.post(recipient, content, queue, list_id=ANT_ID, accepted_at=NOON, **fields)
        self.site.wait_empty(queue, "outgoing")
        return self.sink.transactions[before:]

    def save(self, kind: Kind) -> None:
        """Bring about the state before, and keep it."""
        self._run("outgoing")
        self.message = kind.prepare(self)
        self.queue, self._also = kind.queue, kind.also
        self._end_all(but="outgoing")
        self.site.store.engine.dispose()
        shutil.copyfile(self.site.folder / "lists.db", self._saved)

    # One run ----------------------------------------------------------------------------------------------------------

    def play(self, process: str = "", place: str = "") -> Ending:
        """Let the message come once; the runner of queue `process` dies at `place`, and another takes its turn."""
        self._put_back()
        mails, lines = len(self.sink.transactions), self._count_lines()
        failpoints = f"{place}=kill" if place else ""
        if process == "outgoing":
            self._end("outgoing")
        victim = self.site.start(process, failpoints, ready=False) if process else None
        self.site.bus.start()  # beside the victim, which waits for it: a second of CPU less
        for queue in {self.queue, *self._also, "outgoing"} - {process}:
            self._run(queue)
        if self.message is not None:
            self.site.publish(self.message.item, self.message.content)
        if victim is not None:
            assert self.site.reap(victim) == DEAD, f"it did not pass {place}"
            self._run(process)
        self._wait_done()
        # A runner that has published what is due does not do so again: the next run needs one that has seen nothing.
        self._end_all(but=self.queue if process == "outgoing" and self.message else "outgoing")
        return self._look(mails, lines)

    def play_without_bus(self, place: str, passage: int) -> Ending:
        """Let the message come once; the bus dies when it passes `place` for the n-th time, and another one is started at once, as master does."""
        self._put_back()
        mails, lines = len(self.sink.transactions), self._count_lines()
        victim = self.site.bus.start(f"{place}=kill@{passage}")
        for queue in {self.queue, *self._also, "outgoing"}:
            self._run(queue)
        assert self.message is not None
        with ThreadPoolExecutor(1) as sender:  # not the bus: it ends with the thread that has started it
            sent = sender.submit(self.site.publish, self.message.item, self.message.content)
            assert victim.wait(REVIVED_S) == DEAD, f"it did not pass {place}"
            self.site.bus.start()
            sent.result()
        self._wait_done()
        self._end_all(but="outgoing")
        return self._look(mails, lines)

    def _put_back(self) -> None:
        """Put the saved store back, and take the journal away: the next bus has seen nothing yet."""
        self.site.bus.kill()
        for file in self.site.folder.glob("journal.db*"):
            shutil.rmtree(file) if file.is_dir() else file.unlink()
        with closing(sqlite3.connect(self._saved)) as saved, closing(self._database()) as database:
            saved.backup(database)  # in place: others have the file open

    def _run(self, queue: str) -> None:
        if queue not in self._living:
            self._living[queue] = self.site.start(queue)

    def _end(self, queue: str) -> None:
        if queue in self._living:
            self.site.kill(self._living.pop(queue))

    def _end_all(self, *, but: str) -> None:
        for queue in set(self._living) - {but}:
            self._end(queue)

    def _wait_done(self) -> None:
        """Wait until the message has come to its end and nothing is under way."""

        def done() -> bool:
            status = {one["queue"]: one for one in self.site.bus.ask("status")["queues"]}
            ours = status[self.queue]
            over = ours["done"] + ours["held"] + ours["shunted"]
            rest = sum(one[key] for one in status.values() for key in ("ready", "leased", "deferred"))
            return bool(over) and not rest

        wait_until(done, 20.0)

    # After ------------------------------------------------------------------------------------------------------------

    def _look(self, mails: int, lines: int) -> Ending:
        copies = Counter(
            Copy(recipient, mail.reverse_path, digest(mail.content))
            for mail in self.sink.transactions[mails:]
            if mail.is_delivered
            for recipient in mail.accepted
        )
        told = self.site.lines("outgoing.repeated")[lines:]
        named = Counter(recipient for line in told for recipient in line["recipients"])
        with closing(self._database()) as database:
            tables, times = dump(database)
        return Ending(tables, times, copies, named, self.site.shunts())

    def _count_lines(self) -> int:
        return len(self.site.lines("outgoing.repeated"))

    def _database(self) -> sqlite3.Connection:
        return sqlite3.connect(self.site.folder / "lists.db", timeout=10.0)


@contextmanager
def staging(folder: Path, kind: Kind) -> Iterator[Stage]:
    """Make the stage of a kind; one recipient in a transaction, so that several make several transactions."""
    folder.mkdir(exist_ok=True)
    with (
        Sink() as sink,
        RunnerSite(
            folder, outgoing=OutgoingSettings(smtp=sink.address, recipients_per_transaction=1)
        ) as site,
    ):
        stage = Stage(site, sink)
        stage.set_clock(NOON)
        site.create_list(ANT, MEMBERS, OWNERS)
        stage.save(kind)
        yield stage


def digest(content: bytes) -> str:
    """Return what tells two mails apart: all but the second in which they were made."""
    return sha256(_DATE.sub(b"Date:", content)).hexdigest()


def dump(database: sqlite3.Connection) -> tuple[dict[str, list[tuple[Any, ...]]], list[int]]:
    """Return every table without its times, and all times in the same order."""
    names = database.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name").fetchall()
    tables: dict[str, list[tuple[Any, ...]]] = {}
    times: list[int] = []
    for (name,) in names:
        cursor = database.execute(f'SELECT * FROM "{name}"')
        columns = [column[0] for column in cursor.description]
        rows = [_parted(dict(zip(columns, row, strict=True))) for row in cursor.fetchall()]
        rows.sort(key=repr)
        tables[name] = [plain for plain, _ in rows]
        times += [time for _, row_times in rows for time in row_times]
    return tables, times


def _parted(row: Mapping[str, Any]) -> tuple[tuple[Any, ...], tuple[int, ...]]:
    """Return the rest of a row, and its times."""
    rest = tuple(_plain(column, value) for column, value in row.items() if column not in TIMES)
    return rest, tuple(value or 0 for column, value in row.items() if column in TIMES)


def _plain(column: str, value: Any) -> Any:
    """Return a value as it is, but of a stored outcome's mail the digest."""
    if column != "outcome":
        return value
    ack = msgspec.msgpack.decode(value, type=Ack)
    outputs = [
        msgspec.structs.replace(each, content=digest(each.content).encode() if each.content else None)
        for each in ack.outputs
    ]
    return msgspec.structs.replace(ack, outputs=outputs)


def differences(ending: Ending, expected: Ending) -> list[str]:
    """Say what is not as it was in the undisturbed run; [] for nothing.

    A second copy is no difference where the journal names its recipient: the one case that SMTP leaves open.
    """
    found = [
        f"table {name}: {ending.tables.get(name)} instead of {rows}"
        for name, rows in expected.tables.items()
        if ending.tables.get(name) != rows
    ]
    apart = [
        abs(one - other) for one, other in zip(ending.times, expected.times, strict=False) if one != other
    ]
    if len(ending.times) != len(expected.times) or max(apart, default=0) > TOLERANCE_MS:
        found.append(f"times: {ending.times} instead of {expected.times}")
    found += [f"lost: {copy}" for copy in expected.copies - ending.copies]
    for copy, count in (ending.copies - expected.copies).items():
        if copy not in expected.copies:
            found.append(f"not in the undisturbed run: {copy}")
        elif count > ending.named[copy.recipient]:
            found.append(f"doubled, and nobody says so: {copy}")
    return found + [f"shunted: {shunt}" for shunt in ending.shunts]


def mails_to(mails: list[Transaction], recipient: str) -> list[Transaction]:
    """Return those of some mails that went to somebody."""
    return [mail for mail in mails if recipient in mail.accepted]


def timed(now: datetime, days: float) -> datetime:
    """Return a time some days later."""
    return now + timedelta(days=days)
