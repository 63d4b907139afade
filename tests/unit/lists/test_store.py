"""The list store on a real file: lists, members, bans, and the version that says what has moved."""

import os
import sqlite3
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from msgspec.structs import replace

from config.settings import ListsSettings
from lists.errors import (
    BadAddress,
    BadOption,
    BadPattern,
    ListExists,
    NoSuchBan,
    NoSuchList,
    NoSuchMember,
    StoreAway,
    StoreTooNew,
)
from lists.store import Store
from lists.store.schema import metadata
from tests.support.lists import make_settings

ANT = "ant.example.org"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(make_settings(tmp_path)) as made:
        yield made


@pytest.fixture
def ant(store: Store) -> Store:
    """A store with one list."""
    store.create_list("ant@example.org", owners=["owner@example.org"])
    return store


# The file -------------------------------------------------------------------------------------------------------------


def test_every_connection_has_the_pragmas_of_the_design(store: Store) -> None:
    expected = {
        "journal_mode": "truncate",
        "synchronous": 2,
        "cache_spill": 0,
        "foreign_keys": 1,
        "busy_timeout": 30000,
    }
    with store.engine.connect() as one, store.engine.connect() as other:
        for connection in (one, other):
            for name, value in expected.items():
                assert connection.exec_driver_sql(f"PRAGMA {name}").scalar() == value


def test_the_front_end_waits_less(tmp_path: Path) -> None:
    with Store(make_settings(tmp_path), busy_timeout_s=2.0) as store, store.engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar() == 2000


def test_the_file_is_for_us_alone(tmp_path: Path) -> None:
    with Store(make_settings(tmp_path / "var")):
        assert stat.S_IMODE(os.stat(tmp_path / "var").st_mode) == 0o700
        assert stat.S_IMODE(os.stat(tmp_path / "var" / "lists.db").st_mode) == 0o600


def test_the_migrations_lead_to_the_tables_of_this_version(store: Store) -> None:
    with store.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
        for (table,) in connection.exec_driver_sql(
            "SELECT name FROM sqlite_master WHERE sql LIKE '%AUTOINCREMENT%'"
        ):
            assert table in metadata.tables
        numbered = connection.exec_driver_sql(
            "SELECT count(*) FROM sqlite_master WHERE sql LIKE '%AUTOINCREMENT%'"
        )
        assert numbered.scalar() == 11


def test_a_store_of_a_newer_version_is_not_touched(tmp_path: Path, store: Store) -> None:
    with store.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '999'")
    with pytest.raises(StoreTooNew) as caught:
        Store(make_settings(tmp_path)).open()
    assert caught.value.found == "999"


def test_a_file_that_is_no_database_is_away_with_a_remedy(tmp_path: Path) -> None:
    (tmp_path / "lists.db").write_bytes(b"not a database at all" * 100)
    with pytest.raises(StoreAway) as caught:
        Store(make_settings(tmp_path)).open()
    assert "[lists] store" in caught.value.remedy


@pytest.mark.parametrize("url", ["lists.db", "nonsense://x", "sqlite://", "sqlite:///:memory:"])
def test_a_store_that_is_no_file_is_told_with_a_remedy(tmp_path: Path, url: str) -> None:
    settings = replace(make_settings(tmp_path), lists=ListsSettings(store=url))
    with pytest.raises(StoreAway, match="sqlite:///path"):
        Store(settings)


def test_a_folder_that_is_a_file_is_away(tmp_path: Path) -> None:
    (tmp_path / "var").write_text("")
    with pytest.raises(StoreAway):
        Store(make_settings(tmp_path / "var")).open()


