"""STARTTLS with the real front-end: clients that others have written, and files that cannot be used."""

import smtplib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.authority import Authority
from tests.support.lmtp_process import Post, running_post
from tests.support.site import Site
from tests.support.waiting import wait_until
from tests.support.wire import Wire, code, make_mail

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """A CA that has issued our certificate."""
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module", params=["uvloop", "asyncio"])
def post(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, authority: Authority
) -> Iterator[Post]:
    """A front-end that wants TLS and a client certificate."""
    options = authority.options(require="certificate")
    with running_post(
        tmp_path_factory.mktemp("post"), uvloop=request.param == "uvloop", **options
    ) as running:
        running.store.create_list("ant@example.org", ["generic_nonmember_action=accept"])
        running.start_front()
        yield running


def test_openssl_gets_in_and_completes_a_transaction(post: Post, authority: Authority) -> None:
    """`openssl s_client -starttls lmtp` says LHLO and STARTTLS itself."""
    before = post.queued()
    host, port = post.tcp
    certificate = authority.client("openssl.example.net")
    command = ["openssl", "s_client", "-starttls", "lmtp", "-connect", f"{host}:{port}", "-quiet", "-crlf"]
    command += [
        "-CAfile",
        str(authority.ca_file),
        "-verify_return_error",
        "-verify_hostname",
        "lists.example.org",
    ]
    command += ["-cert", str(certificate), "-key", str(certificate)]
    lines = ["LHLO openssl.example.net", "MAIL FROM:<anne@example.net>", "RCPT TO:<ant@example.org>", "DATA"]
    lines += ["Subject: by hand", "", "hello", ".", "QUIT", ""]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as client:
        output, errors = client.communicate("\n".join(lines), timeout=30)  # it closes as soon as stdin ends
    line = wait_until(lambda: [each for each in post.lines("lmtp.accepted") if each["size"] < 40])
    assert f"Accepted {line[-1]['item_id']}" in output, errors
    assert post.queued() == before + 1
    (secured,) = [each for each in post.lines("tls.secured") if "openssl" in each["subject"]]
    assert secured["version"] == "TLSv1.3"


def test_smtplib_gets_in(post: Post, authority: Authority) -> None:
    with smtplib.LMTP(*post.tcp) as client:
        with pytest.raises(smtplib.SMTPSenderRefused) as caught:
            client.sendmail("anne@example.net", ["ant@example.org"], make_mail())
        assert (caught.value.smtp_code, caught.value.smtp_error) == (530, b"5.7.0 Say STARTTLS first")
        client.starttls(context=authority.trust(certificate="smtplib.example.net"))
        assert client.sendmail("anne@example.net", ["ant@example.org"], make_mail()) == {}


def test_the_unix_socket_needs_no_tls(post: Post) -> None:
    """The kernel says who it is, and nobody can listen."""
    with Wire.connect(post.unix) as wire:
        wire.send("LHLO client.example.net")
        assert "STARTTLS" not in wire.reply()
        assert wire.codes("STARTTLS") == ["502 5.5.1"]
        assert [code(each) for each in wire.mail(make_mail(), "ant@example.org")] == ["250 2.0.0"]


def test_a_front_end_ends_with_78_when_its_certificate_cannot_be_used(tmp_path: Path) -> None:
    """Option, file and reason are named."""
    authority = Authority(tmp_path / "ca")
    authority.key.write_text("hello")
    with running_post(tmp_path, bus=False, **authority.options()) as post:
        assert post.start_front(wait=False).wait() == 78
        assert f"[lmtp] tls_key: {authority.key}: has no private key (PEM)" in post.errors()


def test_a_site_says_what_is_wrong_before_it_starts(tmp_path: Path) -> None:
    """`config check` and `bin/master start`: nothing is up that could not take mail."""
    site = Site(tmp_path, f'[lmtp]\ntls_cert = "{tmp_path}/none.pem"\n')
    for done in (site.postroom("config", "check"), site.master("start")):
        assert done.returncode == 78
        assert f"[lmtp] tls_cert: {tmp_path}/none.pem: cannot be read: No such file" in done.stderr
