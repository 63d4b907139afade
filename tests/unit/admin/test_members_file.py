"""A file of members is read whole, and every mistake in it is named by its line."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from admin.members_file import BadLine, MembersFile, name_mistakes, read_members


def find_problem(address: str) -> str:
    return "" if "@" in address else "has no @"


@pytest.mark.parametrize(
    ("line", "address"),
    [
        (b"anne@x.org\n", "anne@x.org"),
        (b"  anne@x.org \r\n", "anne@x.org"),
        (b"Anne Example <anne@x.org>\n", "anne@x.org"),
        (b'"Example, Anne" <anne@x.org>', "anne@x.org"),
        (b"<anne@x.org>\n", "anne@x.org"),
        (b"\xef\xbb\xbfanne@x.org\n", "anne@x.org"),
        ("grüße@x.org\n".encode(), "grüße@x.org"),
    ],
)
def test_an_address_is_read_bare_or_with_a_name(line: bytes, address: str) -> None:
    assert read_members([line], find_problem) == MembersFile((address,), ())


@pytest.mark.parametrize("line", [b"\n", b"", b"   \r\n", b"# a comment\n", b"  # anne@x.org\n"])
def test_blank_lines_and_comments_say_nothing(line: bytes) -> None:
    assert read_members([line], find_problem) == MembersFile((), ())


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b"anne\n", "has no @"),
        (b"\xff\xfe\n", "is not UTF-8"),
        (b"Anne <>\n", "no address between"),
        (b"anne@x.org>\n", "without its <"),
        (b"a" * 3000, "3000 octets"),
    ],
)
def test_a_mistake_is_named_with_its_line(line: bytes, problem: str) -> None:
    read = read_members([b"# first\n", b"bert@x.org\n", line, b"cora@x.org\n"], find_problem)
    assert read.addresses == ("bert@x.org", "cora@x.org")
    assert [bad.number for bad in read.bad] == [3]
    assert problem in str(read.bad[0])


@given(st.lists(st.binary(max_size=40).filter(lambda line: b"\n" not in line)))
def test_every_line_is_an_address_a_mistake_or_nothing(lines: list[bytes]) -> None:
    read = read_members(lines, find_problem)
    assert len(read.addresses) + len(read.bad) <= len(lines)
    assert all(1 <= bad.number <= len(lines) for bad in read.bad)


def test_a_file_full_of_mistakes_is_told_by_its_first_ones() -> None:
    texts = name_mistakes(BadLine(number, "is wrong") for number in range(1, 1001))
    assert texts[0] == "line 1: is wrong"
    assert texts[20:] == ["and 980 more lines"]
