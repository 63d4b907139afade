"""The transport in TLS against every octet: what comes is opened, is not there yet, or is TlsBroken; nothing else is ever raised."""

import asyncio
import contextlib
import ssl
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from config.certificates import make_context
from config.lmtp_settings import LmtpSettings
from lmtp.tls import SealedWire, TlsBroken
from tests.support.authority import SERVER, Authority

LAW = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


class Wire(asyncio.Transport):
    """What lies below: keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.is_ended = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += bytes(data)

    def write_eof(self) -> None:
        self.is_ended = True

    def take(self) -> bytes:
        written, self.written = self.written, b""
        return written


class Session:
    """Both sides of one connection, in memory."""

    def __init__(self, server: ssl.SSLContext, client: ssl.SSLContext) -> None:
        self.wire = Wire()
        self.sealed = SealedWire(self.wire, server)
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.client = client.wrap_bio(self._in, self._out, server_hostname=SERVER)

    def shake_hands(self) -> None:
        while self.sealed.security is None:
            with contextlib.suppress(ssl.SSLWantReadError):
                self.client.do_handshake()
            self.sealed.open(self._out.read())
            self._in.write(self.wire.take())

    def say(self, plain: bytes) -> bytes:
        """Seal what the client says; return it as it goes over the wire."""
        self.client.write(plain)
        return self._out.read()

    def hear(self) -> bytes:
        """Return what the server has said."""
        self._in.write(self.wire.take())
        heard = b""
        with contextlib.suppress(ssl.SSLWantReadError, ssl.SSLZeroReturnError):
            while part := self.client.read():
                heard += part
        return heard


@pytest.fixture(scope="module")
def contexts(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """The server's and the client's."""
    folder: Path = tmp_path_factory.mktemp("ca")
    authority = Authority(folder)
    return make_context(LmtpSettings(**authority.options())), authority.trust()


@pytest.fixture
def session(contexts: tuple[ssl.SSLContext, ssl.SSLContext]) -> Session:
    """A session whose handshake is done."""
    made = Session(*contexts)
    made.shake_hands()
    return made


@LAW
@given(chunks=st.lists(st.binary(max_size=300), max_size=8))
def test_garbage_for_a_handshake_is_waited_for_or_broken(
    contexts: tuple[ssl.SSLContext, ssl.SSLContext], chunks: list[bytes]
) -> None:
    sealed = SealedWire(Wire(), contexts[0])
    with contextlib.suppress(TlsBroken):
        for chunk in chunks:
            assert sealed.open(chunk) == b""
    sealed.write(b"never in the clear")
    sealed.write_eof()
    assert sealed.security is None
    assert b"clear" not in sealed._wire.take()  # type: ignore[attr-defined]


@LAW
@given(parts=st.lists(st.binary(min_size=1, max_size=40_000), max_size=4), data=st.data())
def test_what_is_said_comes_out_however_it_was_cut(
    contexts: tuple[ssl.SSLContext, ssl.SSLContext], parts: list[bytes], data: st.DataObject
) -> None:
    session = Session(*contexts)
    session.shake_hands()
    octets = b"".join(session.say(part) for part in parts)
    heard = b""
    while octets:
        size = data.draw(st.integers(1, len(octets)))
        heard += session.sealed.open(octets[:size])
        octets = octets[size:]
    assert heard == b"".join(parts)
    session.sealed.write(heard or b"nothing")
    assert session.hear() == (heard or b"nothing")


@LAW
@given(place=st.integers(0, 40), flip=st.integers(1, 255))
def test_one_wrong_bit_breaks_it_and_nothing_is_said_after(
    contexts: tuple[ssl.SSLContext, ssl.SSLContext], place: int, flip: int
) -> None:
    session = Session(*contexts)
    session.shake_hands()
    octets = bytearray(session.say(b"MAIL FROM:<anne@example.net>\r\n"))
    octets[place] ^= flip
    with contextlib.suppress(TlsBroken):
        assert session.sealed.open(bytes(octets)) == b""  # a longer record is waited for
        return
    session.wire.take()  # an alert
    session.sealed.write(b"250 2.1.0 Sender ok\r\n")
    assert session.wire.take() == b""


def test_a_client_that_ended_its_side_is_still_answered(session: Session) -> None:
    """TLS 1.3 ends each side on its own (RFC 8446 6.1)."""
    octets = session.say(b"QUIT\r\n")
    with contextlib.suppress(ssl.SSLWantReadError):
        session.client.unwrap()
    assert session.sealed.open(octets + session._out.read()) == b"QUIT\r\n"
    assert session.sealed.has_ended
    session.sealed.write(b"221 2.0.0 Bye\r\n")
    assert session.wire.written
    session.sealed.write_eof()
    assert session.wire.is_ended


def test_our_end_is_said_once(session: Session) -> None:
    """close_notify, then nothing."""
    session.sealed.write_eof()
    said = session.wire.take()
    assert said
    session.sealed.write(b"late")
    session.sealed.write_eof()
    assert session.wire.take() == b""
