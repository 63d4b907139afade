"""Speaks SMTP to the site's MTA: one connection, many transactions, each with every command in one write (RFC 2920).

Built on smtplib for connecting, EHLO and reading replies; its `sendmail` waits for every single reply (8,500 recipients a
second measured, 100,000 and more with one write). Blocking: outgoing.py calls it in threads. Trusts the site's MTA to speak
SMTP, not to stay. Says exactly what is known after a failure: nothing was sent (Away), or nobody can know (ReplyLost).
"""

import contextlib
import re
import select
import smtplib
import socket
from collections.abc import Sequence

from msgspec import Struct

from config.failpoints import fail
from config.settings import OutgoingSettings, Settings

MAX_TEXT = 250  # characters of a reply that are kept, in a note of 100 recipients too; RFC 5321 4.5.3.1.5 allows 512 octets a line
_OURS_TO_MEND = frozenset(
    {530, 534, 535, 538}
)  # "log in first": the site's configuration, not the message (RFC 4954 6)
_UNEVEN_LINE_END = re.compile(rb"(?<!\r)\n|\r(?!\n)")
_UNSENDABLE = re.compile(r"[\x00-\x1f\x7f<>]")

Reply = tuple[int, str]
Mail = tuple[str, str]  # reverse-path and recipient of a transaction for one

_NOT_ASKED: Reply = (503, "5.5.1 not asked")
_NOTHING = ""


class Away(Exception):
    """The MTA cannot be reached or takes nothing now; nothing of this transaction was sent."""


class ReplyLost(Exception):
    """The message was sent whole, and no reply to it came: the MTA may have taken it or not."""


class Batch(Struct, frozen=True):
    """What became of transactions of one recipient each, in their order: the replies of those that ended, and what broke off the others.

    After a ReplyLost the transaction behind these replies is in doubt. Of all others behind them nothing was sent.
    """

    replies: tuple[Reply, ...]
    broken: Away | ReplyLost | None = None


class WireMessage(Struct, frozen=True):
    """A message as DATA sends it, final dot included; made once for all transactions of an item."""

    data: bytes
    size: int  # octets before dots were doubled, as RFC 1870 counts them
    is_8bit: bool


def wire_message(content: bytes) -> WireMessage:
    """Double leading dots and end every line in CRLF: a bare LF that leaves can end the message at some servers (RFC 5321 4.1.1.4)."""
    even = even_line_ends(content)
    if not even.endswith(b"\r\n"):
        even += b"\r\n"
    dotted = even.replace(b"\r\n.", b"\r\n..")
    if dotted.startswith(b"."):
        dotted = b"." + dotted
    return WireMessage(data=dotted + b".\r\n", size=len(even), is_8bit=not content.isascii())


def even_line_ends(content: bytes) -> bytes:
    """Return the message with CRLF for every bare CR and LF; the very same object when there is none."""
    return _UNEVEN_LINE_END.sub(b"\r\n", content)


