"""Scaling, restarting and stopping while mail flows lose nothing, double nothing and set nothing aside (DESIGN P9)."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from config import load
from lists.store import Store
from tests.crash.checker import Copy, Sent, find_faults
from tests.support.load import History, Senders
from tests.support.site import Site
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

LISTS = {
    f"list-{number}@example.org": [f"m{number}-{member}@example.net" for member in range(3)]
    for number in range(3)
}
TROUBLES = (
    "process.failed",
    "item.failed",
    "lmtp.failed",
    "books.wrong",
    "bus.problem",
    "child.stuck",
    "child.delayed",
)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(
        tmp_path / "site", f'[outgoing]\nmaildir = "{tmp_path}/mail"\n[bus]\ncrashes_before_shunt = 1\n'
    )
    with Store(load.load(made.config)) as store:
        for address, members in LISTS.items():
            mailing_list = store.create_list(address, ["generic_nonmember_action=accept"])
            store.add_members(mailing_list.list_id, members)
    with made:
        yield made


def wait_quiet(site: Site) -> None:
    def is_quiet() -> bool:
        queues = site.status()["queues"]
        assert not any(one["shunted"] for one in queues), site.postroom("shunt", "ls").stdout
        return bool(queues) and not any(one["ready"] + one["leased"] + one["deferred"] for one in queues)

    wait_until(is_quiet, 60, what="the queues are empty", every_s=0.3)


def faults(history: History, mail: Path) -> list[str]:
    arrived = []
    for path in mail.glob("*/new/*"):
        content = path.read_text("utf-8")
        message_id = next(line for line in content.splitlines() if line.lower().startswith("message-id:"))
        arrived.append(Copy(message_id.partition(": ")[2], path.parts[-3]))
    sent = Sent(
        taken={message: LISTS[address] for message, address in history.taken().items()},
        unanswered={message: LISTS[address] for message, address in history.unanswered().items()},
    )
    return find_faults(sent, arrived, [])


def test_scaling_and_restarting_under_load(site: Site, tmp_path: Path) -> None:
    """One runner is enough to blame an item for good here, so a drain that blames is seen."""
    with Senders(f"127.0.0.1:{site.port}", list(LISTS), pause_s=0.05) as senders:
        wait_until(lambda: len(senders.history.taken()) > 10, 20)
        for command in (
            ["scale", "incoming", "3"], ["scale", "lmtp", "2"], ["restart"], ["scale", "outgoing", "2"],
            ["scale", "incoming", "1"], ["scale", "lmtp", "1"],
        ):  # fmt: skip
            done = site.master(*command)
            assert (done.returncode, done.stderr) == (0, "")
        count = len(senders.history.taken())
        wait_until(lambda: len(senders.history.taken()) > count + 10, 20)
    refused = [each.reply for each in senders.history.attempts() if "refused" in each.reply]
    assert refused == []
    wait_quiet(site)
    assert faults(senders.history, tmp_path / "mail") == []
    assert [line for event in TROUBLES for line in site.log(event)] == []


def test_stopping_under_load_is_quick_and_loses_nothing(site: Site, tmp_path: Path) -> None:
    with Senders(f"127.0.0.1:{site.port}", list(LISTS), pause_s=0.01, finish_s=0.0) as senders:
        wait_until(lambda: len(senders.history.taken()) > 50, 20)
        process = site.process
        assert process is not None
        stopping = threading.Thread(target=site.stop)
        stopping.start()
        stopping.join(15)
        assert not stopping.is_alive()
    assert process.returncode == 0
    assert [line for line in site.log("child.exited") if line.get("code") != 0] == []
    site.start()
    wait_quiet(site)
    assert faults(senders.history, tmp_path / "mail") == []
    assert [line for event in TROUBLES for line in site.log(event)] == []


def test_a_master_killed_under_load_and_started_again_loses_nothing(site: Site, tmp_path: Path) -> None:
    """Its children finish what they have, the bus last of them, and nobody of them works beside those of the new master."""
    with Senders(f"127.0.0.1:{site.port}", list(LISTS), pause_s=0.01) as senders:
        wait_until(lambda: len(senders.history.taken()) > 50, 20)
        site.kill("master")
        site.start()
        count = len(senders.history.taken())
        wait_until(lambda: len(senders.history.taken()) > count + 10, 20)
    assert [each for each in senders.history.attempts() if each.reply.startswith("451 4.4.1")] == []
    wait_quiet(site)
    assert faults(senders.history, tmp_path / "mail") == []
