"""The form of one address and the key it is compared by."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lists.errors import BadAddress
from lists.mailbox import address_key, check_address


@pytest.mark.parametrize(
    "address",
    [
        "anne@example.net",
        "Anne.Person+tag@Example.NET",
        '"anne person"@example.net',
        "anne..b.@docomo.example",  # wrong by RFC 5321, delivered by everybody
        "o'brien=x@example.net",
        "用户@例子.example",
        "anne@[192.0.2.1]",
        "anne@localhost",
    ],
)
def test_an_address_is_taken_as_it_is_written(address: str) -> None:
    assert check_address(address) == address


@pytest.mark.parametrize(
    "address",
    [
        "",
        "anne",
        "@example.net",
        "anne@",
        "anne@example..net",
        "anne@-example.net",
        "anne person@example.net",
        "anne@example.net\r\nBcc: x@example.net",
        "anne\x00@example.net",
        "anne\x85@example.net",
        "anne\u202e@example.net",
        "anne@exa\u2066mple.net",
        "<anne@example.net>",
        "anne@example.net,bart@example.net",
        "anne@b@example.net",
        "\udcffanne@example.net",
        "a" * 310 + "@example.net",
    ],
)
def test_what_is_no_address_is_refused_with_a_reason(address: str) -> None:
    with pytest.raises(BadAddress) as caught:
        check_address(address)
    assert caught.value.problem


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Anne@Example.NET", "anne@example.net"),
        ('"anne"@example.net', "anne@example.net"),
        ('"an\\ne"@example.net', "anne@example.net"),
        ("anne@bücher.example", "anne@xn--bcher-kva.example"),
        ("ru\u0308b@example.net", "r\u00fcb@example.net"),  # composed and not
    ],
)
def test_two_spellings_of_one_mailbox_have_one_key(one: str, other: str) -> None:
    assert address_key(one) == address_key(other)


def test_quotes_that_are_needed_stay() -> None:
    assert address_key('"Anne Person"@example.net') == '"anne person"@example.net'


@given(st.text())
def test_a_key_can_be_made_of_anything_and_is_its_own_key(text: str) -> None:
    key = address_key(text)
    if text.isascii() and not text.startswith('"'):
        assert address_key(key) == key
