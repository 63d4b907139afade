"""STARTTLS over real sockets, on both event loops, with stand-ins for lists and bus (RFC 3207)."""

import asyncio
import contextlib
import os
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from lmtp import connection
from tests.support.authority import Authority
from tests.support.lmtp_parts import LHLO, Talk, make_parts
from tests.support.loop_thread import Running, running_server
from tests.support.waiting import wait_until
from tests.support.wire import Wire, code, make_mail, stuff

LOOPS = ("asyncio", "uvloop")
ONE = ["MAIL FROM:<anne@example.net>", "RCPT TO:<ant@example.org>", "DATA"]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """A CA that has issued our certificate."""
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(params=LOOPS)
def running(request: pytest.FixtureRequest, authority: Authority) -> Iterator[Running]:
    """A server on either loop that offers TLS and asks for certificates."""
    with running_server(request.param, **authority.options(ca=True)) as server:
        yield server


def is_turned_away(wire: Wire, context: ssl.SSLContext) -> bool:
    """Try to go on in TLS; whether the server ended it. In TLS 1.3 a client learns that its certificate is no good when it reads."""
    try:
        wire.start_tls(context, lhlo=False)
        return not wire.sock.recv(1)
    except (ssl.SSLError, ConnectionResetError):
        return True


# The session ----------------------------------------------------------------------------------------------------------


def test_everything_said_in_the_clear_is_forgotten() -> None:
    """RFC 3207 4.2: LHLO must be said again, XFORWARD too, and STARTTLS is offered no more."""
    talk = Talk(make_parts(tls_cert="x"))
    assert b"250-STARTTLS\r\n" in talk.send(LHLO)
    talk.send(b"XFORWARD NAME=in.the.clear\r\n")
    assert talk.codes(b"STARTTLS\r\n") == ["220 2.0.0"]
    assert talk.codes(b"MAIL FROM:<a@b>\r\n") == ["503 5.5.1"]
    assert b"STARTTLS" not in talk.send(LHLO)
    assert talk.codes(b"STARTTLS\r\n") == ["503 5.5.1"]
    talk.send(b"MAIL FROM:<a@b>\r\nRCPT TO:<ant@example.org>\r\nDATA\r\n" + stuff(make_mail()))
    ((item, _),) = talk.parts.front.published
    client = msgspec.msgpack.decode(item.args["client"])
    assert client["tls"] == {"version": "TLSv1.3", "cipher": "TLS_AES_256_GCM_SHA384", "subject": ""}
    assert "xforward" not in client


def test_without_a_certificate_it_is_not_there() -> None:
    talk = Talk(make_parts())
    assert b"STARTTLS" not in talk.send(LHLO)
    assert talk.codes(b"STARTTLS\r\n") == ["502 5.5.1"]


def test_what_follows_in_the_clear_is_neither_answered_nor_done() -> None:
    """CVE-2011-0411: somebody between could have put it there."""
    talk = Talk(make_parts(tls_cert="x"), hold=True)
    talk.send(LHLO)
    assert talk.codes(b"STARTTLS\r\nMAIL FROM:<mallory@example.com>\r\n") == ["220 2.0.0"]
    talk.give()
    assert talk.codes(LHLO + b"RCPT TO:<ant@example.org>\r\n")[-1] == "503 5.5.1"


@pytest.mark.parametrize("require", ["tls", "certificate"])
def test_required_tls_comes_before_everything_else(require: str) -> None:
    """RFC 3207 4: but for NOOP, LHLO, STARTTLS and QUIT; what is no command stays what it is."""
    talk = Talk(make_parts(tls_cert="x", tls_require=require))
    commands = (
        b"MAIL FROM:<a@b>",
        b"RCPT TO:<ant@example.org>",
        b"DATA",
        b"RSET",
        b"VRFY a",
        b"XFORWARD NAME=a",
    )
    assert talk.codes(b"".join(line + b"\r\n" for line in commands)) == ["530 5.7.0"] * 6
    assert b"250-STARTTLS\r\n" in talk.send(LHLO)
    assert talk.codes(b"".join(line + b"\r\n" for line in commands)) == ["530 5.7.0"] * 6
    assert talk.codes(b"NOOP\r\nFOO\r\nEHLO a\r\nSTARTTLS now\r\nSTARTTLS\r\n") == [
        "250 2.0.0",
        "500 5.5.1",
        "500 5.5.1",
        "501 5.5.4",
        "220 2.0.0",
    ]
    talk.send(LHLO)
    assert talk.codes(b"MAIL FROM:<a@b>\r\nQUIT\r\n") == ["250 2.1.0", "221 2.0.0"]


