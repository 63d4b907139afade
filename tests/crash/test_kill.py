"""Processes are killed at random under load; afterwards the mail is counted.

Every mail that got its 250 is at every member, and the queues are empty. Twice came only what an SMTP transaction carried that was begun and not noted as
done when outgoing died; the log names these copies. With maildirs, and while outgoing lives, nothing comes twice.
"""

import random
import re
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from msgspec import Struct

from config import load
from lists.store import Store
from tests.crash.checker import Copy, Sent, find_faults
from tests.crash.killing import Killer
from tests.support.load import History, Senders
from tests.support.sink import Sink
from tests.support.site import Site
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.crash, pytest.mark.slow]

EVERYBODY = ("bus", "lmtp-1", "incoming-1", "outgoing-1")
LISTS = {
    f"list-{number}@example.org": [f"m{number}-{member}@example.net" for member in range(6)]
    for number in range(4)
}
# A killed process is no error of those that live: nothing of ours may raise, and the counters of each queue must balance.
TROUBLES = ("process.failed", "item.failed", "lmtp.failed", "books.wrong", "bus.problem")
SLOW_S = 90.0  # above the length of a run
QUIET_S = 120.0  # for what was deferred while a process was away


class Scenario(Struct, frozen=True):
    """Who is killed, for how long, and where mail goes."""

    name: str
    victims: Sequence[str]
    length_s: float
    maildir: bool = False
    may_double: bool = False  # only named copies


SCENARIOS = (
    Scenario("everybody, over SMTP", EVERYBODY, 60.0, may_double=True),
    Scenario("all but outgoing, over SMTP", ("bus", "lmtp-1", "incoming-1"), 20.0),
    Scenario("everybody, into maildirs", EVERYBODY, 20.0, maildir=True),
)


@pytest.mark.timeout(400)
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_no_mail_is_lost_or_doubled_when_processes_are_killed(scenario: Scenario, tmp_path: Path) -> None:
    """P1, P3, P4, P8 and P9 at once."""
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    with Sink(record=tmp_path / "sink.jsonl") as sink, make_site(scenario, tmp_path, sink) as site:
        killer = Killer(load.load(site.config), scenario.victims, seed)
        with Senders(f"127.0.0.1:{site.port}", list(LISTS), pause_s=0.1) as senders, killer:
            time.sleep(
                scenario.length_s
            )  # the least length of the run; a slow machine needs longer for as much mail
            wait_until(lambda: len(senders.history.taken()) >= 5 * scenario.length_s, SLOW_S, every_s=0.5)
        senders.history.save(tmp_path / "history.jsonl")
        wait_quiet(site)
        arrived = list(from_maildirs(tmp_path / "mail") if scenario.maildir else from_sink(sink))
        named = list(named_copies(site)) if scenario.may_double else []
        troubles = [line for event in TROUBLES for line in site.log(event)]
    taken = senders.history.taken()
    outcomes = Counter(attempt.outcome for attempt in senders.history.attempts())
    print(f"{len(killer.kills)} kills, {len(arrived)} copies, {len(named)} named; {dict(outcomes)}")
    assert find_faults(sent(senders.history), arrived, named) == []
    assert troubles == []
    assert {kill.name for kill in killer.kills} == set(scenario.victims)
    assert len(killer.kills) >= scenario.length_s / 5
    assert len(taken) >= 5 * scenario.length_s


def make_site(scenario: Scenario, folder: Path, sink: Sink) -> Site:
    """Make a site with the lists and start it; an item may be in hand at any number of deaths."""
    output = f'maildir = "{folder / "mail"}"' if scenario.maildir else f'smtp = "{sink.address}"'
    site = Site(folder / "site", f"[bus]\ncrashes_before_shunt = 1000000\n[outgoing]\n{output}\n")
    with Store(load.load(site.config)) as store:
        for address, members in LISTS.items():
            made = store.create_list(address, ["generic_nonmember_action=accept"])
            store.add_members(made.list_id, members)
    site.start()
    return site


def sent(history: History) -> Sent:
    """Say where each mail had to go."""
    return Sent(
        taken={message: LISTS[address] for message, address in history.taken().items()},
        unanswered={message: LISTS[address] for message, address in history.unanswered().items()},
    )


def wait_quiet(site: Site) -> None:
    """Wait until every process is back and every queue is empty; what was set aside would never be."""

    def is_quiet() -> bool:
        status = site.status()
        queues = status["queues"]
        assert not any(one["shunted"] for one in queues), site.postroom("shunt", "ls").stdout
        return status["state"] == "healthy" and not any(
            one["ready"] + one["leased"] + one["deferred"] for one in queues
        )

    wait_until(is_quiet, QUIET_S, what="the queues are empty", every_s=0.5)


def from_sink(sink: Sink) -> Iterator[Copy]:
    """Return what the sink has taken, whether or not its 250 was read."""
    for done in sink.transactions:
        for recipient in done.accepted if done.is_delivered else ():
            yield Copy(message_id_of(done.content), recipient)


def from_maildirs(folder: Path) -> Iterator[Copy]:
    """Return what lies in the Maildirs; a folder is named after its member."""
    for path in folder.glob("*/new/*"):
        yield Copy(message_id_of(path.read_bytes()), path.parts[-3])


def named_copies(site: Site) -> Iterator[Copy]:
    """Return whom the log names as one who may get a second copy: whoever takes over a begun transaction without a result says so first."""
    for line in site.log("outgoing.repeated"):
        for recipient in line["recipients"]:
            yield Copy(line["message_id"], recipient)


def message_id_of(content: bytes) -> str:
    """Return the Message-ID, with its brackets."""
    found = re.search(rb"(?im)^Message-ID:\s*(<[^>]*>)", content)
    assert found is not None, content[:500]
    return found[1].decode()
