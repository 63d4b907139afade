"""bin/postroom with a whole site behind it: demo, held posts, queues, shunted items, and the trace through all of it."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.site import Site
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

HOLD = "hold@example.org"
ANNE = "anne@example.net"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with Site(tmp_path_factory.mktemp("site"), '[outgoing]\nmaildir = "var/mail"\n') as made:
        do(made, "demo", "--prepare")
        do(made, "lists", "create", HOLD)
        do(made, "members", "add", HOLD, ANNE)
        yield made


def do(site: Site, *arguments: str) -> str:
    done = site.postroom(*arguments)
    assert done.returncode == 0, done
    return done.stdout


def rows(site: Site, *arguments: str) -> Any:
    return json.loads(do(site, *arguments, "--json"))


def refuse(site: Site, *arguments: str) -> str:
    done = site.postroom(*arguments)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1), done
    return done.stderr


def post(site: Site, recipient: str = HOLD) -> str:
    """Hand a post in; returns its id."""
    (result,) = rows(site, "send", "--from", "stranger@example.com", "--to", recipient)
    assert result["code"] == 250
    return str(result["text"]).split()[-1]


def events(site: Site, item_id: str) -> list[str]:
    return [row["event"] for row in rows(site, "trace", item_id)]


def hold(site: Site) -> dict[str, Any]:
    """Have a post held; returns its row of `held ls`."""
    item_id = post(site)
    return wait_until(
        lambda: next((row for row in rows(site, "held", "ls", HOLD) if row["item_id"] == item_id), None),
        every_s=0.2,
    )


def mail_of(site: Site, address: str) -> list[Path]:
    return list((site.var / "mail" / address / "new").glob("*"))


def test_demo_shows_the_dialogue_the_way_and_the_files(site: Site) -> None:
    out = do(site, "demo")
    assert "C: RCPT TO:<demo@lists.localhost>" in out
    assert re.search(r"S: 250 2\.0\.0 Accepted [0-9a-f]{32}", out)
    assert "outgoing.delivered" in out
    files = re.findall(r"^(\w+)@members\.localhost: (.+)$", out, re.MULTILINE)
    assert [name for name, _ in files] == ["anne", "bert", "cora"]
    assert all(b"Hello from bin/postroom demo" in Path(file).read_bytes() for _, file in files)


def test_prepare_twice_is_prepare_once(site: Site) -> None:
    before = site.config.read_bytes()
    assert "bin/postroom demo" in do(site, "demo", "--prepare")
    assert len(rows(site, "members", "ls", "demo@lists.localhost", "--role", "member")) == 3
    assert site.config.read_bytes() == before


def test_an_accepted_post_goes_out_and_its_trace_is_one_story(site: Site) -> None:
    held = hold(site)
    assert held.keys() >= {"id", "list_id", "reverse_path", "reason", "at"}
    before = len(mail_of(site, ANNE))
    do(site, "held", "accept", str(held["id"]))
    wait_until(lambda: len(mail_of(site, ANNE)) == before + 1)
    way = ["lmtp.accepted", "post.held", "post.released", "outgoing.delivered"]

    def newest() -> list[str]:
        """The story without the mail that told the sender of the wait, which was delivered before the release."""
        told = events(site, held["item_id"])
        last = {event: number for number, event in enumerate(told) if event in way}
        return sorted(last, key=last.__getitem__)

    wait_until(lambda: newest() == way, every_s=0.2)
    assert f"{held['id']}" in refuse(site, "held", "accept", str(held["id"]))


@pytest.mark.parametrize("act", ["reject", "discard"])
def test_a_refused_post_is_gone_and_goes_to_nobody(site: Site, act: str) -> None:
    held, before = hold(site), len(mail_of(site, ANNE))
    do(site, "held", act, str(held["id"]))
    wait_until(lambda: not any(row["id"] == held["id"] for row in rows(site, "held", "ls")), every_s=0.2)
    wait_until(lambda: events(site, held["item_id"])[-1] == "item.handled", every_s=0.2)
    assert len(mail_of(site, ANNE)) == before


def test_show_gives_the_post_as_it_came(site: Site) -> None:
    held = hold(site)
    done = do(site, "held", "show", str(held["id"]))
    assert "generic-nonmember-action" in done
    content = site.postroom("held", "show", str(held["id"]), "--content").stdout
    assert "This message was written by bin/postroom send." in content
    assert done.endswith(content)
    do(site, "held", "discard", str(held["id"]))


def test_a_decision_needs_the_bus_and_every_post_that_it_names(site: Site) -> None:
    held = hold(site)
    refuse(site, "held", "discard", str(held["id"]), "4711")
    assert any(row["id"] == held["id"] for row in rows(site, "held", "ls"))
    do(site, "held", "discard", str(held["id"]))


def test_a_paused_queue_keeps_its_mail_and_trace_shows_it(site: Site) -> None:
    assert "no such queue" in refuse(site, "queues", "pause", "incomming")
    do(site, "queues", "pause", "incoming")
    try:
        item_id = post(site, "demo@lists.localhost")
        told = rows(site, "trace", item_id)
        assert [row["event"] for row in told] == ["lmtp.accepted", "queued"]
        assert (told[1]["queue"], told[1]["state"]) == ("incoming", "ready")
        (queue,) = [row for row in rows(site, "queues", "ls") if row["queue"] == "incoming"]
        assert (queue["ready"], queue["paused"]) == (1, True)
    finally:
        do(site, "queues", "resume", "incoming")
    wait_until(lambda: "outgoing.delivered" in events(site, item_id), every_s=0.2)


def test_queues_ls_has_the_keys_of_status(site: Site) -> None:
    listed, status = rows(site, "queues", "ls"), site.status()["queues"]
    assert [row["queue"] for row in listed] == [row["queue"] for row in status]
    assert all(row.keys() >= status[0].keys() for row in listed)
    assert all(name in do(site, "queues", "ls") for name in ("incoming", "outgoing", "bounces"))


@pytest.fixture
def shunted(site: Site) -> str:
    """An item whose list is gone."""
    do(site, "lists", "create", "gone@example.org", "--set", "generic_nonmember_action=accept")
    do(site, "queues", "pause", "incoming")
    item_id = post(site, "gone@example.org")
    do(site, "lists", "remove", "gone@example.org")
    do(site, "queues", "resume", "incoming")
    wait_until(lambda: rows(site, "shunt", "ls"), every_s=0.2)
    return item_id


def test_a_shunted_item_is_shown_tried_again_and_dropped(site: Site, shunted: str) -> None:
    (row,) = rows(site, "shunt", "ls", "--list", "gone@example.org")
    assert (row["item_id"], row["queue"], row["list_id"]) == (shunted, "incoming", "gone.example.org")
    assert row["reason"]
    assert row["at"]
    text = do(site, "shunt", "show", shunted)
    assert row["reason"] in text
    assert "stranger@example.com" in text
    assert "Subject:" in do(site, "shunt", "show", shunted, "--content")
    assert rows(site, "shunt", "show", shunted)["item"]["recipient"] == "gone@example.org"
    assert "1 put back" in do(site, "shunt", "retry", shunted)
    wait_until(lambda: rows(site, "shunt", "ls", "--queue", "incoming"), every_s=0.2)
    assert events(site, shunted)[-1] == "queued"
    assert "1 of 2" in refuse(site, "shunt", "drop", shunted, "0" * 32)
    assert rows(site, "shunt", "ls") == []
    assert events(site, shunted)[-1] == "item.dropped"


def test_all_that_is_set_aside_can_be_dropped_at_once_but_never_by_mistake(site: Site, shunted: str) -> None:
    assert site.postroom("shunt", "drop").returncode == 2
    assert site.postroom("shunt", "drop", "--all", "--queue", "incoming").returncode == 2
    assert len(rows(site, "shunt", "ls")) == 1
    assert "1 thrown away" in do(site, "shunt", "drop", "--all")
    assert rows(site, "shunt", "ls") == []


def test_a_bus_that_is_being_started_anew_is_waited_for(site: Site) -> None:
    site.kill("bus")
    assert {row["queue"] for row in rows(site, "queues", "ls")} >= {"incoming", "outgoing"}
    site.wait_healthy()


def test_names_that_are_not_there_are_refused(site: Site) -> None:
    assert "no shunted item" in refuse(site, "shunt", "show", "0" * 32)
    assert "nolist@example.org" in refuse(site, "shunt", "ls", "--list", "nolist@example.org")


def test_trace_by_message_id_finds_both_posts_of_one_transaction(site: Site) -> None:
    results = rows(site, "send", "--from", ANNE, "--to", HOLD, "--to", "demo@lists.localhost")
    ids = [row["text"].split()[-1] for row in results]
    (message_id,) = {
        row["message_id"] for row in rows(site, "trace", ids[0]) if row["event"] == "lmtp.accepted"
    }
    told = rows(site, "trace", message_id)
    assert {row["item_id"] for row in told if row["event"] == "lmtp.accepted"} == set(ids)


def test_the_demo_sends_nothing_to_another_site_at_its_address(site: Site, tmp_path: Path) -> None:
    other = Site(tmp_path, f'[lmtp]\nlisten = ["127.0.0.1:{site.port}"]\n[outgoing]\nmaildir = "var/mail"\n')
    do(other, "demo", "--prepare")
    log = site.var / "log" / "postroom.jsonl"
    taken = log.read_text("utf-8").count('"lmtp.accepted"')
    assert "make run" in refuse(other, "demo")
    do(site, "demo")
    assert log.read_text("utf-8").count('"lmtp.accepted"') == taken + 1


def test_without_a_site_every_command_that_needs_one_says_what_to_do(tmp_path: Path) -> None:
    site = Site(tmp_path, '[outgoing]\nmaildir = "var/mail"\n')
    do(site, "demo", "--prepare")
    assert "make run" in refuse(site, "demo")
    for arguments in (
        ["queues", "ls"],
        ["queues", "pause", "incoming"],
        ["shunt", "ls"],
        ["shunt", "retry", "--all"],
    ):
        assert "bin/master start" in refuse(site, *arguments)
    site.end()
