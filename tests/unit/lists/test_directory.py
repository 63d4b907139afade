"""The snapshot: what it says, and that it notices what has changed."""

import gc
import time
import timeit
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest
from msgspec.structs import replace
from sqlalchemy import select

from config.names import ItemId, ListId
from lists.directory import Directory
from lists.errors import BadSuffix, StoreAway
from lists.policy import Refused, Taken
from lists.rules import Discard, Hold
from lists.secret import load_site_key
from lists.store import Store
from lists.store.engine import reading
from lists.store.schema import person
from lists.tokens import make_token
from tests.support.lists import make_post, make_settings
from tests.support.waiting import wait_until

ANT = ListId("ant.example.org")
BEE = ListId("bee.example.org")
ANNE = "anne@example.net"
CLOSED = ["generic_nonmember_action=reject"]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(make_settings(tmp_path)) as made:
        made.create_list("ant@example.org", CLOSED, ["owner@example.org"])
        made.create_list("bee@example.org", CLOSED)
        made.add_members(ANT, [ANNE])
        yield made


@pytest.fixture
def directory(tmp_path: Path, store: Store) -> Iterator[Directory]:
    made = Directory(make_settings(tmp_path))
    made.load()
    yield made
    made.close()


def rule(directory: Directory, sender: str, recipient: str = "ant@example.org") -> str:
    return directory.judge(sender, recipient).rule


def test_it_answers_from_what_is_stored(directory: Directory) -> None:
    assert rule(directory, ANNE) == "member"
    assert rule(directory, "bart@example.net") == "not-a-member"
    assert rule(directory, ANNE, "bee@example.org") == "not-a-member"
    assert rule(directory, "owner@example.org") == "not-a-member"  # owning is not posting
    found = directory.mailing_list(ANT)
    assert found is not None
    assert found.settings.generic_nonmember_action == "reject"
    assert {each.list_id for each in directory.lists()} == {ANT, BEE}
    assert not directory.refresh()
    assert directory.is_current()


def test_a_member_made_a_moment_ago_is_not_refused(store: Store, directory: Directory) -> None:
    """As the front-end does it: a 5xx stands only when the store says that nothing has moved."""
    store.add_members(ANT, ["bart@example.net"])
    assert isinstance(directory.judge("bart@example.net", "ant@example.org"), Refused)
    assert not directory.is_current()
    assert directory.refresh()
    assert isinstance(directory.judge("bart@example.net", "ant@example.org"), Taken)
    assert directory.is_current()


def test_a_glance_sees_what_moved_for_rcpt_and_for_the_way_out(store: Store, directory: Directory) -> None:
    gc.collect()  # what SQLAlchemy has let go of must not close the connection
    assert directory.glance()
    assert directory.known_audience(ANT) is None  # nobody has asked for it yet
    audience = directory.audience(ANT)
    for change in (
        lambda: store.add_members(ANT, ["bart@example.net"]),
        lambda: store.set_member(ANT, "bart@example.net", delivery=False),
    ):
        change()
        assert not directory.glance()
        assert directory.known_audience(ANT) is audience  # as of the last refresh
        directory.refresh()
        assert directory.glance()
        assert directory.known_audience(ANT) is None
        audience = directory.audience(ANT)
        assert directory.known_audience(ANT) is audience


def test_a_glance_waits_for_no_writer_and_holds_up_none(
    tmp_path: Path, store: Store, directory: Directory
) -> None:
    with store.engine.connect() as connection:
        connection.exec_driver_sql("COMMIT")
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        assert directory.glance()  # one who only prepares is in nobody's way
        connection.exec_driver_sql("COMMIT")
        connection.exec_driver_sql("BEGIN EXCLUSIVE")
        started = time.monotonic()
        assert not directory.glance()
        assert time.monotonic() - started < 0.5  # the one who waits would take 2 s
        connection.exec_driver_sql("ROLLBACK")
    assert directory.glance()
    store.create_list("dog@example.org")  # no read is open
    directory.close()
    assert not directory.glance()


