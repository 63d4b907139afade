"""Commands in mail: found under limits in whatever somebody writes, and never more than a few letters of it handed on."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lists.commands import (
    MAX_COMMANDS,
    MAX_SHOWN,
    MAX_UNKNOWN,
    Command,
    read_commands,
    read_setting,
    tame,
)
from lists.errors import BadOption
from lists.first_text import first_text
from lists.member_options import read_member_changes

TOKEN = "abcdefghijklmnopqrstuvwx"


def names(subject: str, text: str = "") -> list[str]:
    return [command.name for command in read_commands(subject, text).commands]


@pytest.mark.parametrize(
    ("subject", "text", "found"),
    [
        ("help", "", ["help"]),
        ("Unsubscribe", "", ["leave"]),
        ("Re: AW: [ant] Re[2]: LEAVE", "", ["leave"]),
        (f"Re: Please confirm that you want to join ant confirm {TOKEN}", "yes\n", ["confirm"]),
        ("Please confirm that you want to join", "", []),
        ("dinner?", "help\nwho\n", ["help", "who"]),
        ("help", "help\n\n> join\n| join\nlists\n", ["help", "lists"]),
        ("", "help\n-- \njoin\n", ["help"]),
        ("", "help\nend\njoin\n", ["help"]),
        ("", "help\nstop\njoin\n", ["help"]),
        ("unsubscribe", "Sent from my phone\njoin\n", ["leave"]),
        ("", "dear list\nhelp\n", ["unknown", "help"]),
        ("", "", []),
    ],
)
def test_commands_are_found(subject: str, text: str, found: list[str]) -> None:
    assert names(subject, text) == found


def test_ten_are_enough_and_a_letter_is_given_up_on() -> None:
    many = read_commands("", "".join(f"echo {number}\n" for number in range(50)))
    assert (len(many.commands), many.is_cut) == (MAX_COMMANDS, True)
    letter = read_commands("", "".join(f"word{number}\n" for number in range(50)))
    assert (len(letter.commands), letter.is_cut) == (MAX_UNKNOWN, True)


@given(st.text(), st.text())
def test_whatever_is_written_is_read(subject: str, text: str) -> None:
    read = read_commands(subject, text)
    assert len(read.commands) <= MAX_COMMANDS
    for command in read.commands:
        if command.name == "unknown":
            assert len(command.words[0]) <= MAX_SHOWN + 3


@given(st.text())
def test_what_is_shown_holds_no_link_address_or_control_character(text: str) -> None:
    shown = tame(text)
    assert re.search(r"[\x00-\x1f\x7f-\x9f@:/<>]", shown) is None
    assert len(shown) <= MAX_SHOWN + 3


@given(st.binary(max_size=2000), st.sampled_from([b"x-klingon", b"utf-7", b"\xff", b"iso-8859-1", b'"']))
def test_any_content_has_a_text(octets: bytes, charset: bytes) -> None:
    head = b"Content-Type: text/plain; charset=" + charset + b"\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    assert isinstance(first_text(octets), str)
    assert isinstance(first_text(head + octets), str)


@pytest.mark.parametrize(
    ("head", "body", "text"),
    [
        (b"Content-Type: text/plain; charset=x-klingon", b"h\xe4lp", "h\ufffdlp"),
        (b"Content-Type: text/plain; charset=iso-8859-1", b"h\xe4lp", "h\u00e4lp"),
        (b"Content-Transfer-Encoding: base64", b"aGVscAo=", "help\n"),
        (b"Content-Transfer-Encoding: quoted-printable", b"h=65lp", "help"),
        (b"Content-Type: text/html", b"<b>help</b>", ""),
        (b"Content-Type: multipart/mixed; boundary=x", b"--x\r\n\r\nhelp\r\n--x--", "help"),
    ],
)
def test_the_first_text_is_decoded(head: bytes, body: bytes, text: str) -> None:
    assert first_text(head + b"\r\n\r\n" + body) == text


def test_three_thousand_parts_are_no_text() -> None:
    assert first_text(b"Content-Type: multipart/mixed; boundary=x\r\n\r\n" + b"--x\r\n\r\n\r\n" * 3000) == ""


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("digest plain", "delivery_mode=plaintext_digests"),
        ("vacation until 2030-01-02", "delivery_status=vacation until=2030-01-02"),
        ("vacation on", "delivery_status=vacation"),
        ("vacation off", "delivery_status=enabled"),
        ("delivery off", "delivery_status=by_user"),
        ("ACK on", "acknowledge_posts=yes"),
        ("hide off", "hide_address=no"),
        ("own no", "receive_own_postings=no"),
        ("language pt-BR", "language=pt-BR"),
        ("moderation_action accept", None),
        ("ack", None),
        ("", None),
    ],
)
def test_a_setting_becomes_what_members_set_takes(words: str, said: str | None) -> None:
    found = read_setting(words.split())
    assert found == (None if said is None else tuple(said.split()))
    if found is not None:
        assert read_member_changes("ant.example.org", "anne@example.net", found)  # type: ignore[arg-type]


def test_a_day_that_is_none_is_refused_by_the_options() -> None:
    found = read_setting(["vacation", "until", "soon"])
    assert found is not None
    with pytest.raises(BadOption):
        read_member_changes("ant.example.org", "anne@example.net", found)  # type: ignore[arg-type]


def test_the_same_command_twice_is_one() -> None:
    assert read_commands("help", "help\n").commands == (Command("help"),)
