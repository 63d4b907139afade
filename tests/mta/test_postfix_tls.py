"""A real Postfix hands mail in over TLS: it checks our certificate, and shows its own."""

import smtplib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.authority import SERVER, Authority
from tests.support.lmtp_process import Post, running_post
from tests.support.mail import ARRIVE_S, make_post
from tests.support.postfix import Postfix
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.mta, pytest.mark.slow]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """A CA that has issued our certificate."""
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def post(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[Post]:
    """A front-end that wants a client certificate."""
    options = authority.options(require="certificate")
    with running_post(tmp_path_factory.mktemp("post"), **options) as running:
        running.store.create_list("ant@example.org", ["generic_nonmember_action=accept"])
        running.start_front()
        yield running


def make_postfix(folder: Path, post: Post, *options: str) -> Postfix:
    """Make a Postfix with these lines in main.cf."""
    routes = {"example.org": f"lmtp:inet:127.0.0.1:{post.tcp[1]}"}
    return Postfix(
        folder, lists=routes, relay="127.0.0.1:9", options="".join(f"{line}\n" for line in options)
    )


def send(postfix: Postfix, message_id: str) -> None:
    """Hand one message to Postfix."""
    with smtplib.SMTP("127.0.0.1", postfix.port, timeout=30) as client:
        mail = make_post("guest@example.com", "ant@example.org", message_id)
        client.sendmail("guest@example.com", ["ant@example.org"], mail)


def test_postfix_delivers_in_tls_with_its_certificate(
    tmp_path: Path, post: Post, authority: Authority
) -> None:
    """As docs/lmtp.md says; its queue id comes by XFORWARD, behind the handshake."""
    certificate = authority.client("mx.example.net")
    options = (
        "lmtp_tls_security_level = secure",
        f"lmtp_tls_secure_cert_match = {SERVER}",
        f"lmtp_tls_CAfile = {authority.ca_file}",
        f"lmtp_tls_cert_file = {certificate}",
        f"lmtp_tls_key_file = {certificate}",
        "lmtp_tls_loglevel = 1",
    )
    with make_postfix(tmp_path, post, *options) as postfix:
        send(postfix, "tls@client.example.net")
        (sent,) = wait_until(lambda: postfix.lines(r"status=sent \(250 2\.0\.0 Accepted"), ARRIVE_S)
        assert postfix.lines("Verified TLS connection established")
    (line,) = [each for each in post.lines("lmtp.accepted") if each["message_id"].startswith("<tls@")]
    assert f"{line['xforward']['ident']}:" in sent
    (secured,) = [each for each in post.lines("tls.secured") if each["session"] == line["session"]]
    assert "CN=mx.example.net" in secured["subject"]


def test_postfix_without_tls_keeps_the_mail(tmp_path: Path, post: Post) -> None:
    """530 5.7.0 is the postmaster's mistake: told in Postfix's log, with our words."""
    with make_postfix(tmp_path, post, "lmtp_tls_security_level = none") as postfix:
        send(postfix, "clear@client.example.net")
        wait_until(lambda: postfix.lines(r"530 5\.7\.0 Say STARTTLS first"), ARRIVE_S)
    assert not [each for each in post.lines("lmtp.accepted") if each["message_id"].startswith("<clear@")]
