"""Effects of items: exactly once, with the outcome that belongs to them; and the posts that are held."""

from collections.abc import Collection, Iterator, Sequence
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import insert

from config.clock import Clock
from config.names import ItemId, ListId, id_about
from lists.changes import Decision, HoldPost, ReleaseHeld
from lists.errors import NoSuchHeld
from lists.roster import Roster
from lists.store import Store
from lists.store.schema import applied_outcome
from tests.support.lists import make_settings

ANT = ListId("ant.example.org")
CONTENT = b"Subject: \xff\x00 octets\r\n\r\nas they came\r\n"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(make_settings(tmp_path, clock_file=tmp_path / "clock")) as made:
        made.create_list("ant@example.org", owners=["owner@example.org"])
        yield made


def hold(roster: Roster) -> Decision:
    change = HoldPost(
        list_id=ANT,
        reverse_path="anne@example.net",
        reason="emergency",
        content=CONTENT,
        message_id="<1@example.net>",
        subject="octets",
    )
    return Decision((change,), outcome=b"held")


def test_the_same_item_again_changes_nothing_and_gets_the_stored_outcome(store: Store) -> None:
    item = id_about("one")
    assert store.apply_once(item, hold) == b"held"

    def never(roster: Roster) -> Decision:
        raise AssertionError("decided twice")

    assert store.apply_once(item, never) == b"held"
    assert len(store.held()) == 1
    store.apply_once(id_about("two"), hold)
    assert len(store.held()) == 2


def test_a_decision_that_is_not_kept_stores_nothing(store: Store) -> None:
    item = id_about("one")
    for _ in range(2):
        assert (
            store.apply_once(item, lambda roster: Decision(hold(roster).changes, b"later", keep=False))
            == b"later"
        )
    assert store.held() == ()
    assert store.apply_once(item, hold) == b"held"


def test_a_decision_that_raises_stores_nothing(store: Store) -> None:
    def fail(roster: Roster) -> Decision:
        raise ZeroDivisionError

    item = id_about("one")
    with pytest.raises(ZeroDivisionError):
        store.apply_once(item, fail)
    assert store.apply_once(item, hold) == b"held"


def test_an_empty_outcome_is_an_outcome(store: Store) -> None:
    item = id_about("one")
    assert store.apply_once(item, lambda roster: Decision()) == b""
    assert store.apply_once(item, hold) == b""
    assert store.held() == ()


def test_decide_reads_what_its_transaction_sees(store: Store) -> None:
    store.add_members(ANT, ["Anne@example.net"])

    def look(roster: Roster) -> Decision:
        mailing_list = roster.mailing_list(ANT)
        member = roster.member(ANT, "anne@EXAMPLE.net")
        assert mailing_list is not None
        assert member is not None
        assert member.address == "Anne@example.net"
        assert list(roster.owners(ANT)) == ["owner@example.org"]
        assert roster.member(ANT, "bart@example.net") is None
        assert roster.mailing_list(ListId("bee.example.org")) is None
        assert list(roster.owners(ListId("bee.example.org"))) == []
        assert roster.held(1) is None
        return Decision(outcome=b"seen")

    assert store.apply_once(id_about("one"), look) == b"seen"


def test_a_held_post_is_kept_octet_for_octet_until_it_is_released(store: Store) -> None:
    item = id_about("one")
    store.apply_once(item, hold)
    (held,) = store.held()
    meta, content = store.held_post(held.id)
    assert (meta, content) == (held, CONTENT)
    assert (held.list_id, held.reverse_path, held.reason) == (ANT, "anne@example.net", "emergency")
    assert (held.item_id, held.size, held.subject) == (item, len(CONTENT), "octets")

    def release(roster: Roster) -> Decision:
        return Decision((ReleaseHeld(held.id),), b"sent" if roster.held(held.id) else b"gone")

    assert store.apply_once(id_about(f"held:{held.id}:accept"), release) == b"sent"
    assert store.apply_once(id_about(f"held:{held.id}:discard"), release) == b"gone"
    with pytest.raises(NoSuchHeld):
        store.held_post(held.id)
    store.apply_once(id_about("two"), hold)
    assert store.held()[0].id == held.id + 1  # an id is never used again: commands and items name it


def test_held_posts_come_in_pages_and_outlive_their_list(store: Store) -> None:
    for number in range(5):
        store.apply_once(id_about(str(number)), hold)
    assert [post.id for post in store.held(limit=2)] == [1, 2]
    assert [post.id for post in store.held(after=2)] == [3, 4, 5]
    assert store.held("bee.example.org") == ()
    store.remove_list(ANT)
    assert len(store.held(ANT)) == 5


def test_holding_a_post_does_not_raise_the_version(store: Store) -> None:
    before = store.version()
    store.apply_once(id_about("one"), hold)
    store.apply_once(id_about("two"), lambda roster: Decision((ReleaseHeld(1),), b"done"))
    assert store.version() == before


def test_an_outcome_is_forgotten_only_when_it_is_old_and_the_bus_has_let_go_of_its_item(
    tmp_path: Path, store: Store
) -> None:
    """More than a page of them; every third item is still in the journal."""
    old = [id_about(f"old{number}") for number in range(1203)]
    rows = [{"item_id": item, "created_at": Clock().time_ms(), "outcome": b"x"} for item in old]
    with store.engine.begin() as connection:  # at once: each apply_once is a commit of its own
        connection.execute(insert(applied_outcome), rows)
    (tmp_path / "clock").write_text(str(49 * 3600))
    clock = Clock(tmp_path / "clock")
    young = id_about("young")
    with Store(make_settings(tmp_path, clock_file=tmp_path / "clock")) as later:
        later.apply_once(young, lambda roster: Decision(outcome=b"y"))
        in_bus = set(old[::3])
        asked: list[int] = []

        def still_held(ids: Sequence[ItemId]) -> Collection[ItemId]:
            asked.append(len(ids))
            return [item for item in ids if item in in_bus]

        assert later.trim_applied(clock.now() - timedelta(hours=48), still_held) == 802
        assert max(asked) <= 500
        assert sum(asked) == 1203
        new = Decision(outcome=b"new")
        assert later.apply_once(young, lambda roster: new) == b"y"
        assert later.apply_once(old[0], lambda roster: new) == b"x"
        assert later.apply_once(old[1], lambda roster: new) == b"new"
