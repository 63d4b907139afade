"""Plain LMTP clients deliver: swaks, msmtp and Python's smtplib."""

import smtplib
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.lmtp_process import Post, running_post
from tests.support.mail import make_post
from tests.support.mail_clients import run_msmtp, run_swaks

pytestmark = [pytest.mark.mta, pytest.mark.slow]

SENDER = "anne@example.net"
# Each sends a file to recipients and says whether all, or none, were taken.
Send = Callable[[Post, Path, list[str]], bool]


@pytest.fixture(scope="module")
def post(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Post]:
    """A front-end with a bus, an open list and a closed one."""
    with running_post(tmp_path_factory.mktemp("post")) as running:
        running.unix.chmod(0o666)
        for name, strangers in (("ant", "accept"), ("bee", "accept"), ("closed", "reject")):
            running.store.create_list(f"{name}@example.org", [f"generic_nonmember_action={strangers}"])
        running.start_front()
        yield running


def _swaks(post: Post, message: Path, recipients: list[str], *more: str) -> bool:
    host, port = post.tcp
    where = ("--server", host, "--port", str(port), *more)
    done = run_swaks(*where, "--from", SENDER, "--to", ",".join(recipients), message=message)
    assert done.returncode in (0, 24), done.stdout  # 24: no recipient was taken
    return done.returncode == 0


def _swaks_pipelining(post: Post, message: Path, recipients: list[str]) -> bool:
    return _swaks(post, message, recipients, "--pipeline")


def _msmtp(post: Post, message: Path, recipients: list[str]) -> bool:
    host, port = post.tcp
    where = (f"--host={host}", f"--port={port}", f"--from={SENDER}")
    done = run_msmtp(*where, *recipients, message=message)
    assert done.returncode in (0, 65), done.stdout  # 65: refused
    return done.returncode == 0


def _smtplib_tcp(post: Post, message: Path, recipients: list[str]) -> bool:
    host, port = post.tcp
    return _smtplib(smtplib.LMTP(host, port, "client.example.net"), message, recipients)


def _smtplib_unix(post: Post, message: Path, recipients: list[str]) -> bool:
    return _smtplib(smtplib.LMTP(str(post.unix), local_hostname="client.example.net"), message, recipients)


def _smtplib(client: smtplib.LMTP, message: Path, recipients: list[str]) -> bool:
    """One recipient a transaction: smtplib reads one final reply, however many there are."""
    with client:
        try:
            for recipient in recipients:
                client.sendmail(SENDER, recipient, message.read_text())
        except smtplib.SMTPRecipientsRefused:
            return False
    return True


CLIENTS: dict[str, Send] = {
    "swaks": _swaks,
    "swaks-pipelining": _swaks_pipelining,
    "msmtp": _msmtp,
    "smtplib-tcp": _smtplib_tcp,
    "smtplib-unix": _smtplib_unix,
}


@pytest.mark.parametrize("client", CLIENTS)
def test_a_client_delivers_once_to_each_of_two_lists(post: Post, tmp_path: Path, client: str) -> None:
    """The message lies in a file with LF, as files do: clients send CR LF, so nothing is refused for a bare newline."""
    message_id = f"{client}@client.example.net"
    message = tmp_path / "mail"
    message.write_bytes(make_post(SENDER, "ant@example.org", message_id).replace(b"\r\n", b"\n"))
    assert CLIENTS[client](post, message, ["ant@example.org", "bee@example.org"])
    lines = [line for line in post.lines("lmtp.accepted") if line["message_id"] == f"<{message_id}>"]
    assert [(line["recipient"], line["is_duplicate"]) for line in lines] == [
        ("ant@example.org", False),
        ("bee@example.org", False),
    ]


@pytest.mark.parametrize("client", CLIENTS)
def test_a_client_hears_that_a_list_is_closed(post: Post, tmp_path: Path, client: str) -> None:
    """And leaves in step."""
    message = tmp_path / "mail"
    message.write_bytes(make_post(SENDER, "closed@example.org", f"closed.{client}@client.example.net"))
    assert not CLIENTS[client](post, message, ["closed@example.org"])


def test_bytes_that_smtplib_sends_as_they_are_are_refused(post: Post) -> None:
    """It mends line ends of text only: a script that hands over the bytes of a file learns of it at once."""
    content = make_post(SENDER, "ant@example.org", "bytes@client.example.net").replace(b"\r\n", b"\n")
    with (
        smtplib.LMTP(str(post.unix), local_hostname="client.example.net") as client,
        pytest.raises(smtplib.SMTPDataError) as caught,
    ):
        client.sendmail(SENDER, "ant@example.org", content)
    assert caught.value.smtp_code == 550


def test_a_client_that_speaks_smtp_is_told(post: Post) -> None:
    """HELO at an LMTP port: 500, not silence."""
    with socket.create_connection(post.tcp, 10) as connection, connection.makefile("rb") as reader:
        reader.readline()
        connection.sendall(b"HELO client.example.net\r\n")
        assert reader.readline().startswith(b"500 5.5.1")
