"""Header edits at the level of octets: the body and every other field stay as they are."""

import email
import email.policy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runners.headers import MAX_HEADER, edit_header, prefix_subject, read_header

DROP = ("list-id", "precedence")
ADD = [("List-Id", "<ant.example.org>"), ("Precedence", "list")]

POST = b"Received: from a\r\n by b\r\nFrom: Anne <anne@example.net>\r\nSubject: Hello\r\n\tthere\r\nList-ID: <old>\r\n\r\nBody\r\n\r\n.\r\n"

pieces = st.sampled_from(
    [
        b"List-Id: <x>\r\n",
        b"From: a@b\r\n",
        b"Subject: x\r\n y\r\n",
        b"\r\n",
        b"\n",
        b" ",
        b"no field",
        b":",
        b"\x00\xff",
        b"precedence: bulk\n",
        b"X:y",
    ]
)
messages = st.lists(pieces, max_size=12).map(b"".join) | st.binary(max_size=200)


def edited(content: bytes) -> bytes:
    return edit_header(content, read_header(content), drop=DROP, add=ADD)


def body_of(content: bytes) -> bytes:
    rest = content[read_header(content).rest :]
    for separator in (b"\r\n", b"\n"):
        if rest.startswith(separator):
            return rest[len(separator) :]
    return rest


@given(messages)
def test_the_body_is_untouched_whatever_the_message(content: bytes) -> None:
    assert body_of(edited(content)) == body_of(content)


@given(messages)
def test_editing_twice_is_editing_once(content: bytes) -> None:
    assert edited(edited(content)) == edited(content)


@given(messages)
def test_other_fields_keep_their_octets_and_order(content: bytes) -> None:
    kept = [field.raw for field in read_header(content).fields if field.name not in DROP]
    after = [field.raw for field in read_header(edited(content)).fields]
    assert [raw.rstrip(b"\r\n") for raw in after[: len(kept)]] == [raw.rstrip(b"\r\n") for raw in kept]
    assert len(after) == len(kept) + len(ADD)


def test_a_real_header_is_read_with_its_folding() -> None:
    header = read_header(POST)
    assert [field.name for field in header.fields] == ["received", "from", "subject", "list-id"]
    assert header.values("subject") == [b"Hello\tthere"]
    assert edited(POST) == POST.replace(
        b"List-ID: <old>\r\n", b"List-Id: <ant.example.org>\r\nPrecedence: list\r\n"
    )


def test_a_message_without_header_gets_one() -> None:
    assert edited(b"just text\r\n") == b"List-Id: <ant.example.org>\r\nPrecedence: list\r\n\r\njust text\r\n"
    assert edited(b"\r\njust text\r\n").endswith(b"list\r\n\r\njust text\r\n")
    assert edited(b"").endswith(b"list\r\n\r\n")


def test_an_mbox_line_goes_and_bare_line_ends_are_kept() -> None:
    assert edited(b"From anne Mon Nov 23\nSubject: x\n\nbody\n") == (
        b"Subject: x\nList-Id: <ant.example.org>\nPrecedence: list\n\nbody\n"
    )


def test_a_header_that_never_ends_is_said_to_be_too_long() -> None:
    assert read_header(b"A: b\r\n" * 50_000).too_long
    assert read_header(b"A: " + b"b" * MAX_HEADER + b"\r\n\r\n").too_long
    assert not read_header(b"A: " + b"b" * 100_000 + b"\r\n\r\n").too_long


def prefixed(content: bytes, prefix: str = "[ant] ") -> bytes:
    return edit_header(content, read_header(content), change={"subject": prefix_subject(prefix)})


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"Subject: Hello", b"Subject: [ant] Hello"),
        (b"Subject:Hello\r\n there", b"Subject: [ant] Hello\r\n there"),
        (b"SUBJECT: Re: [ant] Hello", b"SUBJECT: Re: [ant] Hello"),
        (b"Subject: [ANT] Hello", b"Subject: [ANT] Hello"),
        (b"Subject:", b"Subject: [ant] (no subject)"),
        (b"Subject: =?iso-8859-1?q?gr=FC=DFe?=", b"Subject: [ant] =?iso-8859-1?q?gr=FC=DFe?="),
        (b"Subject: =?utf-8?b?UmU6IFthbnRdIGhp?=", b"Subject: =?utf-8?b?UmU6IFthbnRdIGhp?="),
        (b"Subject: 8-bit \xfc", b"Subject: [ant] 8-bit \xfc"),
    ],
)
def test_the_prefix_goes_before_the_subject_once(before: bytes, after: bytes) -> None:
    message = b"From: a@b\r\n" + before + b"\r\n\r\nbody"
    assert prefixed(message) == b"From: a@b\r\n" + after + b"\r\n\r\nbody"


def test_a_missing_subject_is_added() -> None:
    assert prefixed(b"From: a@b\r\n\r\nbody") == b"From: a@b\r\nSubject: [ant] (no subject)\r\n\r\nbody"


@given(
    prefix=st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=60),
    subject=st.text(st.characters(exclude_categories=("C", "Zl", "Zp")), max_size=60),
)
def test_a_reader_sees_prefix_and_subject_and_a_second_run_adds_nothing(prefix: str, subject: str) -> None:
    """Also with both beyond ASCII, where the space between two encoded words is not shown."""
    from email.header import Header

    message = b"Subject: " + Header(subject, "utf-8").encode(linesep="\r\n").encode() + b"\r\n\r\n"
    once = prefixed(message, prefix)
    assert prefixed(once, prefix) == once
    if prefix.casefold() not in subject.casefold() and once != message:
        shown = str(email.message_from_bytes(once, policy=email.policy.default)["subject"])
        assert "".join(shown.split()) == "".join(f"{prefix} {subject or '(no subject)'}".split())


def test_a_subject_of_twenty_thousand_encoded_words_costs_nothing() -> None:
    content = b"Subject: " + b" =?utf-8?q?a=FC?=\r\n" * 14_000 + b"\r\n"
    assert prefixed(content).startswith(b"Subject: [ant] =?utf-8?q?a=FC?=\r\n")
