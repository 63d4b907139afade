"""The dialogue against a second, simple reading of the same session (tests/support/lmtp_model.py), under faults, and with its memory counted."""

import itertools
import tracemalloc
from collections.abc import Callable
from hashlib import sha256
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bus.messages import Flow
from config.names import INCOMING
from lmtp import replies
from lmtp.commands import MAX_COMMAND
from tests.support.lmtp_model import follow, split_replies
from tests.support.lmtp_parts import LHLO, Talk, begun, make_parts, stuff

MAX_SIZE = 1000  # octets of a message

# A grammar of sessions: words that belong together, words that do not, and octets that are no words at all.
NAMES = st.sampled_from(["ant", "bee", "Ant", "small", "closed", "nobody", "a..b", '"ant"', "ant\0", "ä"])
SENDERS = st.sampled_from(
    ["<a@b>", "<>", "<member@example.net>", "<@r:a@b>", '<"x y"@z>', "a@b", "<a@b", "<\xe9>"]
)
PARAMETERS = st.sampled_from(
    ["", "", "", " SIZE=10", " SIZE=99999", " SIZE=x", " BODY=8BITMIME", " SMTPUTF8", " BOO"]
)
ENDS = st.sampled_from([b"\r\n"] * 12 + [b"\n", b"\r", b"\r\r\n", b"\n\r\n", b""])
ODD = st.sampled_from(
    [b"", b"BOO", b"EHLO x", b"VRFY x", b"XFORWARD NAME=x", b"GET / HTTP/1.1", b"\x16\x03\x01", b"a" * 3000]
)
VERBS = st.sampled_from([b"LHLO mx", b"DATA", b"DATA", b"DATA", b"RSET", b"NOOP", b"QUIT", b".", b"DATA x"])
LINES = st.one_of(
    st.builds(lambda sender, more: f"MAIL FROM:{sender}{more}".encode("latin-1"), SENDERS, PARAMETERS),
    st.builds(lambda name: f"RCPT TO:<{name}@example.org>".encode(), NAMES),
    VERBS,
    ODD,
    st.binary(max_size=20),
)
COMMANDS = st.builds(lambda line, end: line + end, LINES, ENDS)
PARTS = st.sampled_from(
    [
        b"\r\n",
        b".",
        b"..",
        b"\r\n.",
        b"\r",
        b"\n",
        b"\0",
        b"\xff\xfe",
        b"text",
        b"x" * 400,
        b"Message-ID: <1@x>",
        b"From: a@b",
    ]
)
BODIES = st.lists(PARTS, max_size=12).map(b"".join)
WHOLE = st.builds(
    lambda sender, names, body: (
        b"MAIL FROM:%b\r\n" % sender
        + b"".join(b"RCPT TO:<%b@example.org>\r\n" % name for name in names)
        + b"DATA\r\n"
        + stuff(body + b"\r\n")
    ),
    st.sampled_from([b"<a@b>", b"<>"]),
    st.lists(st.sampled_from([b"ant", b"bee", b"small", b"nobody", b"ANT"]), min_size=1, max_size=4),
    BODIES,
)
SESSIONS = st.lists(st.one_of(WHOLE, COMMANDS, BODIES.map(lambda body: body + b"\r\n.\r\n")), max_size=12)


@given(SESSIONS, st.lists(st.integers(0, 4000), max_size=8), st.booleans())
@settings(max_examples=300, deadline=None)
def test_every_session_is_what_the_simple_reading_says(
    session: list[bytes], cuts: list[int], normalize: bool
) -> None:
    """Replies in number and in step, messages by their SHA-256, whatever is sent and wherever it is cut."""
    wire = b"".join([LHLO, *session])
    newlines = "normalize" if normalize else "reject"
    talk = Talk(make_parts(max_size=MAX_SIZE, bare_newlines=newlines, max_errors=1000))
    places = sorted({cut % (len(wire) + 1) for cut in cuts} | {0, len(wire)})
    for start, end in itertools.pairwise(places):
        talk.send(wire[start:end])
        assert talk.dialogue.waiting <= MAX_COMMAND + 1
    read = follow(wire, talk.output, normalize=normalize)
    stored = [sha256(content).hexdigest() for _, content in talk.parts.front.published]
    expected = [sha256(content).hexdigest() for content in read.taken]
    assert [each for each, _ in itertools.groupby(stored)] == [
        each for each, _ in itertools.groupby(expected)
    ]
    assert not talk.parts.events("lmtp.failed")


# Faults of ours: each is put into a talk before one transaction, and taken away behind it -----------------------------------


def _break_nothing(talk: Talk) -> None:
    pass


def _store_away(talk: Talk) -> None:
    talk.is_current = False


def _lists_raise(talk: Talk) -> None:
    talk.parts.lists.error = RuntimeError("a bug of ours")


def _rule_raises(talk: Talk) -> None:
    talk.parts.lists.broken = {"ant", "small"}


def _bus_away(talk: Talk) -> None:
    talk.parts.front.connected = False


def _bus_silent(talk: Talk) -> None:
    talk.outcome = replies.NOT_CONFIRMED


def _bus_full(talk: Talk) -> None:
    talk.parts.front.flow = Flow(full=(INCOMING,))


def _publish_fails(talk: Talk) -> None:
    talk.outcome = replies.FAILED


