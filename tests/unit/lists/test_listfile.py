"""A whole list goes out as a file and comes in again as it was; a file that is not in order brings nothing."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from config.names import ListId
from lists.bounces.scoring import Score, State
from lists.changes import AddBounce, SetDelivery, SetScore
from lists.errors import BadAddress, BadListFile, ListExists
from lists.listfile import (
    FORMAT,
    BanLine,
    Body,
    EvidenceLine,
    ListLine,
    MemberLine,
    PersonLine,
    SettingLine,
    write_lines,
)
from lists.mailbox import address_key
from lists.records import BounceRecord, Evidence
from lists.store import Store
from lists.store.history import read_time, store_time
from tests.support.lists import make_settings

ANT = ListId("ant.example.org")
THEN = datetime(2033, 1, 7, 8, 9, 10, 123000, UTC)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(make_settings(tmp_path, domains=["example.org", "example.com"])) as made:
        yield made


def lines_of(store: Store, name: str = ANT) -> list[dict[str, Any]]:
    return [msgspec.json.decode(line) for line in store.export_list(name)]


def without_times(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in line.items() if name != "exported_at"} for line in lines]


@pytest.mark.slow
def test_a_list_with_everything_comes_in_as_it_went_out(store: Store, tmp_path: Path) -> None:
    store.create_list(
        "ant@example.org",
        ["emergency=yes", "accept_these_nonmembers=x@y.example ^.*@z\\.example$"],
        ["owner@example.org"],
    )
    store.add_members(ANT, ["Anne@example.net", "bart@example.net"])
    store.add_members(ANT, ["bart@example.net"], "moderator")
    store.add_members(ANT, ["cris@example.net"], "nonmember")
    store.add_ban("^.*@spam\\.example$", ANT)
    store.link_addresses("anne@example.net", "anne@work.example")
    store.perform(
        [
            SetDelivery(ANT, "bart@example.net", "vacation", THEN),
            SetScore(
                ANT,
                "anne@example.net",
                BounceRecord(State.PROBING, Score(2.5, date(2033, 1, 7), 0.5), {"full": 5}, 1, THEN, THEN),
            ),
            AddBounce(
                ANT,
                "anne@example.net",
                Evidence(day=date(2033, 1, 7), bounce_class="full", status="4.2.2", diagnostic="voll"),
            ),
        ]
    )
    first = list(store.export_list(ANT))
    with Store(make_settings(tmp_path / "other")) as other:
        other.import_list(first)
        assert without_times(lines_of(other)) == without_times(lines_of(store))
        assert other.look(lambda roster: roster.addresses_of_person("anne@work.example")) == (
            "Anne@example.net",
            "anne@work.example",
        )
        joined = other.records.history(ANT, "anne@example.net")
        assert [each.what for each in joined] == ["also", "joined"]


def test_what_stands_at_its_default_is_left_out(store: Store) -> None:
    store.create_list("ant@example.org")
    store.add_members(ANT, ["anne@example.net"])
    head, member, end = lines_of(store)
    assert head.keys() == {"line", "address", "list_id", "exported_at", "format"}
    assert member.keys() == {"line", "address", "joined_at"}
    assert end == {"line": "end", "lines": 1}


def test_a_list_can_move_to_another_address(store: Store) -> None:
    store.create_list("ant@example.org")
    made = store.import_list(list(store.export_list(ANT)), "bee@example.com")
    assert (made.address, made.list_id) == ("bee@example.com", "bee.example.com")
    with pytest.raises(ListExists):
        store.import_list(list(store.export_list(ANT)))
    with pytest.raises(BadAddress):
        store.import_list(list(store.export_list(ANT)), "bee@elsewhere.example")


def make_file(*body: Body) -> list[bytes]:
    head = ListLine(address="ant@example.org", list_id=ANT, exported_at=THEN, format=FORMAT)
    return list(write_lines(head, body))


ANNE = MemberLine(address="anne@example.net", joined_at=THEN)


@pytest.mark.parametrize(
    ("lines", "number", "problem"),
    [
        ([], 1, "cut off"),
        ([b"{}\n"], 1, "cannot be read"),
        ([b"\xff\xfe\n"], 1, "cannot be read"),
        (make_file()[1:], 1, "not the first line"),
        (make_file(ANNE)[:-1], 3, "cut off"),
        (make_file(ANNE)[:1] + make_file()[1:] + [b"x"], 3, "behind the end"),
        (make_file(ANNE)[:1] + make_file(ANNE)[2:], 2, "counts 1 lines"),
        (make_file(ANNE, MemberLine(address="ANNE@example.net", joined_at=THEN)), 3, "again"),
        (make_file(MemberLine(address="no address", joined_at=THEN)), 2, "no @"),
        (make_file(SettingLine(name="emergncy", value=True)), 2, "did you mean 'emergency'"),
        (make_file(SettingLine(name="emergency", value="perhaps")), 2, "emergency"),
        (make_file(ANNE, SettingLine(name="emergency", value=True)), 3, "before all else"),
        (make_file(BanLine(pattern="^(")), 2, "regex"),
        (make_file(PersonLine(addresses=("a@b.example", "c"))), 2, "no @"),
        ([make_file()[0].replace(b'"format":1', b'"format":99')], 1, "newer Postroom"),
        ([*make_file()[:1], b" \n"], 2, "is empty"),
        (
            [
                *make_file()[:1],
                b'{"line":"member","address":"a@b.example","joined_at":"2033-01-01T00:00:00Z","rle":"owner"}\n',
            ],
            2,
            "rle",
        ),
        ([*make_file()[:1], b"x" * 2_000_000], 2, "octets"),
        ([*make_file()[:1], *make_file()], 2, "second list"),
    ],
)
def test_a_file_that_is_not_in_order_is_refused_by_its_line_and_nothing_is_made(
    store: Store, lines: list[bytes], number: int, problem: str
) -> None:
    with pytest.raises(BadListFile, match=problem) as caught:
        store.import_list(lines)
    assert caught.value.number == number
    assert store.lists() == ()
    assert store.records.history(ANT) == ()


names = st.from_regex(r"\A[a-zA-Z0-9.+_-]{1,12}@[a-z]{1,8}\.example\Z")
words = st.text(st.characters(exclude_categories=("Cc", "Cs", "Co", "Cn")), max_size=30)
times = st.integers(0, 2**41).map(lambda ms: datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=ms))
days = st.dates(date(2000, 1, 1), date(2100, 1, 1))
records = st.builds(
    BounceRecord,
    st.sampled_from(State),
    st.builds(
        Score, st.integers(0, 99).map(lambda n: n / 4), st.none() | days, st.sampled_from([0.0, 0.25, 1.0])
    ),
    st.dictionaries(st.sampled_from(["full", "policy"]), st.integers(1, 99)),
    st.integers(0, 3),
    st.none() | times,
    st.none() | times,
).filter(lambda record: record != BounceRecord())
members = st.builds(
    MemberLine,
    address=names,
    role=st.sampled_from(["member", "owner", "moderator", "nonmember"]),
    joined_at=times,
    moderation_action=st.sampled_from(["", "hold", "defer"]),
    display_name=words,
    language=st.sampled_from(["", "de", "pt-BR"]),
    delivery_mode=st.sampled_from(["regular", "mime_digests", "plaintext_digests"]),
    delivery_status=st.sampled_from(["enabled", "by_user", "by_owner", "by_bounces", "vacation"]),
    status_by=words,
    status_why=words,
    status_at=st.none() | times,
    status_until=st.none() | times,
    receive_own_postings=st.booleans(),
    acknowledge_posts=st.booleans(),
    hide_address=st.booleans(),
)
member_files = st.lists(members, max_size=8, unique_by=lambda line: (address_key(line.address), line.role))
evidence = st.builds(
    EvidenceLine,
    address=names.map(address_key),
    at=times,
    day=days,
    bounce_class=st.sampled_from(["bad-mailbox", "complaint", "other"]),
    status=st.sampled_from(["", "5.1.1"]),
    diagnostic=words,
    same_words=words,
    item_id=st.just("0" * 32),
)


@pytest.mark.slow
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(found=member_files, bouncing=records, bounced=st.lists(evidence, max_size=4), wants=st.booleans())
def test_whatever_a_file_says_is_said_again(
    store: Store, found: list[MemberLine], bouncing: BounceRecord, bounced: list[EvidenceLine], wants: bool
) -> None:
    """The law: export is the inverse of import, whatever characters names and reasons have."""
    for line in store.lists():
        store.remove_list(line.list_id)
    body: list[Body] = [SettingLine(name="emergency", value=True)] if wants else []
    body += [
        msgspec.structs.replace(line, bounces=bouncing) if line.role == "member" else line
        for line in sorted(found, key=lambda line: (address_key(line.address), line.role))
    ]
    with store.engine.begin() as connection:  # another list's evidence would be there still
        connection.exec_driver_sql("DELETE FROM bounce_evidence")
        connection.exec_driver_sql("DELETE FROM address")
    written = make_file(*body, *bounced)
    store.import_list(written)
    expected = [msgspec.json.decode(line) for line in written]
    assert [_folded(line) for line in without_times(lines_of(store))] == [
        _folded(line) for line in without_times(expected)
    ]


def _folded(line: dict[str, Any]) -> dict[str, Any]:
    """An address has one spelling in the store, its first: here it may come twice, in two roles."""
    return line | {"address": address_key(line["address"])} if "address" in line else line


@given(st.integers(0, 2**42))
def test_a_time_is_stored_to_the_millisecond(at_ms: int) -> None:
    assert store_time(read_time(at_ms)) == at_ms
