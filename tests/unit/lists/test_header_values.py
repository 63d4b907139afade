"""What header fields say: the right thing for real mail, something harmless for hostile mail, and never late."""

import email.utils
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lists.header_values import MAX_VALUE, first_shown, first_word, plain_text, read_addresses, shown_text
from lists.headers import MAX_FIELDS, MAX_HEADER, read_header
from lists.posts import Post

HEADER = (
    b"From: Anne <anne@example.net>\r\nSender: =?utf-8?q?B=C3=B6b?= <bob@example.net>\r\nSubject: Hello\r\n"
)


def addresses(value: bytes) -> tuple[str, ...]:
    return read_addresses(read_header(b"From: " + value + b"\r\n\r\n"), ("from",))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (b"Hello", "Hello"),
        ("Grüße".encode(), "Grüße"),  # RFC 6532
        ("Grüße".encode("latin-1"), "Grüße"),  # no UTF-8: each octet a letter
        (b"=?utf-8?q?Gr=C3=BC=C3=9Fe_an?= alle", "Grüße an alle"),
        (b"=?ISO-8859-1?Q?Gr=FC=DFe?=", "Grüße"),
        (b"=?utf-8*de?b?R3LDvMOfZQ==?=", "Grüße"),  # with a language, RFC 2231 5
        (b"=?utf-8?q?a?= =?utf-8?q?b?= c", "ab c"),  # RFC 2047 6.2
        (b"=?utf-8?q?Gr=C3?= =?utf-8?q?=BC?=", "Grü"),  # a letter cut in two
        (b"=?iso-2022-jp?b?GyRCRnxLXBsoQg==?=", "日本"),
        (b"=?utf-8?q?a?= =?iso-8859-1?q?=FC?=", "aü"),
        (b"=?punycode?q?x?=", "=?punycode?q?x?="),  # a codec that is no charset
        (b"=?utf-8?b?R3LDv?=", "=?utf-8?b?R3LDv?="),  # no base64: kept
        (b"=?iso-8859-12?q?a=FC?=", "aü"),  # a charset that does not exist
        (b"=?utf-8?q?a b?=", "=?utf-8?q?a b?="),  # no encoded word
        (b"=?utf-8?q?a=0D=0ABcc:_x?=", "a\r\nBcc: x"),  # shown, never written into a header
        (b"nul\x00nul", "nul\x00nul"),
        (b"", ""),
    ],
)
def test_text_is_what_a_reader_sees(value: bytes, text: str) -> None:
    assert shown_text(value) == text


def test_a_subject_that_is_kept_has_no_control_characters() -> None:
    """Neither bare ones nor those that an encoded word hides."""
    header = read_header(b"Subject: a\x00b\x1b[2J =?utf-8?q?c=0D=0AX:_d=C2=85=E2=80=A8e?=\r\n\r\n")
    assert first_shown(header, "subject") == "a b [2J c  X: d  e"


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (b"anne@example.net", ("anne@example.net",)),
        (b"Anne Doe <anne@example.net>", ("anne@example.net",)),
        (b'"Doe, Anne" <anne@example.net>', ("anne@example.net",)),
        (b'"a@b.example" <anne@example.net>', ("anne@example.net",)),
        (b"=?utf-8?q?a=40b?= <anne@example.net>", ("anne@example.net",)),
        (b"anne@example.net (Anne)", ("anne@example.net",)),
        (b"(x <a@b>) anne@example.net", ("anne@example.net",)),
        (b"Anne <anne@example.net>, Bob <bob@example.net>", ("anne@example.net", "bob@example.net")),
        (b"team: anne@example.net, bob@example.net;", ("anne@example.net", "bob@example.net")),
        (b"Anne <@relay.example:anne@example.net>", ("anne@example.net",)),
        (b'"anne doe"@example.net', ('"anne doe"@example.net',)),
        ("Änne <änne@bücher.example>".encode(), ("änne@bücher.example",)),  # RFC 6532
        (b"undisclosed-recipients:;", ()),
        (b"Anne", ()),
        (b"<>", ()),
        (b"", ()),
    ],
)
def test_addresses_are_found_in_every_form(value: bytes, found: tuple[str, ...]) -> None:
    assert addresses(value) == found


phrases = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Zl", "Zp"]), max_size=12)
locals_ = st.from_regex(r"[a-z0-9!#$&'*+=?^_{|}~-]{1,8}(\.[a-z0-9]{1,5})?", fullmatch=True)


@given(
    phrases, locals_, st.sampled_from(["{0} <{1}>", '"{0}" <{1}>', "{1}", "<{1}>", "{1} ({0})", "{0}, {1}"])
)
def test_the_quick_way_finds_what_the_parser_finds(phrase: str, local: str, form: str) -> None:
    value = form.format(phrase, f"{local}@example.net")
    found = addresses(value.encode())
    try:
        parsed = tuple(each for _, each in email.utils.getaddresses([value.strip(" \t")]) if "@" in each)
    except (ValueError, LookupError, AttributeError, TypeError, RecursionError):
        parsed = ()
    assert found == parsed


def test_an_address_that_the_limit_cuts_in_two_is_none() -> None:
    value = b"a@example.net, " * 10 + b"evil@example.net.example.org"
    header = read_header(b"To: " + value + b"\r\n\r\n")
    limit = len(value) - len(b".example.org")
    assert set(read_addresses(header, ("to",), limit)) == {"a@example.net"}


