"""The table of what is out of order, and the replies."""

import itertools
from typing import get_args

import pytest

from lmtp import replies
from lmtp.commands import Command, Data, Lhlo, Mail, Noop, Quit, Rcpt, Rset, StartTls, Vrfy, Xforward
from lmtp.dialogue import _ANSWERS
from lmtp.replies import MAX_LINE, Reply, make_reply
from lmtp.states import OUT_OF_ORDER, State
from tests.support.lmtp_parts import LHLO, Talk, make_parts

WAYS = {  # how a session comes into a state
    State.BARE: LHLO,
    State.NEW: b"",
    State.READY: LHLO,
    State.MAIL: LHLO + b"MAIL FROM:<a@b>\r\n",
    State.RCPT: LHLO + b"MAIL FROM:<a@b>\r\nRCPT TO:<ant@example.org>\r\n",
}
LINES: dict[type, bytes] = {
    Lhlo: LHLO,
    StartTls: b"STARTTLS\r\n",
    Xforward: b"XFORWARD NAME=mx.example\r\n",
    Mail: b"MAIL FROM:<a@b>\r\n",
    Rcpt: b"RCPT TO:<ant@example.org>\r\n",
    Data: b"DATA\r\n",
    Rset: b"RSET\r\n",
    Noop: b"NOOP\r\n",
    Vrfy: b"VRFY ant\r\n",
    Quit: b"QUIT\r\n",
}
ALL = [value for value in vars(replies).values() if isinstance(value, Reply)]


@pytest.mark.parametrize(("state", "command"), list(itertools.product(State, get_args(Command))))
def test_every_command_has_an_answer_in_every_state(state: State, command: type) -> None:
    """Exactly one reply; the one of the table where the table has one, a positive one else."""
    talk = Talk(make_parts(tls_cert="cert.pem", tls_require="tls" if state is State.BARE else "no"))
    talk.send(WAYS[state])
    answer = talk.send(LINES[command])
    refusal = OUT_OF_ORDER.get((state, command))
    assert answer == refusal.wire if refusal else answer[:1] in b"23"


def test_every_command_is_carried_out_somewhere() -> None:
    """The tables know the same commands."""
    assert set(_ANSWERS) == set(get_args(Command)) == set(LINES)


@pytest.mark.parametrize("reply", ALL, ids=lambda reply: f"{reply.code}-{reply.enhanced}-{reply.text[:20]}")
def test_codes_and_enhanced_codes_agree(reply: Reply) -> None:
    """RFC 2034 4: the class of both is the same; only 354 has no enhanced code."""
    assert reply.enhanced[:1] == ("" if reply.code == 354 else str(reply.code)[0])
    assert reply.wire.endswith(b"\r\n")
    assert len(reply.wire) <= MAX_LINE


def test_a_text_from_elsewhere_cannot_break_the_line() -> None:
    """Control characters and letters outside ASCII are replaced, too much is cut."""
    reply = make_reply(550, "5.7.1", "no\r\n250 yes\x00 grüße" + "x" * 600)
    assert reply.wire.startswith(b"550 5.7.1 no??250 yes? gr??e")
    assert reply.wire.count(b"\r\n") == 1
    assert len(reply.wire) == MAX_LINE