FAULTS: list[Callable[[Talk], None]] = [
    _break_nothing,
    _store_away,
    _lists_raise,
    _rule_raises,
    _bus_away,
    _bus_silent,
    _bus_full,
    _publish_fails,
]


def _mend(talk: Talk) -> None:
    talk.is_current, talk.outcome = True, None
    talk.parts.lists.error, talk.parts.lists.broken = None, set()
    talk.parts.front.connected, talk.parts.front.flow = True, Flow()


class Answers(NamedTuple):
    """What one transaction was told: at MAIL, at each RCPT, at DATA, and behind the dot for each recipient that was taken."""

    mail: str
    rcpt: tuple[str, ...]
    data: str
    finals: dict[int, str]


def transact(talk: Talk, names: list[str], content: bytes) -> Answers:
    """Act as an MTA: the message goes only behind a 354, and RSET comes in the end."""
    (mail,) = split_replies(talk.send(b"MAIL FROM:<anne@example.net>\r\n"))
    rcpt = tuple(split_replies(talk.send(f"RCPT TO:<{name}@example.org>\r\n".encode()))[0] for name in names)
    (data,) = split_replies(talk.send(b"DATA\r\n"))
    finals: dict[int, str] = {}
    if data == "354":
        told = split_replies(talk.send(stuff(content)))
        taken = [at for at, code in enumerate(rcpt) if code == "250"]
        finals = dict(zip(taken, told, strict=True))
    assert split_replies(talk.send(b"RSET\r\n")) == ["250"]
    return Answers(mail, rcpt, data, finals)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(FAULTS),
            st.lists(st.sampled_from(["ant", "bee", "small", "closed", "nobody"]), min_size=1, max_size=5),
            st.sampled_from([b"hello\r\n", b"", b"x" * 300 + b"\r\n", b"x" * 2000 + b"\r\n", b"a\rb\r\n"]),
        ),
        max_size=4,
    )
)
@settings(deadline=None)
def test_no_fault_of_ours_becomes_a_5xx(
    transactions: list[tuple[Callable[[Talk], None], list[str], bytes]],
) -> None:
    """A 5xx under a fault is one that would have been given without it, or the 503 that follows from a 4xx."""
    broken, sound = begun(max_size=MAX_SIZE), begun(max_size=MAX_SIZE)
    for break_it, names, content in transactions:
        break_it(broken)
        got, due = transact(broken, names, content), transact(sound, names, content)
        _mend(broken)
        assert got.mail == due.mail or got.mail[0] == "4"
        if got.mail != "250":
            continue
        pairs = [*zip(got.rcpt, due.rcpt, strict=True)]
        pairs += [(code, due.finals[at]) for at, code in got.finals.items()]
        for code, expected in pairs:
            assert code == expected or code[0] == "4", (break_it.__name__, got, due)
        assert got.data == ("354" if "250" in got.rcpt else "503")


# Memory -----------------------------------------------------------------------------------------------------------------------

PIECE = 64 * 1024  # octets read at once, as a transport does
LIMIT = 50_000  # octets of a message
OPEN = b"MAIL FROM:<a@b>\r\nRCPT TO:<ant@example.org>\r\nDATA\r\n"
MESSAGES = {
    "over the limit": b"x" * 70 + b"\r\n",
    "dots": b"..\r\n",
    "one line": b"x" * PIECE,
    "bare newlines": b"\n\r",
}
LINES_OF = {
    "no newline": b"a" * PIECE,
    "bare CRs": b"a\r" * (PIECE // 2),
    "NOOPs": b"NOOP\r\n",
    "refused recipients": b"RCPT TO:<nobody@example.org>\r\n",
    "no commands": b"\xff\r\n",
}


def peaks(begin: bytes, unit: bytes, pieces: int) -> list[int]:
    """Flood a dialogue, and return the octets that Python held at most during each piece, above what it held before the first."""
    piece = (unit * (PIECE // len(unit) + 1))[:PIECE]
    talk = begun(max_size=LIMIT, bare_newlines="normalize", max_commands=10**9, max_errors=10**9)
    talk.send(begin + piece)
    found = []
    tracemalloc.start()
    try:
        for _ in range(pieces):
            tracemalloc.reset_peak()
            talk.send(piece)
            found.append(tracemalloc.get_traced_memory()[1])
            talk.output = b""  # this and what follows is the stand-ins'
            talk.parts.lists.judged.clear()
            talk.parts.log.calls.clear()
    finally:
        tracemalloc.stop()
    return found


@pytest.mark.slow
@pytest.mark.parametrize("kind", MESSAGES)
def test_a_message_without_end_holds_one_message_and_a_few_pieces(kind: str) -> None:
    """The message itself, growing: twice its limit; and of what was read at once, six copies."""
    assert max(peaks(OPEN, MESSAGES[kind], 100)) <= 2 * LIMIT + 6 * PIECE


@pytest.mark.slow
@pytest.mark.parametrize("kind", LINES_OF)
def test_what_lines_without_end_hold_does_not_grow(kind: str) -> None:
    """The eighth piece needs what the second needed; 10 KiB are the interpreter's own."""
    found = peaks(b"MAIL FROM:<a@b>\r\n", LINES_OF[kind], 8)
    assert found[-1] <= found[1] + 10_240, found
