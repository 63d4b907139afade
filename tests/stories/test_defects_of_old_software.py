"""What went wrong in the old software, by its numbers there, as far as it is about people, bounces and owners. One site for all."""

import json
import signal
from collections.abc import Iterator

import pytest

from bus.client import publish_now
from config.load import load
from tests.stories.bouncing import returns
from tests.support.bus_process import make_item
from tests.support.story import Story
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

OLGA = "olga@example.com"
ANNE = "anne@example.net"
ZOE = "zoe@example.net"
KILLS = 12  # the eleventh was the last


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    """A site that all these tests share; each has a list of its own."""
    with Story(tmp_path_factory.mktemp("place")) as told:
        yield told


def test_d3_a_runner_that_was_killed_twelve_times_works(place: Story) -> None:
    """Status says each time what is so."""
    bee = place.make_list("bee@example.org", members=[ANNE])
    for _ in range(KILLS):
        pid = place.site.kill("bounces-1", signal.SIGKILL)

        def is_replaced(old: int = pid) -> bool:
            child = place.site.child("bounces-1")
            return bool(child["state"] == "ready" and child["pid"] != old)

        wait_until(is_replaced, 30.0, every_s=0.2)
    place.site.wait_healthy()
    returns(place, ANNE, "bee-bounces@example.org")
    place.wait_quiet()
    assert place.store.look(lambda roster: roster.bounces(bee, ANNE).score.value) == 1


def test_d5_a_header_of_one_letter_is_no_trouble(place: Story) -> None:
    place.make_list("cat@example.org", owners=[OLGA], members=[ANNE])
    for to in ("cat@example.org", "cat-owner@example.org", "cat-join@example.org"):
        place.says(ZOE if "join" in to else ANNE, to, "urgent", headers=["Urgent: x", "X: ", "X-Priority:"])
    place.hears(ANNE, "urgent")
    place.hears(OLGA, "urgent")
    place.hears(ZOE, "Please confirm")
    assert place.shunts() == []


def test_d6_a_held_post_with_two_message_ids_is_held_and_released(place: Story) -> None:
    dog = place.make_list(
        "dog@example.org", owners=[OLGA], members=[ANNE], settings=["generic_nonmember_action=hold"]
    )
    place.says(ZOE, "dog@example.org", "twice named", headers=["Message-ID: <again@said.example>"])
    place.wait_quiet()
    (held,) = place.store.held(dog)
    place.does("held", "accept", str(held.id))
    assert place.hears(ANNE, "twice named").mail.content.count(b"Message-ID:") == 2
    assert place.shunts() == []


def test_d7_an_automatic_reply_subscribes_nobody(place: Story) -> None:
    eel = place.make_list("eel@example.org")
    place.says("yves@example.net", "eel-join@example.org")
    question = place.hears("yves@example.net", "Please confirm")
    place.answers(question, headers=["Auto-Submitted: auto-replied"])
    place.answers(question, reverse_path="")
    place.hears_nothing("yves@example.net")
    assert place.member(eel, "yves@example.net") is None


def test_d9_what_is_set_aside_is_told_by_status_log_and_listing(place: Story) -> None:
    """And a person can let it go again."""
    item = make_item("bounces", "gone.example.org", recipient="gone-bounces@example.org", reverse_path="")
    publish_now(load(place.site.config), [item], b"Subject: x\r\n\r\nx\r\n")
    wait_until(lambda: place.site.queue("bounces")["shunted"] == 1)
    (shunt,) = place.shunts()
    assert (shunt["item_id"], shunt["reason"]) == (item.id, "unknown-list")
    assert [line["item_id"] for line in place.lines("item.shunted")] == [item.id]
    trace = json.loads(place.does("trace", item.id, "--json"))
    assert "item.shunted" in [line["event"] for line in trace]
    place.does("shunt", "drop", item.id)
    assert place.shunts() == []


def test_d11_admin_and_postmaster_reach_a_person(place: Story) -> None:
    """And a report to -admin, as old software's mail asks for, counts as the bounce that it is."""
    otto = "otto@example.com"
    fox = place.make_list("fox@example.org", owners=[otto], members=[ANNE])
    assert place.says(ZOE, "fox-admin@example.org", "to the admin").startswith("250 ")
    place.hears(otto, "to the admin")
    for number, to in enumerate(("postmaster@example.org", "Postmaster@example.org", "abuse@example.org")):
        assert place.says(ZOE, to, f"to the site {number}").startswith("250 ")
        place.hears("site@example.com", f"to the site {number}")
    returns(place, ANNE, "fox-admin@example.org")
    place.hears_nothing(otto)
    assert place.store.look(lambda roster: roster.bounces(fox, ANNE).score.value) == 1


def test_d13_strangers_leave_no_rows(place: Story) -> None:
    """Neither an address nor a membership: of who posts, asks, bounces, or writes to the owners."""
    place.make_list(
        "gnu@example.org", owners=[OLGA], members=[ANNE], settings=["generic_nonmember_action=discard"]
    )

    def rows() -> list[int]:
        with place.store.engine.connect() as connection:
            return [
                connection.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar_one()
                for table in ("address", "person", "membership", "history", "bounce_record")
            ]

    before = rows()
    for number in range(10):
        stranger = f"spam{number}@example.com"
        place.says(stranger, "gnu@example.org")
        place.says(stranger, "gnu-leave@example.org")
        place.says(stranger, "gnu-owner@example.org")
        returns(place, stranger, "gnu-bounces@example.org")
    place.wait_quiet()
    assert rows() == before