def test_a_list_made_or_removed_is_seen(store: Store, directory: Directory) -> None:
    store.create_list("cat@example.net", owners=[ANNE])
    assert rule(directory, ANNE, "cat@example.net") == "foreign-domain"
    directory.refresh()
    assert rule(directory, ANNE, "cat@example.net") == "generic-nonmember-action"
    store.remove_list("cat@example.net")
    directory.refresh()
    assert rule(directory, ANNE, "cat@example.net") == "foreign-domain"
    assert directory.mailing_list(ListId("cat.example.net")) is None


def test_a_list_made_anew_has_none_of_the_old_one_s_members(store: Store, directory: Directory) -> None:
    store.remove_list(ANT)
    store.create_list("ant@example.org", CLOSED)
    directory.refresh()
    assert rule(directory, ANNE) == "not-a-member"
    assert directory.recipients(ANT) == ()


def test_whoever_leaves_or_is_moderated_is_seen_beside_those_who_join(
    store: Store, directory: Directory
) -> None:
    store.add_members(ANT, ["bart@example.net", "cate@example.net"])
    store.remove_members(ANT, [ANNE])
    store.set_member(ANT, "bart@example.net", moderation_action="hold")
    directory.refresh()
    assert rule(directory, ANNE) == "not-a-member"
    assert rule(directory, "cate@example.net") == "member"
    assert directory.judge_post(ANT, make_post("bart@example.net")) == Hold("member-moderation")
    store.add_members(ANT, ["dora@example.net"])
    directory.refresh()
    assert directory.judge_post(ANT, make_post("bart@example.net")) == Hold("member-moderation")
    assert rule(directory, "dora@example.net") == "member"


def test_every_address_of_a_person_counts(store: Store, directory: Directory) -> None:
    store.set_member(ANT, ANNE, moderation_action="hold")
    store.link_addresses(ANNE, "Anne@work.example")
    store.link_addresses("anne@work.example", "anne@club.example")
    directory.refresh()
    for sender in ("anne@work.example", "ANNE@club.example"):
        assert rule(directory, sender) == "member"
        assert directory.judge_post(ANT, make_post(sender)) == Hold("member-moderation")
        assert rule(directory, sender, "bee@example.org") == "not-a-member"
    store.add_members(BEE, ["anne@club.example"])
    directory.refresh()
    assert rule(directory, ANNE, "bee@example.org") == "member"


def test_a_person_is_taken_apart_again(store: Store, directory: Directory) -> None:
    """With two addresses or three; whoever is asked to part those who are not one person learns it."""
    assert store.link_addresses(ANNE, "anne@work.example")
    assert not store.link_addresses("ANNE@work.example", ANNE)
    assert store.link_addresses(ANNE, "anne@club.example")
    assert store.unlink_addresses(ANNE, "anne@club.example")
    assert not store.unlink_addresses(ANNE, "anne@club.example")
    directory.refresh()
    assert rule(directory, "anne@club.example") == "not-a-member"
    assert rule(directory, "anne@work.example") == "member"
    assert store.unlink_addresses("anne@work.example", ANNE)  # the member is the one who goes
    assert directory.refresh()
    assert rule(directory, "anne@work.example") == "not-a-member"
    assert rule(directory, ANNE) == "member"
    with reading(store.engine) as connection:
        assert connection.execute(select(person)).all() == []


@pytest.mark.parametrize("where", [ANT, ""])
def test_a_ban_of_one_address_holds_for_the_whole_person(
    store: Store, directory: Directory, where: str
) -> None:
    """Linked before the ban or after it; a regular expression is about the address that it matches."""
    store.set_options(ANT, ["generic_nonmember_action=accept"])
    store.link_addresses("evil@example.net", "evil@work.example")
    store.add_ban("evil@example.net", where)
    directory.refresh()
    assert rule(directory, "EVIL@work.example") == "banned"
    store.link_addresses("evil@work.example", "evil@home.example")
    directory.refresh()
    assert rule(directory, "evil@home.example") == "banned"
    store.unlink_addresses("evil@example.net", "evil@work.example")
    directory.refresh()
    assert rule(directory, "evil@work.example") == "generic-nonmember-action"
    assert rule(directory, "evil@home.example") == "banned"
    store.remove_ban("evil@example.net", where)
    store.add_ban("^evil@example", where)
    directory.refresh()
    assert rule(directory, "evil@home.example") == "generic-nonmember-action"