class Connection:
    """One connection to the MTA, opened when it is needed."""

    def __init__(self, settings: Settings) -> None:
        self._outgoing: OutgoingSettings = settings.outgoing
        self._helo = settings.outgoing.helo or settings.site.name
        self._smtp: _Smtp | None = None
        self._used = False  # at least one transaction went well: the MTA may have closed it since

    def is_open(self) -> bool:
        """Say whether a transaction can begin at once: connected, and the MTA has said nothing since."""
        if self._smtp is None or self._smtp.sock is None:
            return False
        poll = select.poll()
        poll.register(self._smtp.sock, select.POLLIN)
        return not poll.poll(0)  # readable when idle: a 421, or closed

    def open(self) -> None:
        """Connect and say EHLO, unless that is done; raises Away."""
        if self.is_open():
            return
        self.drop()
        host, _, port = self._outgoing.smtp.rpartition(":")
        smtp = _Smtp(local_hostname=self._helo, timeout=self._outgoing.timeout_s)
        try:
            _expect(smtp.connect(host.strip("[]"), int(port)))
            smtp.ehlo_or_helo_if_needed()
        except (OSError, smtplib.SMTPException) as error:
            smtp.close()
            raise Away(f"{self._outgoing.smtp}: {_told(error)}") from error
        smtp.tune()
        self._smtp, self._used = smtp, False

    def transact(
        self, reverse_path: str, recipients: Sequence[str], message: WireMessage
    ) -> tuple[Reply, ...]:
        """Send one message to some recipients and return the reply that decides about each of them.

        An idle connection that the MTA has closed is opened again, which is no error, and so is one that takes no more. Raises Away or ReplyLost.
        """
        for may_be_stale in (True, False):
            self.open()
            assert self._smtp is not None
            try:
                replies = self._smtp.transact(
                    reverse_path, recipients, message, self._outgoing.data_timeout_s
                )
            except (Away, ReplyLost) as error:
                self.drop()
                if self._used and may_be_stale and isinstance(error, Away):
                    self._used = False
                    continue
                raise
            self._used = True
            return replies
        raise AssertionError("unreachable")

    def transact_each(self, mails: Sequence[Mail], message: WireMessage) -> Batch:
        """Send one message in a transaction for each of `mails`, until one cannot be made.

        A connection that takes no more after some of them (closed, 421, or 4xx to MAIL) is opened again for the rest.
        """
        done: list[Reply] = []
        while True:
            may_be_stale = self._used
            try:
                self.open()
            except Away as error:
                return Batch(tuple(done), error)
            assert self._smtp is not None
            batch = self._smtp.transact_each(mails[len(done) :], message, self._outgoing.data_timeout_s)
            done += batch.replies
            self._used = self._used or bool(batch.replies)
            if batch.broken is None:
                return Batch(tuple(done))
            self.drop()
            if isinstance(batch.broken, ReplyLost) or not (batch.replies or may_be_stale):
                return Batch(tuple(done), batch.broken)
            self._used = False

    def quit(self) -> None:
        """Leave politely, without waiting for the answer (RFC 5321 4.1.1.10 lets us)."""
        if self._smtp is not None and self.is_open():
            with contextlib.suppress(OSError, smtplib.SMTPException):
                self._smtp.putcmd("quit")
        self.drop()

    def drop(self) -> None:
        """Close at once."""
        if self._smtp is not None:
            self._smtp.close()
            self._smtp = None


