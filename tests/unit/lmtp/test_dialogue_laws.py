"""Laws of the dialogue, whatever a client sends and however the network cuts it."""

import itertools
import re
from hashlib import sha256

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.lmtp_parts import LHLO, Talk, begun, make_parts, stuff

COMMANDS = st.sampled_from(
    [
        LHLO,
        b"MAIL FROM:<anne@example.net>\r\n",
        b"MAIL FROM:<> SIZE=99999\r\n",
        b"RCPT TO:<ant@example.org>\r\n",
        b"RCPT TO:<small@example.org>\r\n",
        b"RCPT TO:<nobody@example.org>\r\n",
        b"RCPT TO:ant@example.org\r\n",
        b"DATA\r\n",
        b"RSET\r\n",
        b"NOOP\r\n",
        b"VRFY x\r\n",
        b"EHLO x\r\n",
        b"NOOP\n",
        b"\r\n",
        b"\x00\xff\r\n",
        b"a" * 3000 + b"\r\n",
    ]
)
MESSAGES = st.sampled_from(
    [
        b"",
        b"hello\r\n",
        b"..\r\n.\r\n",
        b"x" * 400 + b"\r\n",
        b"a\nb\r\n",
        b"\x00\xff\r\n",
        b"big" * 1000 + b"\r\n",
    ]
).map(stuff)
SESSIONS = st.lists(st.one_of(COMMANDS, MESSAGES), max_size=25)
ID = re.compile(rb"[0-9a-f]{32}")


def hold(pieces: list[bytes]) -> tuple[bytes, list[bytes]]:
    """Hold a session in these pieces; return its replies without ids, and the messages that the bus has."""
    talk = Talk(make_parts(max_size=1000))
    for piece in pieces:
        talk.send(piece)
    return ID.sub(b"ID", talk.output), [content for _, content in talk.parts.front.published]


@given(SESSIONS, st.lists(st.integers(0, 5000), max_size=12))
@settings(max_examples=200, deadline=None)
def test_the_replies_do_not_depend_on_how_the_octets_are_cut(session: list[bytes], cuts: list[int]) -> None:
    """In one segment, or in any others."""
    wire = b"".join([LHLO, *session])
    places = sorted({cut % (len(wire) + 1) for cut in cuts} | {0, len(wire)})
    pieces = [wire[start:end] for start, end in itertools.pairwise(places)]
    assert hold(pieces) == hold([wire])


def test_one_octet_at_a_time() -> None:
    """The slowest client gets the same replies."""
    wire = (
        LHLO
        + b"MAIL FROM:<a@b>\r\nRCPT TO:<ant@example.org>\r\nDATA\r\n"
        + stuff(b"..\r\n.\r\nx\r\n")
        + b"QUIT\r\n"
    )
    assert hold([wire[at : at + 1] for at in range(len(wire))]) == hold([wire])


@given(
    st.lists(st.sampled_from(["ant", "Ant", "bee", "small", "nobody", "closed"]), max_size=12),
    st.sampled_from([b"hello\r\n", b"", b"x" * 300 + b"\r\n", b"x" * 2000 + b"\r\n", b"a\rb\r\n"]),
    st.sampled_from(["store", "refuse", "fail"]),
    st.booleans(),
)
@settings(deadline=None)
def test_there_is_one_final_reply_for_each_accepted_rcpt_on_every_path(
    names: list[str], content: bytes, fate: str, is_current: bool
) -> None:
    """P3: as many as RCPTs were answered 250, before the reply to the NOOP behind the dot; never a 5xx for our own fault."""
    from lmtp import replies

    talk = begun(max_size=1000)
    talk.is_current = is_current
    talk.send(b"MAIL FROM:<anne@example.net>\r\n")
    answers = [talk.send(f"RCPT TO:<{name}@example.org>\r\n".encode()) for name in names]
    accepted = sum(answer.startswith(b"250") for answer in answers)
    if not accepted:
        assert talk.codes(b"DATA\r\n") == ["503 5.5.1"]
        return
    if fate == "refuse":
        talk.outcome = replies.NOT_CONFIRMED
    if fate == "fail":
        talk.parts.front.store = None  # type: ignore[assignment,method-assign]
        talk.outcome = replies.FAILED
    talk.send(b"DATA\r\n")
    lines = talk.send(stuff(content) + b"NOOP\r\n").splitlines()
    assert len(lines) == accepted + 1
    assert lines[-1] == b"250 2.0.0 Ok"
    if not is_current:
        assert not any(line.startswith(b"550 5.1.1") for line in lines)


@given(st.binary(max_size=3000))
@settings(deadline=None)
def test_a_message_goes_to_the_bus_octet_for_octet(octets: bytes) -> None:
    """By its SHA-256; newlines that are not CR LF are what is refused."""
    content = octets.replace(b"\r", b"").replace(b"\n", b"\r\n") + b"\r\n"
    talk = begun()
    talk.send(b"MAIL FROM:<a@b>\r\nRCPT TO:<ant@example.org>\r\nDATA\r\n" + stuff(content))
    ((item, stored),) = talk.parts.front.published
    assert sha256(stored).digest() == sha256(content).digest()
    assert item.size == len(content)


@given(st.binary(max_size=500), st.lists(st.integers(0, 500), max_size=5))
@settings(deadline=None)
def test_any_octets_get_clean_replies(octets: bytes, cuts: list[int]) -> None:
    """Each line is a reply of ours, without an echo of control characters; nothing raises."""
    talk = Talk(make_parts())
    talk.send(octets)
    talk.send(b"\r\n")
    for line in talk.output.split(b"\r\n")[:-1]:
        assert re.fullmatch(rb"[245][0-9]{2}[ -][ -~]{0,506}", line)
    assert not talk.parts.events("lmtp.failed")
