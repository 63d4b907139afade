"""TLS on a connection that began without it (STARTTLS, RFC 3207): the transport behind the handshake, and the certificates in use.

The handshake and the records are OpenSSL's, on two buffers in memory (ssl.MemoryBIO); our own transport stays what it is beneath. So both event loops do
the same, and what a connection relies on goes on to hold: pausing, half-closing, the size of what is not sent yet. Not loop.start_tls: behind it a client
that shuts its sending side down loses the replies that it is owed (asyncio drops what is written after that), and its buffers are the loop's.
Which command may come when is states.py's; what is offered to whom is service.py's.
"""

import asyncio
import os
import ssl
from contextlib import suppress
from typing import Any, Final

import structlog
from msgspec import Struct

from config.certificates import BadCertificate, make_context
from config.lmtp_settings import LmtpSettings

HANDSHAKE_S: Final = 30.0  # a handshake takes milliseconds and two round trips; nginx allows 60 s, Postfix 300 s and 10 s under stress
READ_SIZE: Final = 64 * 1024  # octets that OpenSSL is asked for at a time; a record has 16 KiB at most
MAX_SUBJECT: Final = 255  # characters of a client certificate's subject that are kept


class TlsBroken(Exception):
    """What came is no TLS, or not what was agreed; the text is for the log."""


class Security(Struct, frozen=True):
    """What a handshake has agreed."""

    version: str
    cipher: str
    subject: str  # of the client's certificate, which a CA in tls_client_ca has signed; "": it has shown none


class SealedWire(asyncio.Transport):
    """A transport in TLS: what is written is sealed first, what was read is opened by `open`. Only what a connection uses is there."""

    def __init__(self, wire: asyncio.Transport, context: ssl.SSLContext) -> None:
        super().__init__()
        self._wire = wire
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self.security: Security | None = None  # None: the handshake is still going on
        self._may_write = False
        self.has_ended = False  # the client said that nothing more comes (close_notify)

    def open(self, octets: bytes) -> bytes:
        """Take octets from below; return what lay in them. Raises TlsBroken; an alert is on its way then, and nothing can be written any more."""
        self._incoming.write(octets)
        try:
            if self.security is None:
                self._tls.do_handshake()
                self.security = self._describe()
                self._may_write = True
            return self._read()
        except ssl.SSLWantReadError:
            return b""
        except ssl.SSLError as error:
            self._may_write = False
            reason = getattr(error, "verify_message", "") or error.reason or str(error)
            raise TlsBroken(reason.replace("_", " ").lower()) from error
        finally:
            self._send()

    def _read(self) -> bytes:
        parts: list[bytes] = []
        try:
            while part := self._tls.read(READ_SIZE):
                parts.append(part)
            self.has_ended = True
        except ssl.SSLWantReadError:
            pass  # that was all
        except ssl.SSLZeroReturnError:
            self.has_ended = True
        return b"".join(parts)

    def _send(self) -> None:
        if self._outgoing.pending:
            self._wire.write(self._outgoing.read())

    def _describe(self) -> Security:
        cipher = self._tls.cipher()
        certificate = self._tls.getpeercert() or {}
        return Security(self._tls.version() or "", cipher[0] if cipher else "", _spell_subject(certificate))

    # What asyncio.Transport promises ------------------------------------------------------------------------------------

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Seal and send; before the end of the handshake, and when TLS broke, nothing can be said."""
        if self._may_write:
            self._tls.write(data)
            self._send()

    def can_write_eof(self) -> bool:
        """Whether our side can be ended while the client's goes on."""
        return self._wire.can_write_eof()

    def write_eof(self) -> None:
        """End our side, in TLS and below."""
        self._say_end()
        self._wire.write_eof()

    def close(self) -> None:
        """Close when all is sent."""
        self._say_end()
        self._wire.close()

    def _say_end(self) -> None:
        if self._may_write:
            self._may_write = False
            with suppress(ssl.SSLError):  # it asks for the client's own end, for which nobody waits
                self._tls.unwrap()
        self._send()

    def abort(self) -> None:
        """Close at once."""
        self._wire.abort()

    def pause_reading(self) -> None:
        """Take nothing from below."""
        self._wire.pause_reading()

    def resume_reading(self) -> None:
        """Take octets again."""
        self._wire.resume_reading()

    def get_write_buffer_size(self) -> int:
        """Return how many sealed octets wait to be sent."""
        return self._wire.get_write_buffer_size()


def _spell_subject(certificate: dict[str, Any]) -> str:
    """Write the subject of a certificate as getpeercert() gives it: "CN=mx.example.net,O=Example"."""
    short = {"commonName": "CN", "organizationName": "O", "organizationalUnitName": "OU", "countryName": "C"}
    pairs = [pair for group in certificate.get("subject", ()) for pair in group]
    pairs = pairs or [
        pair for pair in certificate.get("subjectAltName", ())
    ]  # newer CAs leave the subject empty
    subject = ",".join(f"{short.get(key, key)}={value}" for key, value in reversed(pairs))[:MAX_SUBJECT]
    return "".join(letter if letter.isprintable() else "?" for letter in subject)  # its CA may sign anything


class Certificates:
    """The files of `[lmtp] tls_*`, read at the start and again when one of them has changed. Raises BadCertificate at the start."""

    def __init__(self, lmtp: LmtpSettings, log: structlog.typing.FilteringBoundLogger) -> None:
        self._lmtp = lmtp
        self._log = log
        self._stamps = self._look()
        self._context = make_context(lmtp)

    def context(self) -> ssl.SSLContext:
        """Return what the next handshake uses. Changed files that cannot be used are told once, and what was read before stays."""
        stamps = self._look()
        if stamps != self._stamps:
            self._stamps = stamps
            try:
                self._context = make_context(self._lmtp)
            except BadCertificate as error:
                self._log.error("tls.unread", error=str(error))
            else:
                self._log.info("tls.renewed", file=self._lmtp.tls_cert)
        return self._context

    def _look(self) -> tuple[tuple[int, int, int], ...]:
        return tuple(
            _stamp(file)
            for file in (self._lmtp.tls_cert, self._lmtp.tls_key, self._lmtp.tls_client_ca)
            if file
        )


def _stamp(file: str) -> tuple[int, int, int]:
    """Return what changes when a file is written anew or replaced; follows links, as certbot makes them."""
    try:
        found = os.stat(file)
    except OSError:
        return (0, 0, 0)
    return (found.st_ino, found.st_size, found.st_mtime_ns)