# Real handshakes ------------------------------------------------------------------------------------------------------


def test_a_message_is_taken_in_tls(running: Running, authority: Authority) -> None:
    """TLS 1.3 where both can; the log says what was agreed."""
    with Wire.connect(running.address) as wire:
        wire.start_tls(authority.trust())
        mail = make_mail(body=b"x" * 200_000 + b"\r\n")
        assert [code(each) for each in wire.mail(mail, "ant@example.org")] == ["250 2.0.0"]
        assert wire.codes("QUIT") == ["221 2.0.0"]
        assert wire.ends()
    assert [content for _, content in running.parts.front.published] == [mail]
    (line,) = running.parts.events("tls.secured")
    assert (line["version"], line["subject"], line["peer"]) == ("TLSv1.3", "", "127.0.0.1")
    wait_until(running.server.is_empty.is_set)


def test_a_client_certificate_is_known_by_its_subject(running: Running, authority: Authority) -> None:
    with Wire.connect(running.address) as wire:
        wire.start_tls(authority.trust(certificate="mx.example.net"))
        wire.mail(make_mail(), "ant@example.org")
    ((item, _),) = running.parts.front.published
    assert "CN=mx.example.net" in msgspec.msgpack.decode(item.args["client"])["tls"]["subject"]


def test_what_a_certificate_says_cannot_act_on_a_terminal(running: Running, authority: Authority) -> None:
    """A CA may sign any name."""
    made = authority.ca.issue_cert("mx.example.net", common_name="mx\x1b[2J\u202eten")
    file = authority.folder / "odd.pem"
    made.private_key_and_cert_chain_pem.write_to_path(str(file))
    context = authority.trust()
    context.load_cert_chain(file)
    with Wire.connect(running.address) as wire:
        wire.start_tls(context)
    (line,) = running.parts.events("tls.secured")
    assert "CN=mx?[2J?ten" in line["subject"]


def test_a_certificate_of_another_ca_ends_the_connection(running: Running, authority: Authority) -> None:
    """Also where none is required: whoever shows one that is no good is not who it should be."""
    other = Authority(authority.folder / "other")
    context = authority.trust()
    context.load_cert_chain(other.client("mx.example.net"))
    with Wire.connect(running.address) as wire:
        assert is_turned_away(wire, context)
    (line,) = wait_until(lambda: running.parts.events("tls.failed"))
    assert "issuer" in line["reason"]
    wait_until(running.server.is_empty.is_set)


def test_a_certificate_that_is_named_itself_lets_in_no_other_of_its_ca(authority: Authority) -> None:
    """The file of CAs holds the client's own certificate, and neither its CA nor its key."""
    mx = authority.client("mx.example.net")
    named = authority.folder / "named.pem"
    named.write_bytes(mx.read_bytes()[mx.read_bytes().index(b"-----BEGIN CERTIFICATE") :])
    options = authority.options(require="certificate") | {"tls_client_ca": str(named)}
    with running_server("uvloop", **options) as running:
        context = authority.trust()
        context.load_cert_chain(mx)
        with Wire.connect(running.address) as wire:
            wire.start_tls(context)
            assert wire.codes("NOOP") == ["250 2.0.0"]
        with Wire.connect(running.address) as wire:
            assert is_turned_away(wire, authority.trust(certificate="other.example.net"))


@pytest.mark.parametrize("loop", LOOPS)
def test_a_required_certificate_must_be_shown(loop: str, authority: Authority) -> None:
    with running_server(loop, **authority.options(require="certificate")) as running:
        with Wire.connect(running.address) as wire:
            wire.start_tls(authority.trust(certificate="mx.example.net"))
            assert wire.codes("NOOP") == ["250 2.0.0"]
        with Wire.connect(running.address) as wire:
            assert is_turned_away(wire, authority.trust())
        assert wait_until(lambda: running.parts.events("tls.failed"))