def test_an_exception_for_one_address_holds_for_the_whole_person(store: Store, directory: Directory) -> None:
    store.set_options(ANT, ["accept_these_nonmembers=bart@example.net"])
    directory.refresh()
    store.link_addresses("bart@example.net", "bart@work.example")
    assert directory.refresh()
    assert rule(directory, "bart@work.example") == "accept-these-nonmembers"
    assert rule(directory, "bart@work.example", "bee@example.org") == "not-a-member"
    store.unlink_addresses("bart@work.example", "bart@example.net")
    directory.refresh()
    assert rule(directory, "bart@work.example") == "not-a-member"


def test_persons_that_meet_become_one(store: Store, directory: Directory) -> None:
    store.link_addresses(ANNE, "anne@work.example")
    store.link_addresses("anne@club.example", "anne@home.example")
    assert store.link_addresses("anne@work.example", "anne@home.example")
    directory.refresh()
    for name in ("work", "club", "home"):
        assert rule(directory, f"anne@{name}.example") == "member"
    noted = store.look(lambda roster: roster.addresses_of_person(ANNE))
    assert len(noted) == 4
    with reading(store.engine) as connection:
        assert len(connection.execute(select(person)).all()) == 1


def test_bans_are_seen_and_lifted(store: Store, directory: Directory) -> None:
    for scope in ("", ANT):
        store.add_ban("^anne@", scope)
        directory.refresh()
        assert rule(directory, ANNE) == "banned"
        assert (rule(directory, ANNE, "bee@example.org") == "banned") is (scope == "")
        store.remove_ban("^anne@", scope)
        directory.refresh()
        assert rule(directory, ANNE) == "member"


def test_only_lists_that_moved_are_read_again(store: Store, directory: Directory) -> None:
    before = directory._snapshot
    store.set_options(BEE, ["emergency=yes"])
    directory.refresh()
    after = directory._snapshot
    assert after.view.policies[ANT] is before.view.policies[ANT]
    assert after.view.policies[BEE] is not before.view.policies[BEE]


def test_recipients_are_those_with_delivery_as_of_the_last_refresh(
    store: Store, directory: Directory
) -> None:
    store.add_members(ANT, ["Bart@Example.net", "cate@example.net"])
    assert directory.refresh()
    assert directory.recipients(ANT) == (ANNE, "Bart@Example.net", "cate@example.net")
    assert directory.recipients(ANT) is directory.recipients(ANT)
    store.set_member(ANT, ANNE, delivery=False)
    assert directory.is_current()  # RCPT does not look at this
    assert directory.refresh()
    assert directory.recipients(ANT) == ("Bart@Example.net", "cate@example.net")
    assert directory.recipients(BEE) == directory.recipients(ListId("no.such.list")) == ()


def test_a_site_s_own_addresses_and_domains_count(tmp_path: Path, store: Store) -> None:
    settings = make_settings(
        tmp_path, domains=["example.org", "example.com"], addresses={"archive": ["-archive+*"]}
    )
    directory = Directory(settings)
    directory.load()
    answer = directory.judge("", "ant-archive+x@example.org")
    assert isinstance(answer, Taken)
    assert answer.destination.queue == "archive"
    assert rule(directory, "", "postmaster@example.com") == "open-address"
    directory.close()
    with pytest.raises(BadSuffix):
        Directory(make_settings(tmp_path, addresses={"archive": ["-owner"]}))


def test_tokens_and_aliases_are_judged_as_configured(tmp_path: Path, store: Store) -> None:
    clock = tmp_path / "clock"
    plain = make_settings(tmp_path, clock_file=clock)
    settings = replace(
        plain,
        site=replace(plain.site, domain_aliases={"old.example": "example.org"}),
        lists=replace(plain.lists, mailman_tokens_until="2100-01-01"),
    )
    token = make_token(load_site_key(settings), "confirm", ItemId("0" * 32), ANT, ANNE)
    with closing(Directory(settings)) as directory:
        directory.load()
        assert rule(directory, "", f"ant-confirm+{token}@old.example") == "confirm-token"
        assert rule(directory, "", f"bee-confirm+{token}@old.example") == "bad-token"
        assert rule(directory, "", f"ant-confirm+{'a' * 40}@example.org") == "mailman-token"
        assert rule(directory, ANNE, "ant@old.example") == "member"
        assert directory.is_ours("ant-owner@old.example")
        loop = make_post(ANNE, f"List-Post: <mailto:{'ant@old.example'}>")
        assert isinstance(directory.judge_post(ANT, loop), Discard)
        clock.write_text(str(100 * 366 * 86400))
        assert wait_until(
            lambda: rule(directory, "", f"ant-confirm+{'a' * 40}@example.org") == "bad-token", 3
        )


