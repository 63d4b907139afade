"""What is due through real processes, with clocks that do not agree and ends that come again."""

from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
from msgspec import Raw, msgpack

from config.clock import Clock
from config.names import ListId
from lists.changes import SetDelivery
from runners.timekeeping import packed
from tests.support.bus_process import wait_until
from tests.support.runners import RunnerSite

pytestmark = pytest.mark.slow

ANT = "ant@example.org"
ANT_ID = ListId("ant.example.org")
ANNE = "anne@example.net"


def gets_posts(site: RunnerSite) -> bool:
    found = site.store.look(lambda roster: roster.member(ANT_ID, ANNE))
    return found is not None and found.delivery


def test_a_step_made_by_a_clock_that_was_ahead_is_taken(tmp_path: Path) -> None:
    """The store keeps the outcome of an item: "nothing is due yet" would stand there for good."""
    with RunnerSite(tmp_path) as site:
        site.create_list(ANT, [ANNE])
        until = Clock().now() + timedelta(minutes=5)
        site.store.perform([SetDelivery(ANT_ID, ANNE, "vacation", until)])
        member = site.store.member(ANT, ANNE)
        assert member is not None
        args = {"due": Raw(msgpack.encode("delivery")), "key": Raw(msgpack.encode(str(member.id)))}
        made_at = until + timedelta(seconds=1)
        site.post(ANNE, b"", "membership", list_id=ANT_ID, args=args, accepted_at=made_at)
        site.start("membership")
        wait_until(partial(gets_posts, site))


def test_the_same_end_of_a_vacation_may_be_set_again(tmp_path: Path) -> None:
    with RunnerSite(tmp_path) as site:
        site.create_list(ANT, [ANNE])
        site.start("membership")
        for _ in range(2):
            site.store.perform([SetDelivery(ANT_ID, ANNE, "vacation", datetime(2026, 1, 1, tzinfo=UTC))])
            assert not gets_posts(site)
            wait_until(partial(gets_posts, site))


def test_what_is_due_for_a_list_that_was_removed_is_dropped_with_a_line(tmp_path: Path) -> None:
    with RunnerSite(tmp_path) as site:
        site.create_list(ANT, [ANNE])
        site.store.remove_list(ANT)
        for queue, kind, key in (
            ("bounces", "bounce", "1"),
            ("bounces", "freeze", "1"),
            ("bounces", "undelivered", "2026-11-23"),
            ("membership", "request", "1"),
            ("membership", "delivery", "1"),
        ):
            site.post(ANNE, b"", queue, list_id=ANT_ID, args={"due": packed(kind), "key": packed(key)})
        site.start("bounces")
        site.start("membership")
        site.wait_empty("bounces", "membership")
        assert site.shunts() == []
        assert len(site.lines("timer.dropped")) == 4, "a freeze that is gone is none, whatever its list"
        assert {line["list_id"] for line in site.lines("timer.dropped")} == {ANT_ID}