class _Smtp(smtplib.SMTP):
    """smtplib's connection with transactions of our own."""

    _unfinished = False  # the last transaction ended before its data: RSET goes first
    _has_taken = False  # this connection has taken a message

    def tune(self) -> None:
        """Send what is written at once: a transaction is two writes, each waited for."""
        if self.sock is not None and self.sock.family in (socket.AF_INET, socket.AF_INET6):
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def transact(
        self, reverse_path: str, recipients: Sequence[str], message: WireMessage, data_timeout_s: float
    ) -> tuple[Reply, ...]:
        """Make one transaction; raises Away (nothing sent) or ReplyLost."""
        results: list[Reply | None] = [self._unsendable(recipient) for recipient in recipients]
        asked = [index for index, result in enumerate(results) if result is None]
        if not asked:
            return tuple(result for result in results if result is not None)
        try:
            mail, answers, data = self._envelope(
                reverse_path, [recipients[index] for index in asked], message
            )
        except (OSError, smtplib.SMTPException) as error:
            raise Away(_told(error)) from error
        self._leave_when_enough(mail)
        refusal = _refusal(mail)
        for index, answer in zip(asked, answers, strict=True):
            results[index] = refusal or _refusal(answer, to_rcpt=True)
        waiting = [index for index in asked if results[index] is None]
        end = self._data(data, message if waiting else None, data_timeout_s)
        return tuple(end if result is None else result for result in results)

    def transact_each(self, mails: Sequence[Mail], message: WireMessage, data_timeout_s: float) -> Batch:
        """Make a transaction for each; where the MTA offers PIPELINING the next envelope leaves before the reply to this one's final dot."""
        replies: list[Reply] = []
        is_ahead = False  # the envelope of the next one has been sent
        try:
            for index, (reverse_path, recipient) in enumerate(mails):
                refusal = self._unsendable(recipient)
                if refusal is None and self.sock is None:
                    raise Away("connection lost")
                if refusal is not None:
                    replies.append(refusal)
                    continue
                if is_ahead:
                    mail, answers, data = self._hear(1)
                else:
                    mail, answers, data = self._envelope(reverse_path, [recipient], message)
                self._leave_when_enough(mail)
                refusal = _refusal(mail) or _refusal(answers[0], to_rcpt=True)
                follow = _NOTHING
                if refusal is None and data[0] == 354:
                    follow = self._next_envelope(mails[index + 1 :], message)
                end = self._data(data, None if refusal else message, data_timeout_s, follow)
                is_ahead = follow != _NOTHING
                self._unfinished = self._unfinished or is_ahead
                replies.append(refusal or end)
        except (Away, ReplyLost) as error:
            return Batch(tuple(replies), error)
        except (OSError, smtplib.SMTPException) as error:
            return Batch(tuple(replies), Away(_told(error)))
        return Batch(tuple(replies))

    def _leave_when_enough(self, mail: Reply) -> None:
        """Raise Away for a 4xx to MAIL behind a message that was taken: it may be about the connection, and a new one tells.

        OpenSMTPD 6.8 lets a session have 100 messages and then answers every MAIL 452, without closing: kept open, it would never take one again.
        """
        if self._has_taken and mail[0] // 100 == 4:
            raise Away(f"{mail[0]} {mail[1]}")

    def _next_envelope(self, mails: Sequence[Mail], message: WireMessage) -> str:
        """Return the commands of the next transaction if they may be sent ahead (RFC 2920 3.1), "" else."""
        if not mails or not self.has_extn("pipelining") or self._unsendable(mails[0][1]):
            return _NOTHING
        reverse_path, recipient = mails[0]
        return "\r\n".join([*self._commands(reverse_path, [recipient], message), ""])

    def _unsendable(self, recipient: str) -> Reply | None:
        """Answer for the MTA where its answer is sure and asking would be harmful or against RFC 6531 3.1."""
        if not recipient or _UNSENDABLE.search(recipient):
            return 553, "5.1.3 not an address"
        if not recipient.isascii() and not self.has_extn("smtputf8"):
            return 553, "5.6.7 the MTA does not offer SMTPUTF8"
        return None

    def _envelope(
        self, reverse_path: str, recipients: Sequence[str], message: WireMessage
    ) -> tuple[Reply, list[Reply], Reply]:
        """Say MAIL, RCPT and DATA; in one write where the MTA offers PIPELINING, else one by one."""
        commands = self._commands(reverse_path, recipients, message)
        first = ["RSET"] if self._unfinished else []
        self._unfinished = True
        if self.has_extn("pipelining"):
            self._write("\r\n".join([*first, *commands, ""]))
            for _ in first:
                self._reply()
            return self._hear(len(recipients))
        replies = self._one_by_one(first, commands)
        return replies[0], replies[1:-1], replies[-1]

    def _commands(
        self, reverse_path: str, recipients: Sequence[str], message: WireMessage
    ) -> tuple[str, ...]:
        mail = f"MAIL FROM:<{reverse_path}>{self._parameters(reverse_path, recipients, message)}"
        return (mail, *(f"RCPT TO:<{recipient}>" for recipient in recipients), "DATA")

    def _hear(self, number: int) -> tuple[Reply, list[Reply], Reply]:
        """Read the replies to an envelope with so many recipients."""
        return self._reply(), [self._reply() for _ in range(number)], self._reply()

    def _one_by_one(self, first: Sequence[str], commands: Sequence[str]) -> list[Reply]:
        """Wait for each reply; what a refused MAIL or no good RCPT makes pointless is not said."""
        for command in first:
            self._ask(command)
        mail = self._ask(commands[0])
        if not _is_good(mail):
            return [mail, *[_NOT_ASKED] * (len(commands) - 1)]
        answers = [self._ask(command) for command in commands[1:-1]]
        return [mail, *answers, self._ask(commands[-1]) if any(map(_is_good, answers)) else _NOT_ASKED]

    def _ask(self, command: str) -> Reply:
        self._write(command + "\r\n")
        return self._reply()

    def _parameters(self, reverse_path: str, recipients: Sequence[str], message: WireMessage) -> str:
        """Return the parameters of MAIL: what the MTA offers and this message needs.

        SMTPUTF8 only for an address beyond ASCII: it makes hosts without it refuse a message that they take otherwise.
        """
        text = f" SIZE={message.size}" if self.has_extn("size") else ""
        if message.is_8bit and self.has_extn("8bitmime"):
            text += " BODY=8BITMIME"
        if self.has_extn("smtputf8") and not all(map(str.isascii, (reverse_path, *recipients))):
            text += " SMTPUTF8"
        return text

    def _data(
        self, data: Reply, message: WireMessage | None, timeout_s: float, follow: str = _NOTHING
    ) -> Reply:
        """Send the message after a 354 and return the MTA's word on it; None sends nobody's mail (RFC 2920 3.1).

        `follow` is sent behind the final dot, before its reply is read. In a write of its own: an error of the first is sure to have kept the dot back.
        """
        if data[0] != 354:
            return _verdict(data)
        assert self.sock is not None
        if message is None:
            try:
                self._write(".\r\n")
                self._reply()
            except (
                OSError,
                smtplib.SMTPException,
                Away,
            ):  # all were refused before; only the connection is lost
                self.close()
            return data
        fail("outgoing.data.before")
        try:
            self.sock.sendall(message.data)
        except (
            OSError
        ) as error:  # the final dot never left, so nobody has it; and it may be the message's fault
            self.close()
            return 451, f"4.4.2 connection lost while sending: {_told(error)}"
        with contextlib.suppress(OSError):  # what became of the message the reply says, or its absence
            self._write(follow)
        self.sock.settimeout(timeout_s)
        try:
            reply = self._reply()
        except (OSError, smtplib.SMTPException) as error:
            raise ReplyLost(_told(error)) from error
        self.sock.settimeout(self.timeout)
        self._unfinished = False
        self._has_taken = self._has_taken or _is_good(reply)
        return _verdict(reply)

    def _write(self, text: str) -> None:
        assert self.sock is not None
        self.sock.sendall(text.encode("utf-8"))

    def _reply(self) -> Reply:
        """Read one reply; raises Away for a 421 and for what asks this site to log in."""
        code, text = self.getreply()
        reply = code, _one_line(text)
        if code == 421 or code in _OURS_TO_MEND:
            self.close()
            raise Away(f"{code} {reply[1]}")
        if not 200 <= code < 600:
            raise smtplib.SMTPResponseException(code, text)
        return reply