@pytest.mark.parametrize("behind", [b"MAIL FROM:<mallory@example.com>\r\n", b"NOOP\r\n" * 1000])
def test_octets_smuggled_behind_starttls_are_gone(
    running: Running, authority: Authority, behind: bytes
) -> None:
    with Wire.connect(running.address) as wire:
        wire.send_raw(b"STARTTLS\r\n" + behind)
        assert code(wire.reply()) == "220 2.0.0"
        wire.shake_hands(authority.trust())
        assert wire.codes("RCPT TO:<ant@example.org>", "NOOP") == ["503 5.5.1", "250 2.0.0"]
    assert running.parts.events("tls.secured")[0]["discarded"] == len(behind)


def test_octets_in_the_clear_instead_of_a_handshake_end_the_connection(running: Running) -> None:
    """Injected behind our 220, before the client's hello."""
    with Wire.connect(running.address) as wire:
        assert wire.codes("STARTTLS") == ["220 2.0.0"]
        wire.send("MAIL FROM:<mallory@example.com>")
        while octets := wire.sock.recv(4096):
            assert not octets.startswith(b"2")  # an alert, and nothing else
    assert wait_until(lambda: running.parts.events("tls.failed"))
    wait_until(running.server.is_empty.is_set)


def test_a_handshake_has_its_time(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "HANDSHAKE_S", 0.05)
    with Wire.connect(running.address) as wire:
        assert wire.codes("STARTTLS") == ["220 2.0.0"]
        assert wire.sock.recv(4096) == b""
    (line,) = wait_until(lambda: running.parts.events("tls.failed"))
    assert "in time" in line["reason"]
    wait_until(running.server.is_empty.is_set)


@pytest.mark.parametrize("is_reset", [True, False], ids=["reset", "closed"])
def test_a_client_that_leaves_within_the_handshake_is_noted(running: Running, is_reset: bool) -> None:
    """Once, and its timer does not outlive it."""
    with Wire.connect(running.address) as wire:
        assert wire.codes("STARTTLS") == ["220 2.0.0"]
        (left,) = running.server._connections
        if is_reset:
            wire.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        else:
            wire.sock.shutdown(socket.SHUT_WR)
            assert wire.sock.recv(4096) == b""
    wait_until(running.server.is_empty.is_set)
    (line,) = running.parts.events("tls.failed")
    assert line["reason"] == "the client left"
    assert left._handshake.cancelled()


