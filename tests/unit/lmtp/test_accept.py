"""From a message to items: header search, content keys."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.messages import Item
from config.clock import Clock
from config.names import INCOMING, ItemId
from lmtp.accept import MAX_HEADER, content_key, read_header


def make_item(reverse_path: str = "a@b", recipient: str = "ant@c", message_id: str = "<1@d>") -> Item:
    """Make an item with what a content key looks at."""
    return Item(
        id=ItemId("0" * 32),
        root_id=ItemId("0" * 32),
        queue=INCOMING,
        reverse_path=reverse_path,
        recipient=recipient,
        message_id=message_id,
        accepted_at=Clock().now(),
    )


@pytest.mark.parametrize(
    ("content", "message_id"),
    [
        (b"Message-ID: <1@example.net>\r\n\r\nhello\r\n", "<1@example.net>"),
        (b"From: a@b\r\nMESSAGE-id:<1@example.net> \r\nTo: c@d\r\n\r\n", "<1@example.net>"),
        (b"Message-ID:\r\n <1@example.net>\r\n\r\n", "<1@example.net>"),
        (b"Message-ID: <1@\r\n\texample.net>\r\nTo: c@d\r\n\r\n", "<1@example.net>"),
        (b"Message-ID: <gr\xc3\xbc\xc3\x9f\xff\x00@x>\r\n\r\n", "<grüß\ufffd@x>"),
        ("Message-ID: <a\x9b2J\x85\u2028\u202eb@x>\r\n\r\n".encode(), "<a2Jb@x>"),
        (b"X-Message-ID: <1@example.net>\r\n\r\nMessage-ID: <2@example.net>\r\n", ""),
        (b"\r\nMessage-ID: <2@example.net>\r\n", ""),
        (b"X-A: b\r\n Message-ID: <2@example.net>\r\n\r\n", ""),
        (b"Message-ID: <1@x", "<1@x"),
        (b"Message-ID: " + b"a" * 5000 + b"\r\n\r\n", "a" * 998),
        (b"X: " + b"a" * MAX_HEADER + b"\r\nMessage-ID: <1@x>\r\n\r\n", ""),
        (b"", ""),
    ],
)
def test_the_message_id_is_found_in_the_header_only(content: bytes, message_id: str) -> None:
    """Unfolded; by a bounded search."""
    assert read_header(content).message_id == message_id


@pytest.mark.parametrize(
    ("content", "is_traceable"),
    [
        (b"Message-ID: <1@x>\r\n\r\n", True),
        (b"Received: from a by b; now\r\n\r\n", True),
        (b"From: a@b\r\nreceived: x\r\n\r\n", True),
        (b"From: a@b\r\n\r\nReceived: x\r\n", False),
        (b"no header at all\r\n", False),
        (b"Message-ID:\r\nFrom: a@b\r\n\r\n", False),
    ],
)
def test_mail_without_message_id_and_received_has_no_content_key(content: bytes, is_traceable: bool) -> None:
    """Nothing would tell two alike messages apart."""
    assert read_header(content).is_traceable == is_traceable


@pytest.mark.parametrize(
    ("field", "is_report"),
    [
        (b'Content-Type: multipart/report; report-type=delivery-status; boundary="x"', True),
        (b"content-type:\r\n Multipart/Report; report-type=delivery-status", True),
        (b"Content-Type: multipart/mixed; x=multipart/report", False),
    ],
)
def test_a_report_is_known_by_its_content_type(field: bytes, is_report: bool) -> None:
    """RFC 6522; at LIST-admin it goes where bounces go."""
    assert read_header(field + b"\r\n\r\n").is_report == is_report


@given(*[st.lists(st.text(st.sampled_from("ab|:1"), max_size=4), min_size=3, max_size=3)] * 2)
def test_two_different_mails_have_two_content_keys(one: list[str], other: list[str]) -> None:
    """Wherever one field ends and the next begins."""
    keys = [content_key(make_item(*fields), b"digest", fields[1]) for fields in (one, other)]
    assert (keys[0] == keys[1]) == (one == other)
    assert content_key(make_item(*one), b"another", one[1]) != keys[0]
