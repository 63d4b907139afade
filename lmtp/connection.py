"""One connection: aiosmtpd's LMTP class with its engine taken out.

aiosmtpd 1.4.6 gives the protocol class, Session and Envelope (dialogue.Transaction is one), and the parser for odd addresses (`_getaddr`).
Overridden, and why (measured with 4 KiB messages over one connection, CPU of the server per message; 12 traps: tests/unit/lmtp/test_aiosmtpd_traps.py):
  __init__          copies what SMTP.__init__ made once for the process. Its introspection (inspect.getmembers, dir) costs 185 us a connection and gives
                    the same each time; it also clears a class-level dict that all connections share.
  connection_made, data_received, eof_received, connection_lost
                    feed a Dialogue at once instead of waking the coroutine `_handle_client` per line, which reads DATA line by line (45 % of its
                    time), parses addresses by email's parser (20 %), and is cancelled by an EOF even after the final dot.
  pause_writing, resume_writing
                    a client that does not read its replies is not answered any further; there is no coroutine to await drain().
Nothing of aiosmtpd's commands, hooks, timers and replies is reached any more: AUTH, HELP, VRFY and EXPN are not there unless commands.py says so.
Timeouts are the server's (server.py), which looks at all connections a few times a minute: no timer per command.
"""

import asyncio
from typing import TYPE_CHECKING, Final, cast

from aiosmtpd.lmtp import LMTP

from bus.client import Away, Outcome, PublishRefused, Then
from config.failpoints import IS_ARMED, fail
from config.names import ItemId
from lmtp import replies
from lmtp.addresses import parse_odd
from lmtp.client import Client
from lmtp.dialogue import Dialogue
from lmtp.peers import Peer
from lmtp.replies import Reply
from lmtp.states import Assure, Delay, Pause, Publish, Secure, Want
from lmtp.tls import HANDSHAKE_S, SealedWire, TlsBroken
from lmtp.wire import has_arrived, has_unread

if TYPE_CHECKING:
    from lmtp.server import Server

MAX_WAITING: Final = 64 * 1024  # octets read ahead while a reply is awaited; then the client's sending stops

_REFUSALS: Final = {"full": replies.STOPPED, "busy": replies.BUSY, "size": replies.TOO_BIG}


