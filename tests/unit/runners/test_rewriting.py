"""Rewriting posts: whatever arrives, members get the body as it was."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lists.address import Names, Suffixes, split_recipient
from lists.model import ListSettings, MailingList
from lists.posts import Post
from runners.headers import read_header
from runners.rewriting import LOOP_MARK, has_mark, mark, rewrite_post

SUFFIXES = Suffixes()
ANT = MailingList.at("ant@example.org", ListSettings(subject_prefix="[ant]"))

HEADER = (
    b"From: Anne <anne@example.net>\r\nSender: =?utf-8?q?B=C3=B6b?= <bob@example.net>\r\nSubject: Hello\r\n"
)


def rewritten(content: bytes) -> bytes:
    return rewrite_post(content, read_header(content), ANT, SUFFIXES)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x00\x00",
        b"no header at all",
        b"From: a@[1.2.3\r\n\r\n",
        b"From: <\r\n\r\n",
        b"From: " + b"(" * 20_000 + b"\r\n\r\n",
        b"From: =?utf-8?q?a=0D=0Ab?= <a@b>\r\n\r\n",
        b"From: " + b"a@b, " * 100_000 + b"\r\n\r\n",
        b"From: gr\xfc\xdfe@example.net\r\nSubject: \xff\xfe\r\n\r\n",
        b"Subject:" + b" =?utf-8?q?a=FC?=\r\n" * 13_000 + b"\r\n",
        b"A: b\r\n" * 200_000,
        b"x" * 5_000_000,
        HEADER
        + b"Content-Type: multipart/mixed; boundary=b\r\n\r\n"
        + b"--b\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n" * 1500,
    ],
)
def test_nothing_that_arrives_stops_or_slows_it(content: bytes) -> None:
    began = time.monotonic()
    header = read_header(content)
    if not header.too_long:
        assert rewritten(content).endswith(content[header.rest :])
    assert time.monotonic() - began < 1.0


@given(st.binary(max_size=300))
def test_rewriting_twice_is_once(content: bytes) -> None:
    once = rewritten(HEADER + content)
    assert rewritten(once) == once


def test_another_lists_fields_go_and_ours_are_there_once() -> None:
    content = (
        HEADER
        + b"List-Unsubscribe: <mailto:x@other>\r\nList-Unsubscribe-Post: One-Click\r\nPrecedence: bulk\r\nDelivered-To: ant@example.org\r\n\r\nx"
    )
    header = read_header(rewritten(content))
    names = [field.name for field in header.fields]
    assert header.values("list-unsubscribe") == [b"<mailto:ant-leave@example.org>"]
    assert header.values("list-help") == [b"<mailto:ant-request@example.org?subject=help>"]
    assert header.values("precedence") == [b"list"]
    assert header.values("subject") == [b"[ant] Hello"]
    assert "list-unsubscribe-post" not in names
    assert "delivered-to" not in names
    assert len(set(names)) == len(names)


def test_every_address_in_our_fields_routes_to_the_list() -> None:
    names = Names.of({"ant@example.org": ANT.list_id})
    post = read_header(rewritten(HEADER + b"\r\nx"))
    for field in post.fields:
        if field.name.startswith("list-") and b"mailto:" in field.value:
            address = field.value.decode().removeprefix("<mailto:").rstrip(">").partition("?")[0]
            assert split_recipient(address, names).list_id == ANT.list_id


def test_a_signed_field_keeps_every_octet() -> None:
    signature = b"DKIM-Signature: v=1; a=rsa-sha256;\r\n\tb=abc\r\n  def=\r\n"
    content = signature + HEADER + b"\r\nx"
    assert rewritten(content).startswith(signature + b"From: Anne <anne@example.net>\r\n")


def test_the_loop_mark_survives_other_lists() -> None:
    bee = MailingList.at("bee@example.org")
    once = rewritten(HEADER + b"\r\nx")
    twice = rewrite_post(once, read_header(once), bee, SUFFIXES)
    assert read_header(twice).values(LOOP_MARK.lower()) == [b"ant@example.org", b"bee@example.org"]
    assert "ant@example.org" in Post("", twice).marks


def test_mail_that_is_passed_on_is_marked_once() -> None:
    content = b"Return-Path: <x@y>\r\n" + HEADER + b"\r\nx"
    marked = mark(content, read_header(content), "ant-owner@example.org")
    assert marked == HEADER + b"X-BeenThere: ant-owner@example.org\r\n\r\nx"
    assert has_mark(read_header(marked), "Ant-Owner@example.org")
