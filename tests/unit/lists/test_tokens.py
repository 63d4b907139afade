"""Tokens: made the same again, refused when a character is another, and told apart by form."""

import re
from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.names import ItemId, ListId
from lists.tokens import (
    DAY_ZERO,
    MAX_MEMBERSHIP,
    TOKEN_LENGTH,
    SiteKey,
    TokenKind,
    Verp,
    is_genuine,
    is_old_form,
    make_token,
    make_verp,
    read_verp,
    token_hash,
)

KEY = SiteKey(b"k" * 32)
ANT = ListId("ant.example.org")
BEE = ListId("bee.example.org")
ITEM = ItemId("0" * 32)
TODAY = date(2026, 11, 23)
NEVER = 1 << 20  # days

keys = st.binary(min_size=32, max_size=32).map(SiteKey)
items = st.text("0123456789abcdef", min_size=32, max_size=32).map(ItemId)
kinds: st.SearchStrategy[TokenKind] = st.sampled_from(["confirm", "probe"])
members = st.integers(0, MAX_MEMBERSHIP - 1)
days = st.dates(DAY_ZERO, date(2109, 1, 1))
characters = "abcdefghijklmnopqrstuvwxyz234567"


@given(key=keys, kind=kinds, item=items, address=st.text(), n=st.integers(0))
def test_a_token_is_made_the_same_again_and_is_genuine_in_any_case(
    key: SiteKey, kind: TokenKind, item: ItemId, address: str, n: int
) -> None:
    token = make_token(key, kind, item, ANT, address, n)
    assert re.fullmatch(f"[a-z2-7]{{{TOKEN_LENGTH}}}", token)
    assert make_token(key, kind, item, ANT, address, n) == token
    assert is_genuine(key, kind, ANT, token)
    assert is_genuine(key, kind, ANT, token.upper())
    assert token_hash(token.upper()) == token_hash(token)
    assert not is_old_form(token)


def test_tokens_are_as_first_released() -> None:
    """What is in mailboxes must stay valid: a change of these is a change of the format."""
    assert make_token(KEY, "confirm", ITEM, ANT, "anne@example.net") == "2uf7nmcypdz4erabhamjdtab"
    assert make_verp(KEY, ANT, 4711, TODAY) == "hjcxtp72r6pccoweth"
    assert (
        token_hash("2uf7nmcypdz4erabhamjdtab")
        == "8feaedf25ac5c4236fd32c51c2b16f0fabe217dd06845ff48de2525830df6827"
    )


def test_whatever_differs_makes_another_token() -> None:
    made = {
        make_token(KEY, "confirm", ITEM, ANT, "anne@example.net"),
        make_token(SiteKey(b"l" * 32), "confirm", ITEM, ANT, "anne@example.net"),
        make_token(KEY, "probe", ITEM, ANT, "anne@example.net"),
        make_token(KEY, "confirm", ItemId("1" * 32), ANT, "anne@example.net"),
        make_token(KEY, "confirm", ITEM, BEE, "anne@example.net"),
        make_token(KEY, "confirm", ITEM, ANT, "bart@example.net"),
        make_token(KEY, "confirm", ITEM, ANT, "anne@example.net", 1),
    }
    assert len({token[:20] for token in made}) == 7


def test_a_token_of_another_list_purpose_or_site_is_not_genuine() -> None:
    token = make_token(KEY, "confirm", ITEM, ANT, "anne@example.net")
    assert not is_genuine(KEY, "confirm", BEE, token)
    assert not is_genuine(KEY, "probe", ANT, token)
    assert not is_genuine(SiteKey(b"l" * 32), "confirm", ANT, token)


@given(place=st.integers(0, TOKEN_LENGTH - 1), other=st.sampled_from(characters))
def test_a_slip_of_one_character_is_refused(place: int, other: str) -> None:
    """Of 24 times 31 slips none passes with this key; a guess passes once in a million."""
    token = make_token(KEY, "confirm", ITEM, ANT, "anne@example.net")
    slipped = token[:place] + other + token[place + 1 :]
    assert is_genuine(KEY, "confirm", ANT, slipped) == (slipped == token)


@given(token=st.text() | st.text(characters, min_size=20, max_size=28))
def test_any_text_can_be_asked_about(token: str) -> None:
    assert not is_genuine(KEY, "confirm", ANT, token)
    assert read_verp(KEY, ANT, token, TODAY, NEVER) is None
    assert len(token_hash(token)) == 64


@pytest.mark.parametrize(
    ("token", "old"),
    [
        ("0123456789abcdef" * 2 + "01234567", True),
        ("0123456789ABCDEF" * 2 + "01234567", True),
        ("0" * 39, False),
        ("0" * 41, False),
        ("g" * 40, False),
        ("0" * 40 + "\n", False),
        ("", False),
    ],
)
def test_forty_hex_digits_are_mailmans(token: str, old: bool) -> None:
    assert is_old_form(token) is old


@given(key=keys, member=members, day=days)
def test_a_verp_token_says_whose_it_is(key: SiteKey, member: int, day: date) -> None:
    token = make_verp(key, ANT, member, day)
    assert 16 <= len(token) < TOKEN_LENGTH
    assert read_verp(key, ANT, token, day, 0) == Verp(member, day)
    assert read_verp(key, ANT, token.upper(), day, 0) == Verp(member, day)
    assert read_verp(key, BEE, token, day, 0) is None


@given(member=members, place=st.integers(0), other=st.sampled_from(characters))
def test_a_changed_verp_token_says_nothing(member: int, place: int, other: str) -> None:
    token = make_verp(KEY, ANT, member, TODAY)
    place %= len(token)
    changed = token[:place] + other + token[place + 1 :]
    assert (read_verp(KEY, ANT, changed, TODAY, NEVER) is None) == (changed != token)
    assert read_verp(KEY, ANT, token + other, TODAY, NEVER) is None
    assert read_verp(KEY, ANT, token[:15] + "a" + token[15:], TODAY, NEVER) is None


@given(age=st.integers(-400, 400), max_age=st.integers(0, 400))
def test_a_verp_token_ends_after_its_days(age: int, max_age: int) -> None:
    token = make_verp(KEY, ANT, 4711, TODAY - timedelta(days=age))
    assert (read_verp(KEY, ANT, token, TODAY, max_age) is not None) == (age <= max_age)


@pytest.mark.parametrize(
    ("member", "day"),
    [(-1, TODAY), (MAX_MEMBERSHIP, TODAY), (1, date(2019, 12, 31)), (1, date(2110, 1, 1))],
)
def test_what_has_no_room_is_an_error(member: int, day: date) -> None:
    with pytest.raises(ValueError, match="no room"):
        make_verp(KEY, ANT, member, day)


def test_a_list_name_of_31_octets_keeps_every_address_within_64() -> None:
    """RFC 5321 4.5.3.1.1."""
    verp = make_verp(KEY, ANT, MAX_MEMBERSHIP - 1, TODAY)
    token = make_token(KEY, "probe", ITEM, ANT, "anne@example.net")
    assert all(len("a" * 31 + "-bounces+" + each) <= 64 for each in (verp, token))


def test_a_key_does_not_tell_itself() -> None:
    assert "k" * 3 not in f"{KEY!r} {KEY}"
