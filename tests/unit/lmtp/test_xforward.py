"""XFORWARD: its grammar by examples, and what becomes of it in a session (Postfix's XFORWARD_README)."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmtp.client import Client
from lmtp.xforward import MAX_PROTO, MAX_VALUE, read_attributes
from tests.support.lmtp_parts import PEER, Talk, begun, make_parts, stuff

MAIL = b"MAIL FROM:<anne@example.net>\r\n"
ANT = b"RCPT TO:<ant@example.org>\r\n"
DATA = b"DATA\r\n"
TEXT = b"Message-ID: <1@example.net>\r\n\r\nhello\r\n"
XFORWARD = b"XFORWARD NAME=mx.example ADDR=192.0.2.7 IDENT=4BCD\r\n"
SEEN = {"name": "mx.example", "addr": "192.0.2.7", "ident": "4BCD"}

ACCEPTED: list[tuple[bytes, dict[str, Any]]] = [
    # attribute
    (b"NAME=localhost", {"name": "localhost"}),
    (b"name=localhost", {"name": "localhost"}),
    (
        b"NAME=a PORT=60480  PROTO=ESMTP\tSOURCE=LOCAL",
        {"name": "a", "port": 60480, "proto": "ESMTP", "source": "LOCAL"},
    ),
    (b"NAME=a NAME=b", {"name": "b"}),
    # attribute-value
    (b"HELO=a+2Bb+3Dc", {"helo": "a+b=c"}),
    (b"HELO=a+2bb=c", {"helo": "a+b=c"}),  # README, note 4
    (b"HELO=" + b"a" * MAX_VALUE, {"helo": "a" * MAX_VALUE}),
    (b"HELO=" + b"+2B" * MAX_VALUE, {"helo": "+" * MAX_VALUE}),
    (b"IDENT=4Y3k2B1vYZz9Q", {"ident": "4Y3k2B1vYZz9Q"}),
    (b'NAME=a<b>"c', {"name": "a?b??c"}),
    (b"HELO=[IPv6:2001:db8::1]", {"helo": "[IPv6:2001:db8::1]"}),
    # unavailable
    (b"NAME=[UNAVAILABLE]", {"name": ""}),
    (b"NAME=[TempUnavail] PORT=[unavailable]", {"name": "", "port": 0}),
    (b"SOURCE=[UNAVAILABLE] ADDR=[UNAVAILABLE]", {"source": "", "addr": ""}),
    # addr
    (b"ADDR=192.0.2.7", {"addr": "192.0.2.7"}),
    (b"ADDR=IPV6:2001:DB8:0::1", {"addr": "2001:db8::1"}),
    (b"ADDR=ipv6:::ffff:192.0.2.7", {"addr": "192.0.2.7"}),
    # port, proto, source
    (b"PORT=0", {"port": 0}),
    (b"PORT=65535", {"port": 65535}),
    (b"PROTO=" + b"P" * MAX_PROTO, {"proto": "P" * MAX_PROTO}),
    (b"SOURCE=remote", {"source": "REMOTE"}),
]
REFUSED = [
    b"",
    b" ",
    # attribute
    b"NAME",
    b"NAME =a",
    b"=a",
    b"LOGIN=anne",  # XCLIENT's
    b"NAME=a DESTADDR=192.0.2.1",
    b"NAME=a,ADDR=192.0.2.1 b",
    # attribute-value
    b"NAME=",
    b"NAME=a+",
    b"NAME=a+0",
    b"NAME=a+0G",
    b"NAME=gr\xc3\xbcn",
    b"NAME=gr+C3+BCn",
    b"NAME=a+20b",
    b"NAME=a+0D+0Ab",
    b"NAME=a+00",
    b"NAME=a+7F",
    b"HELO=" + b"a" * (MAX_VALUE + 1),
    b"HELO=" + b"+2B" * (MAX_VALUE + 1),
    # addr
    b"ADDR=[192.0.2.7]",
    b"ADDR=2001:db8::1",
    b"ADDR=IPV6:192.0.2.7",
    b"ADDR=IPV6:fe80::1%eth0",
    b"ADDR=192.0.2",
    b"ADDR=192.0.2.007",
    b"ADDR=mx.example",
    # port, proto, source
    b"PORT=65536",
    b"PORT=000025",
    b"PORT=-1",
    b"PORT=smtp",
    b"PROTO=" + b"P" * (MAX_PROTO + 1),
    b"SOURCE=ELSEWHERE",
]


@pytest.mark.parametrize(("argument", "expected"), ACCEPTED)
def test_what_is_a_list_of_attributes(argument: bytes, expected: dict[str, Any]) -> None:
    assert read_attributes(argument) == expected


@pytest.mark.parametrize("argument", REFUSED)
def test_what_is_none_is_refused_as_a_whole(argument: bytes) -> None:
    assert read_attributes(argument) is None
    assert begun().codes(b"XFORWARD " + argument + b"\r\n") == ["501 5.5.4"]


@given(
    st.text(
        st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters='<>()\\";@,[]'),
        min_size=1,
        max_size=MAX_VALUE,
    )
)
def test_what_is_encoded_comes_out_as_it_was(value: str) -> None:
    encoded = "".join(f"+{ord(letter):02X}" if letter in "+=" else letter for letter in value)
    assert read_attributes(f"HELO={encoded}".encode()) == {"helo": value}


@given(st.binary(max_size=400))
def test_no_octets_break_it_and_nothing_unfit_comes_out(value: bytes) -> None:
    for name in (b"NAME", b"ADDR", b"PORT", b"PROTO", b"HELO", b"IDENT", b"SOURCE"):
        for read in (read_attributes(name + b"=" + value) or {}).values():
            assert isinstance(read, int) or (read.isascii() and read.isprintable() and " " not in read)


def seen(talk: Talk) -> list[dict[str, Any] | None]:
    """Return what the items say of whom was spoken for."""
    return [
        msgspec.msgpack.decode(item.args["client"]).get("xforward") for item, _ in talk.parts.front.published
    ]


def test_it_is_offered_and_taken_by_those_who_may() -> None:
    talk = Talk(make_parts())
    assert b"250-XFORWARD NAME ADDR PORT PROTO HELO IDENT SOURCE\r\n" in talk.send(b"LHLO mx.example.net\r\n")
    assert talk.codes(XFORWARD) == ["250 2.0.0"]


def test_it_is_neither_offered_to_nor_taken_from_others() -> None:
    talk = Talk(make_parts())
    loop: Any = None
    talk.dialogue.client = Client(loop, "s-2", PEER)
    assert b"XFORWARD" not in talk.send(b"LHLO mx.example.net\r\n")
    assert talk.codes(XFORWARD) == ["550 5.7.0"]


def test_several_commands_add_up_and_what_is_said_again_counts() -> None:
    talk = begun()
    talk.send(XFORWARD + b"XFORWARD NAME=[UNAVAILABLE] PORT=25\r\nXFORWARD HELO=[192.0.2.7]\r\n")
    assert talk.codes(MAIL + ANT + DATA) == ["250 2.1.0", "250 2.1.5", "354 End d"]
    talk.send(stuff(TEXT))
    assert seen(talk) == [{"addr": "192.0.2.7", "ident": "4BCD", "port": 25, "helo": "[192.0.2.7]"}]


def test_the_peer_itself_is_never_mixed_with_whom_it_speaks_for() -> None:
    talk = begun()
    talk.send(XFORWARD + MAIL + ANT + DATA + stuff(TEXT))
    ((item, _),) = talk.parts.front.published
    assert msgspec.msgpack.decode(item.args["client"]) == {
        "addr": "192.0.2.1",
        "lhlo": "mx.example.net",
        "session": "s-1",
        "xforward": SEEN,
    }


def test_what_is_wholly_unavailable_is_not_the_peer_either() -> None:
    talk = begun()
    talk.send(b"XFORWARD ADDR=[UNAVAILABLE]\r\n" + MAIL + ANT + DATA + stuff(TEXT))
    assert seen(talk) == [{}]


@pytest.mark.parametrize(
    "end",
    [
        MAIL + ANT + DATA + stuff(b"Message-ID: <2@example.net>\r\n\r\n"),
        MAIL + ANT + b"RSET\r\n",
        b"RSET\r\n",
        b"LHLO again.example.net\r\n",
    ],
    ids=["dot", "rset", "rset without mail", "lhlo"],
)
def test_it_is_forgotten_when_a_transaction_ends(end: bytes) -> None:
    talk = begun()
    talk.send(XFORWARD + end)
    talk.send(MAIL + ANT + DATA + stuff(TEXT))
    assert seen(talk)[-1] is None
    assert "xforward" not in talk.parts.events("lmtp.accepted")[-1]


def test_a_refused_transaction_ends_it_only_when_it_ends() -> None:
    """MAIL refused: no transaction was open. DATA without recipients: it is open still."""
    talk = begun(max_size=1000)
    talk.send(XFORWARD + b"MAIL FROM:<anne@example.net> SIZE=1001\r\n" + MAIL + DATA + ANT + DATA)
    talk.send(stuff(TEXT))
    assert seen(talk) == [SEEN]


def test_a_bad_command_changes_nothing() -> None:
    talk = begun()
    assert talk.codes(XFORWARD + b"XFORWARD NAME=b.example SOURCE=MARS\r\n") == ["250 2.0.0", "501 5.5.4"]
    talk.send(MAIL + ANT + DATA + stuff(TEXT))
    assert seen(talk) == [SEEN]


def test_it_has_its_place_between_lhlo_and_mail() -> None:
    talk = Talk(make_parts())
    assert talk.codes(XFORWARD) == ["503 5.5.1"]
    talk.send(b"LHLO mx.example.net\r\n")
    assert talk.codes(MAIL + XFORWARD + ANT + XFORWARD) == [
        "250 2.1.0",
        "503 5.5.1",
        "250 2.1.5",
        "503 5.5.1",
    ]


def test_the_log_says_for_whom_each_refusal_and_acceptance_was() -> None:
    talk = begun(max_size=1000)
    talk.send(XFORWARD + b"MAIL FROM:<anne@example.net> SIZE=1001\r\n")
    talk.send(MAIL + b"RCPT TO:<nobody@example.org>\r\n" + ANT + DATA + stuff(TEXT))
    lines = talk.parts.events("lmtp.refused") + talk.parts.events("lmtp.accepted")
    assert [line["xforward"] for line in lines] == [SEEN] * 3
