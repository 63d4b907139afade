"""Addresses and regular expressions of accept_these_nonmembers and bans."""

import time

import pytest

from lists.errors import BadPattern
from lists.mailbox import address_key
from lists.patterns import Patterns, check_pattern


@pytest.mark.parametrize(
    ("entry", "address", "matches"),
    [
        ("anne@example.net", "Anne@Example.net", True),
        ("anne@example.net", "xanne@example.net", False),
        ("^.*@example\\.net$", "anne@EXAMPLE.net", True),
        ("^.*@example\\.net$", "anne@example.net.evil.example", False),
        ("^anne", "anne.person@example.net", True),
        ("^anne", "joanne@example.net", False),
        ("^a{1,2}b@", "aab@example.net", True),
    ],
)
def test_an_entry_matches_without_case_and_from_the_start(entry: str, address: str, matches: bool) -> None:
    assert Patterns.of([entry]).match(address_key(address)) is matches


@pytest.mark.parametrize(
    "entry",
    [
        "^(a)\\1",
        "^(?=x)a",
        "^(",
        "^a{2000}",
        "anne",
        ".*@example.net",
        "@other@example.net",
        "^" + "a" * 1000,
    ],
)
def test_what_cannot_be_matched_in_linear_time_is_refused_with_a_reason(entry: str) -> None:
    with pytest.raises(BadPattern) as caught:
        check_pattern(entry)
    assert entry[:20] in str(caught.value).replace("\\\\", "\\")


def test_a_pattern_that_is_exponential_elsewhere_is_fast() -> None:
    patterns = Patterns.of(["^(a+)+$", "^(a|aa)+$"])
    started = time.monotonic()
    assert not patterns.match("a" * 300 + "!")
    assert time.monotonic() - started < 0.1