def test_the_limit_is_for_all_fields_together() -> None:
    header = read_header(b"From: anne@example.net\r\n" * 1000 + b"\r\n")
    assert len(read_addresses(header, ("from",), 160)) == 10


@pytest.mark.parametrize(
    ("value", "word"),
    [
        (b"auto-replied", "auto-replied"),
        (b"Auto-Generated; owner-email=x@y", "auto-generated"),
        (b"(a comment) no", "no"),
        (b" no (really)", "no"),
        (b"", ""),
        (b"((((((", ""),
    ],
)
def test_the_first_word_is_without_comments_and_parameters(value: bytes, word: str) -> None:
    assert first_word(value) == word


HOSTILE = [
    b"",
    b"\x00\x00",
    b"no header at all",
    b"\r\n\r\nFrom: anne@example.net\r\n",
    b"From: a@[1.2.3\r\n\r\n",
    b"From: <\r\n\r\n",
    b"From: " + b"(" * 20_000 + b"\r\n\r\n",
    b"From: " + b"@" * 200_000 + b"\r\n\r\n",
    b"From: " + b"a:b," * 50_000 + b"\r\n\r\n",
    b"From: =?utf-8?q?a=0D=0Ab?= <a@b>\r\n\r\n",
    b"From: " + b"a@b, " * 50_000 + b"\r\n\r\n",
    b"From: a@b\r\n" * 1999 + b"\r\n",
    b"From: gr\xfc\xdfe@example.net\r\nSubject: \xff\xfe\r\n\r\n",
    b"From: a\x00b@example.net\r\n\r\n",
    b"Subject:" + b" =?utf-8?q?a=FC?=\r\n" * 13_000 + b"\r\n",
    b"Subject: " + b"=?" * 100_000 + b"\r\n\r\n",
    b"Subject: " + b"=?a?q?" * 40_000 + b"\r\n\r\n",
    b"To: " + b"<" * 200_000 + b"\r\n\r\n",
    b"To: " + b"a <a@b.example>, " * 15_000 + b"\r\n\r\n",
    b"List-Id: " + b"<" * 200_000 + b"\r\n\r\n",
    b"List-Post: " + b"mailto:" * 30_000 + b"\r\n\r\n",
    b"Auto-Submitted: " + b"(" * 200_000 + b"\r\n\r\n",
    b"A" * 300_000 + b"\r\n",
    b"A" + b" " * 300_000 + b"\r\n",
    b"A: b\r\n" * 200_000,
    b"A:\n" * 80_000 + b"\n",
    b"A: b\r\n" + b" \r\n" * 80_000,
    b"x" * 5_000_000,
    b"Content-Type: multipart/mixed; boundary=b\r\n\r\n"
    + b"--b\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n" * 1500,
]


def look_at_everything(content: bytes) -> Post:
    post = Post("anne@example.net", content)
    facts = (
        post.keys,
        post.recipients,
        post.marks,
        post.delivered_to,
        post.subject,
        post.auto_submitted,
        post.precedence,
        post.may_have("from"),
    )
    assert facts is not None
    return post


@pytest.mark.parametrize("content", HOSTILE)
def test_nothing_that_arrives_stops_or_slows_the_reader(content: bytes) -> None:
    began = time.process_time()
    look_at_everything(content)
    assert time.process_time() - began < 0.5  # seconds; 0.1 s measured for the slowest


@given(st.binary(max_size=300))
def test_reading_never_raises(content: bytes) -> None:
    post = look_at_everything(HEADER + content)
    assert post.authors[:1] == ("anne@example.net",)
    look_at_everything(content)


@given(
    st.lists(
        st.sampled_from(
            [
                b"From",
                b"from ",
                b"FROM\t",
                b"X",
                b"\r\n",
                b":",
                b" a@b.example",
                b"\n",
                b"\r\n\r\n",
                b">From x\n",
            ]
        ),
        max_size=12,
    )
)
def test_the_search_of_octets_misses_no_field(pieces: list[bytes]) -> None:
    post = Post("", b"".join(pieces))
    if post.header.values("from"):
        assert post.may_have("from")


def test_the_rules_see_authors_senders_and_marks_of_lists() -> None:
    content = HEADER + (
        b"List-Id: The ants <ant.example.org>\r\nList-Post: <mailto:Ant@example.org>\r\nX-BeenThere: bee@example.org\r\n\r\nx"
    )
    post = Post("carl@example.net", content)
    assert post.authors == ("anne@example.net",)
    assert post.senders == ("bob@example.net",)
    assert post.keys == ("anne@example.net", "bob@example.net", "carl@example.net")
    assert post.marks == {"ant.example.org", "ant@example.org", "bee@example.org"}
    assert post.size == len(content)


def test_a_header_over_a_limit_says_so() -> None:
    assert not read_header(b"A: b\r\n" * MAX_FIELDS + b"\r\n").too_long
    assert read_header(b"A: b\r\n" * (MAX_FIELDS + 1) + b"\r\n").too_long
    assert read_header(b"A: " + b"b" * MAX_HEADER).too_long


def test_only_the_beginning_of_a_long_value_is_read() -> None:
    assert len(plain_text(b"x" * 10**6)) == MAX_VALUE
    assert len(shown_text(b"=?utf-8?q?x?= " * 10**5)) <= MAX_VALUE
