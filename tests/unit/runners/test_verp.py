"""Which posts go out with VERP, and what reverse-path each recipient has."""

from collections import Counter
from datetime import UTC, date, datetime

from hypothesis import given
from hypothesis import strategies as st

from bus.messages import Item
from config.names import OUTGOING, ItemId, ListId, id_about
from lists.tokens import SiteKey, Verp, read_verp
from runners.verp import goes_with_verp, reverse_paths

KEY = SiteKey(b"k" * 32)
ANT = ListId("ant.example.org")


@given(number=st.integers(0, 2**128 - 1), interval=st.integers(0, 1000))
def test_the_id_of_an_item_decides_and_nothing_else(number: int, interval: int) -> None:
    item_id = ItemId(f"{number:032x}")
    assert goes_with_verp(interval, item_id) == goes_with_verp(interval, item_id)
    assert not goes_with_verp(0, item_id)
    assert goes_with_verp(1, item_id)


def test_one_post_in_ten_is_about_one_post_in_ten() -> None:
    found = Counter(goes_with_verp(10, id_about(f"post {number}")) for number in range(2000))
    assert 140 < found[True] < 260


def make_item(memberships: tuple[int, ...], reverse_path: str = "ant-bounces@example.org") -> Item:
    return Item(
        id=id_about("x"),
        root_id=id_about("x"),
        queue=OUTGOING,
        list_id=ANT,
        memberships=memberships,
        reverse_path=reverse_path,
        accepted_at=datetime(2026, 11, 23, 23, 59, tzinfo=UTC),
    )


def test_each_path_names_its_membership_and_the_day_of_the_post() -> None:
    path = reverse_paths(make_item((7, 2**39)), KEY, "+")
    tokens = [path(place).removeprefix("ant-bounces+").removesuffix("@example.org") for place in (0, 1)]
    day = date(2026, 11, 23)
    assert [read_verp(KEY, ANT, token, day, 14) for token in tokens] == [Verp(7, day), Verp(2**39, day)]


def test_without_memberships_and_with_the_null_path_there_is_one_path() -> None:
    assert reverse_paths(make_item(()), KEY, "+")(3) == "ant-bounces@example.org"
    assert reverse_paths(make_item((1, 2), ""), KEY, "+")(1) == ""