def test_a_handshake_an_octet_at_a_time(running: Running, authority: Authority) -> None:
    """Records are cut anywhere."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = authority.trust().wrap_bio(incoming, outgoing, server_hostname="lists.example.org")
    with Wire.connect(running.address) as wire:
        wire.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        assert wire.codes("STARTTLS") == ["220 2.0.0"]
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                for octet in outgoing.read():
                    wire.send_raw(bytes([octet]))
                incoming.write(wire.sock.recv(65536))
        tls.write(b"LHLO a.example\r\nNOOP\r\n")
        for octet in outgoing.read():
            wire.send_raw(bytes([octet]))
        answer = b""
        while not answer.endswith(b"250 2.0.0 Ok\r\n"):
            incoming.write(wire.sock.recv(65536))
            with contextlib.suppress(ssl.SSLWantReadError):
                while True:
                    answer += tls.read()
        assert answer.startswith(b"250-lists.example.org\r\n")


def test_old_versions_are_refused(running: Running, authority: Authority) -> None:
    """RFC 8996."""
    context = authority.trust()
    context.set_ciphers("DEFAULT@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="deprecated"):
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    with Wire.connect(running.address) as wire:
        assert is_turned_away(wire, context)
    assert wait_until(lambda: running.parts.events("tls.failed"))


def test_tls_1_2_is_spoken(running: Running, authority: Authority) -> None:
    context = authority.trust(certificate="old.example.net")
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with Wire.connect(running.address) as wire:
        wire.start_tls(context)
        assert wire.codes(*ONE[:2], "RSET") == ["250 2.1.0", "250 2.1.5", "250 2.0.0"]
    assert running.parts.events("tls.secured")[0]["version"] == "TLSv1.2"


@pytest.mark.parametrize("end", ["in tls", "below"])
def test_a_client_that_ends_its_side_hears_what_it_is_owed(
    running: Running, authority: Authority, end: str
) -> None:
    """Close_notify or FIN right behind the dot, as Exim does: the replies come all the same."""
    front = running.parts.front
    front.held = []
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = authority.trust().wrap_bio(incoming, outgoing, server_hostname="lists.example.org")
    with Wire.connect(running.address) as wire:
        assert wire.codes("STARTTLS") == ["220 2.0.0"]
        with contextlib.suppress(ssl.SSLWantReadError):
            tls.do_handshake()
        wire.send_raw(outgoing.read())
        while True:
            incoming.write(wire.sock.recv(65536))
            with contextlib.suppress(ssl.SSLWantReadError):
                tls.do_handshake()
                break
        tls.write(LHLO + "".join(f"{line}\r\n" for line in ONE).encode() + stuff(make_mail()))
        if end == "in tls":
            with contextlib.suppress(ssl.SSLWantReadError):
                tls.unwrap()
        wire.send_raw(outgoing.read())
        wire.sock.shutdown(socket.SHUT_WR)
        (future,) = wait_until(lambda: front.held)
        (connection_,) = running.server._connections
        wait_until(lambda: connection_._has_eof)
        item_id = front.published[0][0].id
        running.thread.call(lambda: future.set_result((item_id,)))
        answer = b""
        while octets := wire.sock.recv(65536):
            incoming.write(octets)
        with contextlib.suppress(ssl.SSLWantReadError, ssl.SSLZeroReturnError):
            while part := tls.read():
                answer += part
        assert answer.endswith(f"250 2.0.0 Accepted {item_id}\r\n".encode())
    wait_until(running.server.is_empty.is_set)


@pytest.mark.slow
def test_a_client_that_does_not_read_is_not_read_either(running: Running, authority: Authority) -> None:
    """Memory stays bounded in TLS too, others are served, and every reply comes when it reads."""
    with Wire.connect(running.address) as wire, Wire.connect(running.address) as other:
        wire.start_tls(authority.trust())
        wire.sock.settimeout(0.5)
        sent = 0
        flood = b"NOOP\r\n" * 2000
        (busy,) = [each for each in running.server._connections if each._sealed is not None]
        busy.dialogue.conduct.max_commands = 10**9
        try:
            while sent < 1000:
                wire.sock.sendall(flood)
                sent += 1
        except TimeoutError:
            pass  # the server reads no more, as it should
        assert sent < 1000
        assert other.codes("NOOP") == ["250 2.0.0"]
        waiting, unsent = running.thread.call(
            lambda: (busy.dialogue.waiting, busy._wire.get_write_buffer_size())
        )
        assert waiting < 2_000_000
        assert unsent < 2_000_000
        wire.sock.settimeout(10)
        expected = b"250 2.0.0 Ok\r\n" * (2000 * sent)  # the last flood was sent in part
        answer = bytearray()
        while len(answer) < len(expected):
            answer += wire.sock.recv(65536)
        assert answer.startswith(expected)


@pytest.mark.slow
def test_draining_says_goodbye_in_tls(running: Running, authority: Authority) -> None:
    """421 to the idle; a transaction in hand is finished; a handshake that hangs is ended."""
    with Wire.connect(running.address) as wire, Wire.connect(running.address) as busy:
        wire.start_tls(authority.trust())
        busy.start_tls(authority.trust())
        busy.codes(*ONE)
        with Wire.connect(running.address) as hanging:
            assert hanging.codes("STARTTLS") == ["220 2.0.0"]
            done = asyncio.run_coroutine_threadsafe(running.server.drain(0.5), running.thread.loop)
            assert code(wire.reply()) == "421 4.3.2"
            assert wire.ends()
            wire.sock.close()
            busy.send_raw(stuff(make_mail()))
            assert [code(busy.reply()) for _ in range(2)] == ["250 2.0.0", "421 4.3.2"]
            assert busy.ends()
            busy.sock.close()
            assert hanging.sock.recv(4096) == b""
        done.result(5)


def test_changed_files_are_read_without_a_restart(tmp_path: Path) -> None:
    """And files that are no good leave the old ones in use."""
    authority = Authority(tmp_path)
    with running_server(**authority.options()) as running:

        def shown() -> bytes:
            with Wire.connect(running.address) as wire:
                wire.start_tls(authority.trust())
                assert isinstance(wire.sock, ssl.SSLSocket)
                return wire.sock.getpeercert(binary_form=True) or b""

        first = shown()
        assert shown() == first
        authority.issue()
        os.utime(authority.cert, ns=(1, 1))
        second = shown()
        assert second != first
        assert len(running.parts.events("tls.renewed")) == 1
        authority.key.write_text("no key\n")
        assert shown() == shown() == second
        (line,) = running.parts.events("tls.unread")
        assert f"[lmtp] tls_key: {authority.key}: has no private key" in line["error"]
