"""The LMTP client says what it is given, believes what it is told, and makes nothing up."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from admin.lmtp_client import (
    LmtpFailure,
    Reply,
    Result,
    Target,
    UnsafeAddress,
    read_target,
    send,
    with_crlf,
    with_dots,
)
from tests.support.scripted_lmtp import scripted_server

HELLO = [("", b"220 here\r\n"), ("LHLO", b"250-here\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250 SIZE 1000\r\n")]
QUIT = [("QUIT", b"221 2.0.0 bye\r\n")]


@given(st.binary(max_size=200))
def test_every_line_ends_with_crlf_and_no_other_octet_is_changed(message: bytes) -> None:
    lines = with_crlf(message)
    assert lines.endswith(b"\r\n")
    assert not re.search(rb"(?<!\r)\n", lines)
    assert lines.replace(b"\r\n", b"\n").rstrip(b"\n") == message.replace(b"\r\n", b"\n").rstrip(b"\n")


@given(st.lists(st.sampled_from([b".", b"..", b".x", b"x", b"", b"x.", b"\x80.", b".\r"]), max_size=8))
def test_what_a_server_reads_after_taking_the_dots_away_is_the_message(parts: list[bytes]) -> None:
    lines = with_crlf(b"\r\n".join(parts))
    wire = with_dots(lines)
    assert wire.endswith(b"\r\n.\r\n")
    assert b"\r\n.\r\n" not in wire[:-5]
    received = wire.removesuffix(b".\r\n").split(b"\r\n")
    assert b"\r\n".join(line.removeprefix(b".") for line in received) == lines


def test_each_recipient_gets_its_own_reply_in_order() -> None:
    script = [
        *HELLO,
        ("MAIL FROM:<a@b> SIZE=5", b"250 2.1.0 ok\r\n"),
        ("RCPT TO:<one@x>", b"250 2.1.5 ok\r\n"),
        ("RCPT TO:<two@x>", b"550 5.1.1 no\r\n"),
        ("RCPT TO:<three@x>", b"250 2.1.5 ok\r\n"),
        ("DATA", b"354 go on\r\n"),
        (".", b"250 2.0.0 Accepted 1\r\n452-4.3.1 no\r\n452 4.3.1 space\r\n"),
        *QUIT,
    ]
    with scripted_server(script) as heard:
        results = send(Target("127.0.0.1", heard.port), "a@b", ["one@x", "two@x", "three@x"], b".hi\n")
    assert heard.message == b"..hi\r\n"
    assert results == [
        Result("one@x", "DATA", Reply(250, "2.0.0", "Accepted 1")),
        Result("two@x", "RCPT", Reply(550, "5.1.1", "no")),
        Result("three@x", "DATA", Reply(452, "4.3.1", "no\nspace")),
    ]


def test_without_an_accepted_recipient_no_data_is_sent() -> None:
    script = [*HELLO, ("MAIL", b"250 ok\r\n"), ("RCPT", b"550 5.7.1 no\r\n"), *QUIT]
    with scripted_server(script) as heard:
        results = send(Target("127.0.0.1", heard.port), "", ["one@x"], b"x")
    assert [str(result.reply) for result in results] == ["550 5.7.1 no"]
    assert heard.commands[1] == "MAIL FROM:<> SIZE=3"
    assert heard.commands[-1] == "QUIT"


def test_a_refused_sender_is_the_answer_of_every_recipient() -> None:
    with scripted_server([*HELLO, ("MAIL", b"451 4.3.0 later\r\n"), *QUIT]) as heard:
        results = send(Target("127.0.0.1", heard.port), "a@b", ["one@x", "two@x"], b"x")
    assert [(result.stage, result.reply.code) for result in results] == [("MAIL", 451)] * 2


def test_a_refused_data_is_the_answer_of_every_accepted_recipient() -> None:
    script = [
        *HELLO,
        ("MAIL", b"250 ok\r\n"),
        ("RCPT", b"250 ok\r\n"),
        ("DATA", b"451 4.3.0 later\r\n"),
        *QUIT,
    ]
    with scripted_server(script) as heard:
        (result,) = send(Target("127.0.0.1", heard.port), "a@b", ["one@x"], b"x")
    assert (result.stage, result.reply.code) == ("DATA", 451)


@pytest.mark.parametrize(
    ("sender", "message", "parameters"),
    [
        ("a@b", b"plain", " SIZE=7"),
        ("a@b", "grüße".encode(), " SIZE=9 BODY=8BITMIME"),
        ("ä@b", b"plain", " SIZE=7 SMTPUTF8"),
    ],
)
def test_extensions_are_asked_for_when_they_are_needed(sender: str, message: bytes, parameters: str) -> None:
    with scripted_server([*HELLO, ("MAIL", b"250 ok\r\n"), ("RCPT", b"550 no\r\n"), *QUIT]) as heard:
        send(Target("127.0.0.1", heard.port), sender, ["one@x"], message)
    assert heard.commands[1] == f"MAIL FROM:<{sender}>{parameters}"


def test_extensions_that_were_not_offered_are_not_asked_for() -> None:
    script = [
        ("", b"220 here\r\n"),
        ("LHLO", b"250 here\r\n"),
        ("MAIL", b"250 ok\r\n"),
        ("RCPT", b"550 no\r\n"),
        *QUIT,
    ]
    with scripted_server(script) as heard:
        send(Target("127.0.0.1", heard.port), "ä@b", ["one@x"], "ä".encode())
    assert heard.commands[1] == "MAIL FROM:<ä@b>"


@pytest.mark.parametrize(
    ("script", "text"),
    [
        ([("", b"421 4.3.2 not now\r\n")], "the greeting was answered 421 4.3.2 not now"),
        ([("", b"220 here\r\n"), ("LHLO", b"500 what\r\n")], "LHLO was answered 500 what"),
        ([*HELLO, ("MAIL", b"hello\r\n")], "MAIL was answered with what is no reply"),
        ([*HELLO, ("MAIL", b"250-a\r\n550 b\r\n")], "MAIL was answered with what is no reply"),
        ([*HELLO, ("MAIL", b"")], "closed the connection: MAIL"),
        (
            [
                *HELLO,
                ("MAIL", b"250 ok\r\n"),
                ("RCPT", b"250 ok\r\n"),
                ("RCPT", b"250 ok\r\n"),
                ("DATA", b"354 go\r\n"),
                (".", b"250 ok\r\n"),
            ],
            "recipient 2 of 2",
        ),
    ],
)
def test_a_reply_that_did_not_come_is_a_failure_that_names_the_place(
    script: list[tuple[str, bytes]], text: str
) -> None:
    with scripted_server(script) as heard, pytest.raises(LmtpFailure, match=re.escape(text)):
        send(Target("127.0.0.1", heard.port), "a@b", ["one@x", "two@x"], b"x")


@pytest.mark.parametrize("address", ["a@b>\r\nRCPT TO:<c@d", "a@b\n", "<a@b>", "a\x00@b", "a\udce4@b"])
def test_an_address_that_would_be_another_command_is_not_sent(address: str) -> None:
    with pytest.raises(UnsafeAddress):
        send(Target("127.0.0.1", 9), "a@b", [address], b"x")


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("127.0.0.1:8024", Target("127.0.0.1", 8024)),
        ("localhost:24", Target("localhost", 24)),
        ("[::1]:24", Target("::1", 24)),
        ("0.0.0.0:24", Target("127.0.0.1", 24)),
        ("[::]:24", Target("::1", 24)),
        ("unix:/run/lmtp.sock", Target(path="/run/lmtp.sock")),
    ],
)
def test_a_place_is_read_as_the_configuration_writes_it(text: str, target: Target) -> None:
    assert read_target(text) == target


@pytest.mark.parametrize("text", ["", "8024", "host:", ":24", "host:x", "host:70000"])
def test_what_is_no_place_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="neither host:port"):
        read_target(text)
