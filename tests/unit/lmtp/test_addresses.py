"""The paths of MAIL and RCPT."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmtp.addresses import (
    MAX_ADDRESS,
    MAX_DOMAIN,
    MAX_PATH,
    RECIPIENT,
    SENDER,
    Grammar,
    parse_odd,
    read_path,
    split_path,
)

TAKEN = [
    (b"<ant@example.org>", "ant@example.org"),
    (b"<Ant@Example.ORG>", "Ant@Example.ORG"),
    (b"<ant-bounces+anne=example.net@example.org>", "ant-bounces+anne=example.net@example.org"),
    (b"<o'neil/x&y%z!a#b$c*d^e`f{g|h}i~j?k@example.org>", "o'neil/x&y%z!a#b$c*d^e`f{g|h}i~j?k@example.org"),
    (b'<"two words"@example.com>', '"two words"@example.com'),
    (b'<"a@b"@example.com>', '"a@b"@example.com'),
    (b'<"a>b"@example.com>', '"a>b"@example.com'),
    (rb'<"a\"b"@example.com>', r'"a\"b"@example.com'),
    (b'<"ant"@example.org>', "ant@example.org"),  # quotes that are not needed, RFC 5321 4.1.2
    (b"<ant@[192.0.2.1]>", "ant@[192.0.2.1]"),
    (b"<ant@[IPv6:2001:db8::1]>", "ant@[IPv6:2001:db8::1]"),
    (b"<@relay.example:ant@example.org>", "ant@example.org"),  # source routes are dropped, RFC 5321 4.1.1.3
    (b"<@one.example,@two.example:ant@example.org>", "ant@example.org"),
    ("<grüße@bücher.example>".encode(), "grüße@bücher.example"),
    (b"<ant@under_score.example>", "ant@under_score.example"),
    (b"<" + b"a" * 200 + b"@example.org>", "a" * 200 + "@example.org"),  # VERP: more than RFC 5321's 64
]
REFUSED = [
    b'<"=?utf-8?q?ant?=" @example.org>',  # encoded words: the parser would read another address ...
    b'<a"=?utf-8?b?Pv6:::@[I[IPv6:]le.neAAAA?=\\@"@b.example>',  # ... or what cannot be written as UTF-8
    b"<ant>",
    b"<@example.org>",
    b"<ant@>",
    b"<>",
    b"< >",
    b"<ant@example.org.>",
    b"<ant@.example.org>",
    b"<ant@exa mple.org>",
    b"<an t@example.org>",
    b"<ant@-example.org>",
    b"<ant@example.org@example.net>",
    b"<ant(comment)@example.org>",
    b"<" + b"(" * 1000 + b"@example.org>",
    b'<"ant@example.org>',
    b'<"a\x00b"@example.org>',
    b"<a\x00b@example.org>",
    b"<ant@[1.2.3>",
    b"<gr\xfc\xdfe@example.net>",  # ISO 8859-1 is not UTF-8
    b"<a\xc2\x85b@example.net>",  # a C1 control
    b"<\xed\xa0\x80@example.net>",  # a surrogate
    "<anne.\u202eelpmaxe@example.net>".encode(),  # the rest reads from right to left
    "<anne\u2028@example.net>".encode(),  # a line of its own
    "<anne@exa\u2066mple.net>".encode(),
    b"<" + b"a" * (MAX_ADDRESS - 11) + b"@example.org>",
    b"<a@" + b"a." * 130 + b"org>",
]


@pytest.mark.parametrize(("path", "address"), TAKEN)
def test_what_rfc_5321_allows_is_read(path: bytes, address: str) -> None:
    """Senders and recipients alike."""
    assert read_path(path, RECIPIENT, parse_odd) == address
    assert read_path(path, SENDER, parse_odd) == address


@pytest.mark.parametrize("path", REFUSED, ids=range(len(REFUSED)))
def test_what_is_no_address_is_refused(path: bytes) -> None:
    """Whatever aiosmtpd's parser thinks of it."""
    assert read_path(path, RECIPIENT, parse_odd) is None
    assert read_path(path, SENDER, parse_odd) is None


