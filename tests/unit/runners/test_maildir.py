"""Maildirs: names that nothing can break out of, and a second run that writes nothing."""

import os
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.messages import Item
from config.names import OUTGOING, ItemId
from runners.maildir import MAX_NAME, Maildirs, file_name, folder_name

ITEM = Item(
    id=ItemId("ab" * 16),
    root_id=ItemId("cd" * 16),
    queue=OUTGOING,
    reverse_path="ant-bounces@example.org",
    accepted_at=datetime(2026, 11, 23, tzinfo=UTC),
)


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("Anne@Example.NET", "anne@example.net"),
        ("a.b+c=d_e-f@example.net", "a.b+c=d_e-f@example.net"),
        ("/../x@example.net", "%2F..%2Fx@example.net"),
        ("..", "%2E."),
        (".hidden@example.net", "%2Ehidden@example.net"),
        ("grüße@example.net", "gr%C3%BC%C3%9Fe@example.net"),
        ('"two words"@example.net', "%22two%20words%22@example.net"),
        ("100%@example.net", "100%25@example.net"),
    ],
)
def test_an_address_is_one_folder(address: str, name: str) -> None:
    assert folder_name(address) == name


@given(st.text(min_size=1, max_size=300))
def test_no_address_leaves_its_folder(address: str) -> None:
    name = folder_name(address)
    assert re.fullmatch(r"[a-z0-9@_+=%-][a-zA-Z0-9@._+=%-]*", name)
    assert len(name) <= MAX_NAME


def test_long_addresses_stay_different() -> None:
    one, other = "a" * 300 + "@example.net", "a" * 300 + "@example.com"
    assert folder_name(one) != folder_name(other)
    assert folder_name(one).startswith("a" * 150)


def test_a_second_delivery_writes_nothing(tmp_path: Path) -> None:
    maildirs = Maildirs(tmp_path)
    assert maildirs.deliver(ITEM, "anne@example.net", b"Subject: x\r\n\r\n")
    assert not maildirs.deliver(ITEM, "anne@example.net", b"Subject: x\r\n\r\n")
    (there,) = (tmp_path / "anne@example.net" / "new").iterdir()
    assert there.name == file_name(ITEM, "anne@example.net")
    assert list((tmp_path / "anne@example.net" / "tmp").iterdir()) == []


def test_a_copy_that_was_read_is_not_written_again(tmp_path: Path) -> None:
    maildirs = Maildirs(tmp_path)
    maildirs.deliver(ITEM, "anne@example.net", b"x")
    folder = tmp_path / "anne@example.net"
    name = file_name(ITEM, "anne@example.net")
    os.rename(folder / "new" / name, folder / "cur" / f"{name}:2,S")
    assert not maildirs.deliver(ITEM, "anne@example.net", b"x")


def test_the_envelope_is_written_on_top_and_the_octets_are_kept(tmp_path: Path) -> None:
    content = b"Subject: \xff\x00\r\n\r\n.\r\nbody"
    Maildirs(tmp_path).deliver(ITEM, "anne@example.net", content)
    (there,) = (tmp_path / "anne@example.net" / "new").iterdir()
    assert there.read_bytes() == (
        b"Return-Path: <ant-bounces@example.org>\r\nDelivered-To: anne@example.net\r\n" + content
    )


def test_an_address_with_dots_and_slashes_stays_below(tmp_path: Path) -> None:
    root = tmp_path / "mail"
    Maildirs(root).deliver(ITEM, "/../x@example.net", b"x")
    assert [each.name for each in tmp_path.iterdir()] == ["mail"]
    assert [each.name for each in root.iterdir()] == ["%2F..%2Fx@example.net"]
