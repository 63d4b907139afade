"""Where a session can be between commands, which command is out of order where, and what a session may have to wait for.

A table, no code: dialogue.py acts on it, and tests/unit/lmtp/test_states.py goes through every pair.
"""

import enum
from typing import Final

from msgspec import Struct

from bus.messages import Item
from config.names import ItemId
from lmtp import replies
from lmtp.commands import Data, Mail, Rcpt, Rset, StartTls, Vrfy, Xforward
from lmtp.replies import Reply


class State(enum.IntEnum):
    """Where the session is between commands. Numbers, since the hash of another member is a call of Python for each command."""

    BARE = 0  # TLS is required, and has not begun
    NEW = 1  # LHLO has not been said
    READY = 2  # no transaction
    MAIL = 3  # MAIL was taken, no recipient yet
    RCPT = 4  # a recipient was taken


# (state, command): what is refused because of the order; every other pair is answered on its merits (RFC 5321 4.1.4, RFC 2033 4.2, XFORWARD_README).
OUT_OF_ORDER: Final[dict[tuple[State, type], Reply]] = {
    **dict.fromkeys(  # RFC 3207 4: everything but NOOP, LHLO, STARTTLS and QUIT
        ((State.BARE, command) for command in (Xforward, Mail, Rcpt, Data, Rset, Vrfy)), replies.SAY_STARTTLS
    ),
    (State.NEW, StartTls): replies.SAY_LHLO,
    (State.NEW, Xforward): replies.SAY_LHLO,
    (State.NEW, Mail): replies.SAY_LHLO,
    (State.NEW, Rcpt): replies.SAY_LHLO,
    (State.NEW, Data): replies.SAY_LHLO,
    (State.READY, Rcpt): replies.NEED_MAIL,
    (State.READY, Data): replies.NEED_MAIL,
    (State.MAIL, StartTls): replies.NESTED_MAIL,
    (State.MAIL, Xforward): replies.NESTED_MAIL,
    (State.MAIL, Mail): replies.NESTED_MAIL,
    (State.MAIL, Data): replies.NO_RECIPIENTS,
    (State.RCPT, StartTls): replies.NESTED_MAIL,
    (State.RCPT, Xforward): replies.NESTED_MAIL,
    (State.RCPT, Mail): replies.NESTED_MAIL,
}


class Assure(Struct, frozen=True):
    """Ask the store whether the snapshot is current, then call `assured`."""


class Pause(Struct, frozen=True):
    """Let others have a turn, then call `go_on`."""


class Delay(Struct, frozen=True):
    """Wait, since the bus wants mail to come slower, then call `go_on`."""

    seconds: float


class Secure(Struct, frozen=True):
    """Begin TLS with what comes from now on, then call `secured`."""

    discarded: int  # octets that were read behind STARTTLS: nobody knows who sent them


class Publish(Struct, frozen=True):
    """Make these durable, then call `published`."""

    items: tuple[Item, ...]
    content: bytes
    content_keys: tuple[bytes, ...]


Want = Assure | Delay | Pause | Publish | Secure


class Assurance(Struct, frozen=True):
    """What the store said, for every command that had been read when it was asked."""

    upto: int  # place in the stream of octets
    is_current: bool


class Unread(Struct):
    """What was told 250 on this connection while nothing says yet that the client has read it."""

    ids: list[ItemId]
    content_keys: list[bytes]