@pytest.mark.parametrize("path", [b"<a..b@docomo.example>", b"<.a.@docomo.example>"])
def test_dots_anywhere_are_a_sender_but_no_recipient(path: bytes) -> None:
    """People have such addresses; lists do not."""
    assert read_path(path, SENDER, parse_odd) == path[1:-1].decode()
    assert read_path(path, RECIPIENT, parse_odd) is None


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        (b"<a@b>", (b"<a@b>", b"")),
        (b" \t<a@b> SIZE=3  BODY=7BIT", (b"<a@b>", b"SIZE=3  BODY=7BIT")),
        (b'<"a> b"@c> SIZE=3', (b'<"a> b"@c>', b"SIZE=3")),
        (b"<> ", (b"<>", b"")),
        (b"a@b", None),
        (b"<a@b", None),
        (b"<a@b>SIZE=3", None),
        (b"<<a@b>>", None),
        (b"", None),
    ],
)
def test_a_path_needs_its_brackets(argument: bytes, expected: tuple[bytes, bytes] | None) -> None:
    """And a space before what follows."""
    assert split_path(argument) == expected


@given(st.binary(max_size=200))
def test_any_octets_are_read_or_refused_but_never_raise(octets: bytes) -> None:
    """What is read is UTF-8 text with one mailbox in it, without any control character."""
    address = read_path(b"<" + octets + b">", SENDER, parse_odd)
    if address is not None:
        assert re.fullmatch(
            r'[^\x00-\x1f\x7f-\x9f<>]+@[^@\x00-\x20]+|"[^\x00-\x1f\x7f]*"@[^@\x00-\x20]+', address
        )
        assert len(address.encode()) <= MAX_ADDRESS


@given(st.text('<>@".,:;()[]\\ ab\tü', max_size=40))
def test_any_mixture_of_what_is_special_is_read_or_refused(text: str) -> None:
    """The corners of the grammar; an address once read is read as itself again."""
    address = read_path(b"<" + text.encode() + b">", RECIPIENT, parse_odd)
    if address is not None:
        assert read_path(f"<{address}>".encode(), RECIPIENT, parse_odd) == address


@pytest.mark.parametrize("grammar", [RECIPIENT, SENDER])
def test_an_address_may_be_as_long_as_its_limit(grammar: Grammar) -> None:
    """320 octets in all and 255 of the domain (RFC 5321 4.5.3.1); one more is too long, with a source route or without."""
    for domain in (b"d" * MAX_DOMAIN, b"example.org"):
        longest = b"a" * (MAX_ADDRESS - len(domain) - 1) + b"@" + domain
        for route in (b"", b"@relay.example:"):
            assert read_path(b"<" + route + longest + b">", grammar, parse_odd) == longest.decode()
            assert read_path(b"<" + route + b"a" + longest + b">", grammar, parse_odd) is None
    assert read_path(b"<a@" + b"d" * (MAX_DOMAIN + 1) + b">", grammar, parse_odd) is None


def test_a_long_path_never_reaches_the_slow_parser() -> None:
    """Over 640 octets, or with a mailbox over 320 behind its route: email's parser takes milliseconds for such, and longer for longer ones."""
    asked: list[str] = []

    def parse(argument: str) -> tuple[str | None, str | None]:
        asked.append(argument)
        return parse_odd(argument)

    route = b"@" + b"r" * (MAX_PATH - len(b"<@:ant@example.org>")) + b":"
    assert len(b"<" + route + b"ant@example.org>") == MAX_PATH
    assert read_path(b"<" + route + b"aant@example.org>", RECIPIENT, parse) is None
    assert read_path(b"<@relay.example:" + b"a" * 330 + b"@example.org>", RECIPIENT, parse) is None
    assert asked == []
    assert read_path(b"<@relay.example:ant@example.org>", RECIPIENT, parse) == "ant@example.org"
    assert len(asked) == 1