def _refusal(reply: Reply, *, to_rcpt: bool = False) -> Reply | None:
    return None if _is_good(reply) else _verdict(reply, to_rcpt=to_rcpt)


def _is_good(reply: Reply) -> bool:
    return reply[0] // 100 == 2


def _verdict(reply: Reply, *, to_rcpt: bool = False) -> Reply:
    """Return a reply as 2xx, 4xx or 5xx: anything else decides nothing, and is tried again.

    552 to RCPT without an enhanced code is read as 452, "too many recipients" (RFC 5321 4.5.3.1.10).
    """
    code, text = reply
    if code // 100 not in (2, 4, 5):
        return 451, f"4.5.0 unexpected reply {code} {text}"
    return (452, text) if to_rcpt and code == 552 and not text.startswith("5.") else reply


def _expect(reply: tuple[int, bytes]) -> None:
    if reply[0] != 220:
        raise smtplib.SMTPConnectError(reply[0], reply[1])


def _told(error: Exception) -> str:
    """Describe an error of socket or protocol in one line."""
    if isinstance(error, smtplib.SMTPResponseException):
        text = error.smtp_error
        return f"{error.smtp_code} {_one_line(text if isinstance(text, bytes) else text.encode())}"
    return f"{type(error).__name__}: {error}"[:MAX_TEXT]


def _one_line(text: bytes) -> str:
    """Make a reply's text one printable line of bounded length."""
    line = " ".join(text.decode("utf-8", "replace").split())
    return "".join(character if character.isprintable() else "?" for character in line)[:MAX_TEXT]