class Connection(LMTP):
    """One client; used from the event loop only."""

    def __init__(self, server: "Server", name: str, peer: Peer, *, may_forward: bool) -> None:
        self.__dict__.update(server.template)
        self.server = server
        self.name = name
        self.session = self.client = Client(self.loop, name, peer, may_forward=may_forward)
        self.heard_s = 0.0  # monotonic: when a command, a part of a message or an answer of the bus last came
        self._counted = 0  # commands that were answered when `heard_s` was set
        self.closing_s = 0.0  # monotonic: since when the client may go; 0: it may not
        self._has_eof = False
        self._is_ahead = (
            False  # it wrote on before it could read the last final reply: what it writes proves nothing
        )
        self._is_paused = False
        self._begun: Want | None = None
        self._sealed: SealedWire | None = None  # since STARTTLS, where _wire is it too

    # What the transport calls -------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet."""
        self._wire = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance
        self.transport = transport
        self._socket = transport.get_extra_info("socket")
        self.dialogue = Dialogue(self.server.service, self.client, parse_odd)
        self.heard_s = self.loop.time()
        self.server.joined(self)
        self._turn()

    def data_received(self, data: bytes) -> None:
        """Answer what can be answered."""
        if self._sealed is None:
            self._take(data)
        else:
            self._open(self._sealed, data)

    def _take(self, data: bytes) -> None:
        if (
            self.dialogue.answered.ids and not self._is_ahead
        ):  # it goes on behind our final replies: it has read them
            self._note_replied()
        self.dialogue.receive(data)
        if self.dialogue.is_gathering:
            self.heard_s = self.loop.time()
        self._turn()

    def eof_received(self) -> bool:
        """Finish what is in hand: a client may shut its sending side down right behind its last command, as Exim does."""
        self._has_eof = True
        if self._sealed is not None and self._sealed.security is None:
            self._lose_tls(self._sealed, "the client left")
            return False
        if self.dialogue.want is not None or self.dialogue.is_held:
            return True  # keeps our side open for the replies
        if self.dialogue.answered.ids and self._has_left_in_order():
            self._note_replied()
        self.closing_s = (
            self.loop.time()
        )  # the transport closes when all is sent, which a client that does not read prevents
        return False

    def _has_left_in_order(self) -> bool:
        """Whether the client's end is evidence that it has read our replies.

        Not without a QUIT (RFC 5321 4.1.1.10): OpenSMTPD 6.8 reads the first final reply of several, takes the others for too much data, closes,
        and sends the message again.
        """
        is_written = self._wire.get_write_buffer_size() == 0
        return self.dialogue.has_quit and is_written and has_arrived(self._socket)

    def connection_lost(self, error: Exception | None) -> None:
        """Forget the client. What the bus stores for it stays stored, and the same mail again is known as the same."""
        dialogue = self.dialogue
        if dialogue.is_publishing or dialogue.is_gathering or (error is not None and dialogue.answered.ids):
            reason = type(error).__name__ if error else "closed"
            self.server.service.report.dropped(self.name, tuple(dialogue.answered.ids), reason)
        if self._sealed is not None and self._sealed.security is None:
            self._note_lost_tls(self._sealed, "the client left")
        dialogue.abandon()
        self.transport = None
        self.server.left(self)

    def pause_writing(self) -> None:
        """Stop answering a client that does not read."""
        self.dialogue.is_held = True
        self._regulate()

    def resume_writing(self) -> None:
        """Go on answering."""
        self.dialogue.resume()
        self._turn()

    # What the server calls ----------------------------------------------------------------------------------------------

    @property
    def has_work(self) -> bool:
        """Whether a transaction is in hand, or input waits for its turn."""
        dialogue = self.dialogue
        return dialogue.is_open or dialogue.want is not None or dialogue.waiting > 0

    @property
    def gathering_since_s(self) -> float:
        """Since when (monotonic) a message has been on its way in; 0: none is."""
        return self.dialogue.gathering_since_s if self.dialogue.is_gathering else 0.0

    @property
    def is_waiting(self) -> bool:
        """Whether the next word is the client's."""
        return self.dialogue.want is None

    @property
    def is_owed_replies(self) -> bool:
        """Whether replies wait for the client to read."""
        return self._wire.get_write_buffer_size() > 0

    def say_goodbye(self, reply: Reply) -> None:
        """End the session from our side."""
        self.dialogue.say_goodbye(reply)
        self._turn()

    def abort(self) -> None:
        """Close at once."""
        self._wire.abort()

    # A turn -------------------------------------------------------------------------------------------------------------

    def _turn(self) -> None:
        """Write all replies of this turn in one piece, begin what must be awaited, close when it is over."""
        dialogue = self.dialogue
        if dialogue.conduct.answered != self._counted:  # a command an octet at a time has its time as a whole
            self._counted = dialogue.conduct.answered
            self.heard_s = self.loop.time()
        output = dialogue.take_output()
        if output and self.transport is not None:
            self._wire.write(output)
        want = dialogue.want
        if want is not None and want is not self._begun:
            self._begun = want
            self._begin(want)
        if self.server.is_draining and not self.has_work and not dialogue.is_closing:
            return self.say_goodbye(replies.SHUTTING_DOWN)
        if want is None and not (self._is_paused or self._has_eof or dialogue.is_held or dialogue.is_closing):
            return None  # as after nearly every command
        self._regulate()
        return self._close_when_over()

    def _begin(self, want: Want) -> None:
        match want:
            case Publish():
                self._publish(want)
            case Assure():
                self.server.snapshot.assure().add_done_callback(self._assured)
            case Secure():
                self._secure(want)
            case Pause():
                self.loop.call_soon(self._go_on)
            case Delay():
                self.loop.call_later(want.seconds, self._go_on)

    # TLS ----------------------------------------------------------------------------------------------------------------

    def _secure(self, want: Secure) -> None:
        """Begin TLS: the 220 has been written, and whatever is read from now on is the handshake or breaks it."""
        assert self.server.certificates is not None  # else it is not offered
        self._wire = self._sealed = sealed = SealedWire(self._wire, self.server.certificates.context())
        self._discarded = want.discarded
        self._handshake = self.loop.call_later(HANDSHAKE_S, self._lose_tls, sealed, "no handshake in time")

    def _open(self, sealed: SealedWire, data: bytes) -> None:
        """Take what came in TLS."""
        was_secure = sealed.security is not None
        try:
            plain = sealed.open(data)
        except TlsBroken as error:
            return self._lose_tls(sealed, str(error))
        if sealed.security is not None and not was_secure:
            self._handshake.cancel()
            self.heard_s = self.loop.time()
            report = self.server.service.report
            report.secured(self.client.keys, self.client.origin.name, sealed.security, self._discarded)
            self.dialogue.secured(sealed.security)
        if plain:
            self._take(plain)
        if sealed.has_ended and not self._has_eof and not self.eof_received():
            self._wire.close()
        return None

    def _lose_tls(self, sealed: SealedWire, reason: str) -> None:
        """Close: the handshake failed, or what came is no TLS. OpenSSL's alert is on its way."""
        self._note_lost_tls(sealed, reason)
        self.dialogue.abandon()
        self._turn()

    def _note_lost_tls(self, sealed: SealedWire, reason: str) -> None:
        self._handshake.cancel()
        if self.dialogue.is_closing:
            return  # nobody waits for what a client sends after our goodbye
        is_open = sealed.security is not None
        report = self.server.service.report
        report.unsecured(self.client.keys, self.client.origin.name, reason, is_open=is_open)

    # The bus ------------------------------------------------------------------------------------------------------------

    def _publish(self, want: Publish) -> None:
        try:
            self.server.service.front.submit(want.items, want.content, want.content_keys, self._published)
        except Exception as error:  # LMTP acceptance: our own error is a 451 for each recipient
            self.server.service.report.failed(self.name, error)
            self.loop.call_soon(self._fail)

    def _fail(self) -> None:
        self._conclude(replies.FAILED)
        self._reply()

    def _published(self, outcome: Outcome) -> Then:
        """Take what became of it; the replies leave when the log has their lines."""
        self._conclude(outcome if isinstance(outcome, tuple) else self._read_failure(outcome))
        return self._reply

    def _read_failure(self, error: PublishRefused | Away) -> Reply:
        if isinstance(error, Away):
            return replies.NOT_CONFIRMED
        if error.kind in _REFUSALS:
            return _REFUSALS[error.kind]
        self.server.service.report.failed(self.name, error)
        return replies.FAILED

    def _conclude(self, outcome: tuple[ItemId, ...] | Reply) -> None:
        self.heard_s = self.loop.time()
        self._is_ahead = self.dialogue.waiting > 0
        self._begun = None  # it holds the content
        self.dialogue.published(outcome)

    def _reply(self) -> None:
        if not self._is_ahead and self.transport is not None:
            self._is_ahead = has_unread(self._socket)
        self._turn()
        if IS_ARMED:
            self.loop.call_soon(_pass_reply)  # uvloop may write only when the callbacks of this turn are done

    def _assured(self, answer: asyncio.Future[bool]) -> None:
        self.heard_s = self.loop.time()
        self.dialogue.assured(not answer.cancelled() and answer.result())
        self._turn()

    def _go_on(self) -> None:
        self.dialogue.go_on()
        self._turn()

    def _note_replied(self) -> None:
        read = self.dialogue.take_read()
        self.server.service.front.note_replied(read.ids, read.content_keys)

    def _regulate(self) -> None:
        """Read no further while much waits for its turn: the client's sending then stops by itself."""
        dialogue = self.dialogue
        is_full = (dialogue.want is not None or dialogue.is_held) and dialogue.waiting > MAX_WAITING
        if self._sealed is not None:  # a client can ask for records of TLS itself for ever, and read none
            is_full = is_full or dialogue.is_held
        if is_full != self._is_paused and self.transport is not None:
            self._is_paused = is_full
            if is_full:
                self._wire.pause_reading()
            else:
                self._wire.resume_reading()

    def _close_when_over(self) -> None:
        """Send our end and wait for the client's: closing with input unread would reset the connection and may destroy replies."""
        if self.transport is None:
            return
        is_over = self.dialogue.is_closing
        if self._has_eof and (is_over or (self.dialogue.want is None and not self.dialogue.is_held)):
            self.closing_s = self.closing_s or self.loop.time()
            self._wire.close()
        elif is_over and not self.closing_s:
            self.closing_s = self.loop.time()
            if self._wire.can_write_eof():
                self._wire.write_eof()
            else:
                self._wire.close()


def _pass_reply() -> None:
    fail("lmtp.reply.after")
