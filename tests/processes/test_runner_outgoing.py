"""Outgoing when things go wrong: killed at each step, refused, hung up on, stopped under load. Then the mail is counted."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from config.settings import OutgoingSettings
from tests.support.bus_process import wait_until
from tests.support.runners import RunnerSite, wait_for_number
from tests.support.sink import Rule, Sink

pytestmark = pytest.mark.slow

MAIL = b"From: Anne <anne@example.net>\r\nSubject: Hello\r\n\r\nBody\r\n"


def members(number: int) -> list[str]:
    return [f"m{index:04}@example.net" for index in range(number)]


def make_site(folder: Path, sink: Sink, number: int, **options: Any) -> RunnerSite:
    site = RunnerSite(folder, outgoing=OutgoingSettings(smtp=sink.address, **options))
    site.__enter__()
    site.create_list("ant@example.org", members(number))
    return site


def begun_and_not_done(site: RunnerSite, root_id: str, folder: list[str]) -> set[str]:
    """Return the recipients that the journal names as perhaps having the mail."""
    named: set[str] = set()
    for found in site.bus.ask("find", id=root_id):
        for note in found["notes"]:
            if not note.get("results"):
                first, end = note["part"]
                named.update(folder[first:end])
    return named


@pytest.mark.parametrize(
    ("place", "doubles"),
    [
        ("outgoing.begun.before", 0),
        ("outgoing.begun.after", 0),
        ("outgoing.data.before", 0),
        ("outgoing.data.after", 100),
        ("outgoing.done.after", 0),
        ("runner.ack.before", 50),
        ("runner.ack.after", 0),
    ],
)
def test_killed_at_any_step_everybody_has_it_and_only_named_recipients_twice(
    tmp_path: Path, place: str, doubles: int
) -> None:
    with Sink() as sink:
        site = make_site(tmp_path, sink, 250)
        try:
            site.start("incoming")
            passage = 1 if place.startswith("runner") else 2
            outgoing = site.start("outgoing", f"{place}=kill@{passage}")
            post = site.post("ant@example.org", MAIL)
            outgoing.process.wait(20)
            named = begun_and_not_done(site, post.id, members(250))
            site.reap(outgoing)
            site.start("outgoing")
            site.wait_empty("incoming", "outgoing")
            counts = Counter(sink.recipients())
            assert sorted(counts) == members(250)
            doubled = {recipient for recipient, count in counts.items() if count > 1}
            assert len(doubled) == doubles
            assert doubled <= named
            assert max(counts.values()) <= 2
            repeated = {each for line in site.lines("outgoing.repeated") for each in line["recipients"]}
            assert doubled <= repeated
        finally:
            site.__exit__(None, None, None)


@pytest.mark.parametrize("place", ["maildir.link.before", "maildir.link.after"])
def test_killed_while_it_writes_maildirs_nobody_has_it_twice(tmp_path: Path, place: str) -> None:
    root = tmp_path / "mail"
    with RunnerSite(tmp_path, outgoing=OutgoingSettings(maildir=str(root))) as site:
        site.create_list("ant@example.org", members(20))
        site.start("incoming")
        outgoing = site.start("outgoing", f"{place}=kill@7")
        site.post("ant@example.org", MAIL)
        outgoing.process.wait(20)
        site.reap(outgoing)
        site.start("outgoing")
        site.wait_empty("incoming", "outgoing")
        assert [len(list((root / member / "new").iterdir())) for member in members(20)] == [1] * 20


def test_refused_recipients_become_reports_and_a_rest(tmp_path: Path) -> None:
    rules = [
        Rule(at="rcpt", like="m0003", reply="550 5.1.1 no such user"),
        Rule(at="rcpt", like="m0004", reply="450 4.2.1 later", times=1),
    ]
    with Sink(rules) as sink:
        site = make_site(tmp_path, sink, 10)
        try:
            site.start("incoming")
            site.start("outgoing")
            site.post("ant@example.org", MAIL)
            wait_until(lambda: site.bus.queue("outgoing")["deferred"] == 1)
            assert site.bus.queue("bounces")["ready"] == 1
            assert len(sink.recipients()) == 8
            (tmp_path / "clock").write_text("60")
            wait_until(lambda: len(sink.recipients()) == 9)
            assert sink.transactions[-1].accepted == ("m0004@example.net",)
            site.wait_empty("outgoing")
        finally:
            site.__exit__(None, None, None)


def test_after_five_days_of_4xx_a_report_is_written(tmp_path: Path) -> None:
    with Sink([Rule(at="rcpt", like="m0001", reply="450 4.2.1 later")]) as sink:
        site = make_site(tmp_path, sink, 2)
        try:
            site.start("incoming")
            site.start("outgoing")
            site.post("ant@example.org", MAIL)
            wait_until(lambda: site.bus.queue("outgoing")["deferred"] == 1)
            (tmp_path / "clock").write_text(str(5 * 86400 + 60))
            wait_until(lambda: site.bus.queue("bounces")["ready"] == 1)
            site.wait_empty("outgoing")
            assert sink.recipients() == ["m0000@example.net"]
        finally:
            site.__exit__(None, None, None)


def test_an_mta_that_is_away_gets_the_mail_when_it_is_back(tmp_path: Path) -> None:
    rules = [Rule(at="connect", reply="421 4.3.2 not now", close="after", times=1)]
    with Sink(rules) as sink:
        site = make_site(tmp_path, sink, 10)
        try:
            site.start("incoming")
            site.start("outgoing")
            post = site.post("ant@example.org", MAIL)
            wait_until(lambda: site.bus.queue("outgoing")["deferred"] == 1)
            assert begun_and_not_done(site, post.id, members(10)) == set()
            (found,) = site.bus.ask("find", id=post.id)
            assert found["attempts"] == 0
            (tmp_path / "clock").write_text("60")
            wait_until(lambda: len(sink.recipients()) == 10)
            site.wait_empty("outgoing")
            assert len(sink.recipients()) == 10
        finally:
            site.__exit__(None, None, None)


def test_a_421_in_the_middle_names_nobody_and_sends_nothing_twice(tmp_path: Path) -> None:
    rules = [Rule(at="rcpt", like="m0150", reply="421 4.3.2 going down", close="after", times=2)]
    with Sink(rules) as sink:
        site = make_site(tmp_path, sink, 250)
        try:
            site.start("incoming")
            site.start("outgoing")
            post = site.post("ant@example.org", MAIL)
            wait_until(lambda: site.bus.queue("outgoing")["deferred"] == 1)
            assert begun_and_not_done(site, post.id, members(250)) == set()
            (tmp_path / "clock").write_text("60")
            wait_until(lambda: len(sink.recipients()) == 250)
            site.wait_empty("outgoing")
            assert sorted(sink.recipients()) == members(250)
            assert site.lines("outgoing.repeated") == []
        finally:
            site.__exit__(None, None, None)


def test_a_reply_that_is_lost_is_asked_for_three_times_then_a_person_is(tmp_path: Path) -> None:
    with Sink([Rule(at="dot", close="before")]) as sink:
        site = make_site(tmp_path, sink, 3)
        try:
            site.start("incoming")
            site.start("outgoing")
            post = site.post("ant@example.org", MAIL)
            for number in range(1, 4):
                wait_for_number(lambda: len(sink.transactions), number)
                (tmp_path / "clock").write_text(str(number * 7200))
            (shunt,) = wait_until(site.shunts)
            assert shunt["reason"] == "reply-lost"
            assert all(member in shunt["detail"] for member in members(3))
            assert begun_and_not_done(site, post.id, members(3)) == set(members(3))
            assert len(site.lines("outgoing.repeated")) == 2
        finally:
            site.__exit__(None, None, None)


def test_sigterm_under_load_loses_and_doubles_nothing(tmp_path: Path) -> None:
    with Sink() as sink:
        site = make_site(tmp_path, sink, 10)
        try:
            incoming, outgoing = site.start("incoming"), site.start("outgoing")
            for _ in range(10):
                site.post("ant@example.org", MAIL)
            wait_until(lambda: len(sink.transactions) >= 3)
            assert site.stop(outgoing) == 0
            assert site.stop(incoming) == 0
            for _ in range(5):
                site.post("ant@example.org", MAIL)
            site.start("incoming")
            site.start("outgoing")
            wait_until(lambda: len(sink.transactions) >= 15)
            site.wait_empty("incoming", "outgoing")
            assert Counter(sink.recipients()) == Counter(dict.fromkeys(members(10), 15))
            assert site.shunts() == []
        finally:
            site.__exit__(None, None, None)


def test_a_bus_that_is_killed_in_the_middle_of_a_transaction_doubles_nobody(tmp_path: Path) -> None:
    with Sink([Rule(at="dot", delay_s=2.0, times=1)]) as sink:
        site = make_site(tmp_path, sink, 10)
        try:
            site.start("incoming")
            site.start("outgoing")
            site.post("ant@example.org", MAIL)
            wait_until(lambda: len(sink.transactions) == 1)  # the sink has it, outgoing waits for its reply
            site.bus.kill()
            site.bus.start()
            site.wait_empty("incoming", "outgoing")
            assert Counter(sink.recipients()) == Counter(members(10))
        finally:
            site.__exit__(None, None, None)


def test_a_range_is_cut_and_everybody_has_it_once(tmp_path: Path) -> None:
    with Sink(hash_only=True) as sink:
        site = make_site(tmp_path, sink, 0)
        try:
            site.store.add_members("ant.example.org", [f"m{index:05}@example.net" for index in range(50_100)])
            site.start("incoming")
            site.start("outgoing")
            site.post("ant@example.org", MAIL)
            wait_until(lambda: sink.delivered >= 50_100, 60)
            site.wait_empty("incoming", "outgoing")
            assert len(set(sink.recipients())) == len(sink.recipients()) == 50_100
        finally:
            site.__exit__(None, None, None)