def test_it_knows_which_addresses_come_back_to_us(directory: Directory) -> None:
    assert directory.is_ours("ant-owner@example.org")
    assert directory.is_ours("Postmaster@example.org")
    assert not directory.is_ours("anne@example.org")  # a mailbox beside the lists
    assert not directory.is_ours(ANNE)


def test_a_store_that_is_away_keeps_the_snapshot_and_is_back_by_itself(
    tmp_path: Path, store: Store, directory: Directory
) -> None:
    impatient = Directory(make_settings(tmp_path), busy_timeout_s=0.05)
    impatient.load()
    with store.engine.connect() as connection:
        connection.exec_driver_sql("COMMIT")
        connection.exec_driver_sql("BEGIN EXCLUSIVE")
        unknowing = Directory(make_settings(tmp_path), busy_timeout_s=0.05)
        for ask in (impatient.is_current, impatient.refresh, unknowing.is_current, unknowing.load):
            with pytest.raises(StoreAway):
                ask()
        assert rule(impatient, ANNE) == "member"
    assert impatient.is_current()
    for each in (impatient, unknowing):
        each.close()


@pytest.mark.slow
def test_many_lists_are_read_in_one_walk(tmp_path: Path, store: Store) -> None:
    for number in range(60):
        made = store.create_list(f"l{number}@example.org", CLOSED)
        store.add_members(made.list_id, [f"m{number}@example.net", ANNE])
    store.link_addresses("m7@example.net", "seven@example.net")
    directory = Directory(make_settings(tmp_path))
    directory.load()
    for number in range(60):
        assert rule(directory, f"m{number}@example.net", f"l{number}@example.org") == "member"
        assert rule(directory, f"m{number + 1}@example.net", f"l{number}@example.org") == "not-a-member"
    assert rule(directory, "seven@example.net", "l7@example.org") == "member"
    store.add_members(ListId("l3.example.org"), ["new@example.net"])
    directory.refresh()
    assert rule(directory, "new@example.net", "l3@example.org") == "member"
    directory.close()


def test_answers_that_are_kept_are_bounded_and_end_with_their_snapshot(
    store: Store, directory: Directory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many addresses a member writes to us from; and whoever has left is not taken on."""
    monkeypatch.setattr("lists.directory.KEPT", 3)
    for _ in range(2):
        for sender in (ANNE, "ANNE@example.net", "Anne@example.net", "aNNe@example.net", "bart@example.net"):
            assert rule(directory, sender) == ("member" if sender.lower() == ANNE else "not-a-member")
            assert len(directory._answers) <= 3
    store.remove_members(ANT, [ANNE])
    assert rule(directory, ANNE) == "member"
    directory.refresh()
    assert rule(directory, ANNE) == "not-a-member"


@pytest.mark.slow
def test_a_recipient_is_judged_within_50_us_however_many_lists_and_members(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Measured: 5 us for a plain sender, 13 us for the deepest disguise; the best of five runs, for the machine is shared."""
    monkeypatch.setattr("lists.directory.KEPT", 0)  # no answer is known from before
    store.add_members(ANT, [f"m{number}@example.net" for number in range(20_000)])
    for number in range(200):
        store.create_list(f"list{number}@example.org", CLOSED)
    settings = make_settings(tmp_path)
    with closing(Directory(settings)) as directory:
        directory.load()
        token = make_token(load_site_key(settings), "confirm", ItemId("0" * 32), ANT, ANNE)
        for sender, recipient in (
            ("m77@example.net", "ant@example.org"),
            ("nobody@example.net", "ant@example.org"),
            (
                "SRS1=a=f.example==b=t=example.net=prvs=0123456789=m77@f.example",
                "ant@example.org",
            ),
            ("", f"ant-confirm+{token}@example.org"),
        ):
            judge = partial(directory.judge, sender, recipient)
            assert min(timeit.repeat(judge, timer=time.thread_time, number=200, repeat=5)) / 200 < 50e-6