def test_a_store_locked_for_too_long_is_away(tmp_path: Path, ant: Store) -> None:
    other = sqlite3.connect(tmp_path / "lists.db", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    hurried = Store(make_settings(tmp_path), busy_timeout_s=0.05)
    for use in (hurried.lists, hurried.version, lambda: hurried.set_options(ANT, ["emergency=yes"])):
        with pytest.raises(StoreAway, match="locked"):
            use()
    other.close()
    assert hurried.find_list(ANT).list_id == ANT
    hurried.close()


def test_nothing_stays_locked_after_any_call(tmp_path: Path, ant: Store) -> None:
    """A writer that waits for nobody gets through after each of them: no read stays open."""
    other = sqlite3.connect(tmp_path / "lists.db", isolation_level=None, timeout=0)
    ant.add_members(ANT, ["anne@example.net"])
    uses: list[Callable[[], object]] = [
        ant.lists,
        ant.version,
        ant.bans,
        ant.held,
        lambda: ant.members(ANT),
        lambda: ant.owners(ANT),
        lambda: ant.find_list(ANT),
    ]
    for use in uses:
        use()
        other.execute("BEGIN EXCLUSIVE")
        other.execute("COMMIT")
    other.close()


# Lists ----------------------------------------------------------------------------------------------------------------


def test_a_list_is_found_by_address_and_by_list_id(store: Store) -> None:
    made = store.create_list("Ant@Example.org", ["generic_nonmember_action=reject"], ["Owner@example.net"])
    assert (made.list_id, made.address) == (ANT, "ant@example.org")
    for text in (ANT, "ANT@example.org", "<ant.example.org>"):
        assert store.find_list(text) == made
    assert store.lists() == (made,)
    assert store.owners(ANT) == ("Owner@example.net",)
    assert made.settings.generic_nonmember_action == "reject"


def test_a_list_is_not_made_twice_and_not_over_another_s_list_id(ant: Store) -> None:
    ant.create_list("a.b@c.example")
    for address in ("ant@example.org", "ANT@example.org", "a@b.c.example"):
        with pytest.raises(ListExists):
            ant.create_list(address)


@pytest.mark.parametrize(
    ("address", "options", "owners", "error"),
    [
        ("ant", [], [], BadAddress),
        ("ant@example.net", [], [], BadAddress),
        ("ant@example.org", ["emergancy=yes"], [], BadOption),
        ("ant@example.org", [], ["nobody"], BadAddress),
    ],
)
def test_a_list_that_cannot_be_made_leaves_nothing(
    tmp_path: Path, address: str, options: list[str], owners: list[str], error: type[Exception]
) -> None:
    with Store(make_settings(tmp_path, domains=["example.org"])) as store:
        with pytest.raises(error):
            store.create_list(address, options, owners)
        assert store.lists() == ()


def test_an_unknown_list_is_named_with_the_nearest_one(ant: Store) -> None:
    with pytest.raises(NoSuchList) as caught:
        ant.find_list("amt@example.org")
    assert caught.value.nearest == "ant@example.org"


def test_options_change_together_or_not_at_all(ant: Store) -> None:
    ant.set_options(ANT, ["emergency=yes", "subject_prefix=[ant] "])
    with pytest.raises(BadOption):
        ant.set_options(ANT, ["emergency=no", "max_message_size=big"])
    settings = ant.find_list(ANT).settings
    assert settings.emergency
    ant.set_options(ANT, ["emergency=no"])
    assert not ant.find_list(ANT).settings.emergency


def test_a_removed_list_leaves_no_member_and_its_row_is_never_used_again(ant: Store) -> None:
    ant.add_members(ANT, ["anne@example.net"])
    ant.add_ban("bart@example.net", ANT)
    ant.remove_list(ANT)
    assert (ant.lists(), ant.bans()) == ((), ())
    ant.create_list("ant@example.org")
    assert ant.members(ANT) == ()
    with ant.engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT id FROM list").scalar() == 2


# Members --------------------------------------------------------------------------------------------------------------


def test_an_address_is_a_member_once_in_any_spelling(ant: Store) -> None:
    assert ant.add_members(ANT, ["Anne@Example.net", "anne@example.net", "bart@example.net"]) == 2
    assert ant.add_members(ANT, ["ANNE@example.net", "cate@example.net"]) == 1
    assert [member.address for member in ant.members(ANT, "member")] == [
        "Anne@Example.net",
        "bart@example.net",
        "cate@example.net",
    ]


def test_a_bad_address_is_found_before_anything_is_written(ant: Store) -> None:
    with pytest.raises(BadAddress):
        ant.add_members(ANT, ["anne@example.net", "no address"])
    assert ant.members(ANT, "member") == ()


def test_members_come_in_pages_that_miss_and_double_nobody(ant: Store) -> None:
    everybody = [f"m{number:03}@example.net" for number in range(25)]
    ant.add_members(ANT, everybody)
    ant.add_members(ANT, everybody[10:15], "owner")
    for limit in (1, 2, 7, 100):
        found, after = [], ""
        while page := ant.members(ANT, after=after, limit=limit):
            found += [(member.key, member.role) for member in page]
            after = page[-1].cursor
        assert len(found) == len(set(found)) == 31
        assert found == sorted(found)
    assert len(ant.members(ANT, "owner")) == 6
    assert [member.address for member in ant.members(ANT, "member", after="m023@example.net")] == [
        "m024@example.net"
    ]


def test_an_import_tells_how_far_it_is_and_counts_who_is_new(ant: Store) -> None:
    seen: list[tuple[int, int]] = []
    added = ant.add_members(
        ANT,
        (f"m{number}@example.net" for number in range(2500)),
        progress=lambda done, total: seen.append((done, total)),
    )
    assert added == ant.count_members(ANT) == 2500
    assert seen == [(1000, 2500), (2000, 2500), (2500, 2500)]


def test_leaving_takes_one_role_or_all(ant: Store) -> None:
    ant.add_members(ANT, ["Owner@example.org", "anne@example.net"])
    assert ant.remove_members(ANT, ["owner@example.ORG", "nobody@example.net"], "member") == 1
    assert ant.owners(ANT) == ("owner@example.org",)
    assert ant.remove_members(ANT, ["owner@example.org", "anne@example.net"]) == 2
    assert ant.members(ANT) == ()


def test_one_membership_can_be_changed(ant: Store) -> None:
    ant.add_members(ANT, ["anne@example.net"])
    changed = ant.set_member(ANT, "ANNE@example.net", delivery=False, moderation_action="hold")
    assert (changed.delivery, changed.moderation_action) == (False, "hold")
    assert ant.member(ANT, "anne@example.net") == changed
    with pytest.raises(NoSuchMember):
        ant.set_member(ANT, "bart@example.net", delivery=False)


def test_a_member_s_action_is_one_that_the_policy_knows(ant: Store) -> None:
    ant.add_members(ANT, ["anne@example.net"])
    with pytest.raises(BadOption):
        ant.set_member(ANT, "anne@example.net", moderation_action="hodl")


# Bans -----------------------------------------------------------------------------------------------------------------


def test_bans_are_of_a_list_or_of_the_site(ant: Store) -> None:
    assert ant.add_ban("^spam@")
    assert ant.add_ban("bart@example.net", "ant@example.org")
    assert not ant.add_ban("bart@example.net", ANT)
    assert [(ban.list_id, ban.pattern) for ban in ant.bans()] == [("", "^spam@"), (ANT, "bart@example.net")]
    assert [ban.pattern for ban in ant.bans("")] == ["^spam@"]
    ant.remove_ban("bart@example.net", ANT)
    with pytest.raises(NoSuchBan):
        ant.remove_ban("bart@example.net", ANT)
    with pytest.raises(BadPattern):
        ant.add_ban("^(a)\\1")


# The version ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        lambda store: store.create_list("bee@example.org"),
        lambda store: store.remove_list(ANT),
        lambda store: store.set_options(ANT, ["emergency=yes"]),
        lambda store: store.add_members(ANT, ["bart@example.net"]),
        lambda store: store.add_members(ANT, ["bart@example.net"], "nonmember"),
        lambda store: store.remove_members(ANT, ["anne@example.net"]),
        lambda store: store.set_member(ANT, "anne@example.net", moderation_action="hold"),
        lambda store: store.link_addresses("anne@example.net", "anne@work.example"),
        lambda store: store.add_ban("bart@example.net"),
        lambda store: store.add_ban("bart@example.net", ANT),
    ],
)
def test_the_version_rises_once_with_what_rcpt_looks_at(
    ant: Store, change: Callable[[Store], object]
) -> None:
    ant.add_members(ANT, ["anne@example.net"])
    before = ant.version()
    change(ant)
    assert ant.version() == before + 1


@pytest.mark.parametrize(
    "change",
    [
        lambda store: store.lists(),
        lambda store: store.set_options(ANT, ["emergency=no"]),
        lambda store: store.add_members(ANT, ["ANNE@example.net"]),
        lambda store: store.add_members(ANT, ["bart@example.net"], "owner"),
        lambda store: store.remove_members(ANT, ["owner@example.org"]),
        lambda store: store.remove_members(ANT, ["nobody@example.net"]),
        lambda store: store.set_member(ANT, "anne@example.net", delivery=False),
        lambda store: store.set_member(ANT, "anne@example.net", moderation_action=""),
    ],
)
def test_the_version_stays_with_everything_else(ant: Store, change: Callable[[Store], object]) -> None:
    ant.add_members(ANT, ["anne@example.net"])
    before = ant.version()
    change(ant)
    assert ant.version() == before
