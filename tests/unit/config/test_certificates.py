"""A certificate that cannot be used is named with its option, its file and the reason."""

from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from msgspec.structs import replace

from config.certificates import BadCertificate, make_context
from config.lmtp_settings import LmtpSettings
from tests.support.authority import Authority


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """A CA that has issued our certificate."""
    return Authority(tmp_path)


def encrypt(authority: Authority) -> None:
    key = load_pem_private_key(authority.key.read_bytes(), None)
    secret = BestAvailableEncryption(b"secret")
    authority.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, secret))


def swap(authority: Authority) -> None:
    old = authority.key.read_bytes()
    authority.issue()
    authority.key.write_bytes(old)


def spoil(file: Path) -> None:
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join([*lines[:1], "AAAA\n", *lines[3:]]))


@pytest.mark.parametrize(
    ("harm", "option", "name", "words"),
    [
        (lambda each: each.cert.unlink(), "tls_cert", "server.pem", "cannot be read: No such file"),
        (lambda each: each.key.unlink(), "tls_key", "server.key", "cannot be read: No such file"),
        (lambda each: each.ca_file.unlink(), "tls_client_ca", "ca.pem", "cannot be read: No such file"),
        (lambda each: each.cert.write_text("hello"), "tls_cert", "server.pem", "has no certificate"),
        (lambda each: each.key.write_text("hello"), "tls_key", "server.key", "has no private key"),
        (lambda each: each.ca_file.write_text("hello"), "tls_client_ca", "ca.pem", "has no certificate"),
        (encrypt, "tls_key", "server.key", "is encrypted"),
        (swap, "tls_key", "server.key", "does not belong to the certificate"),
        (lambda each: spoil(each.key), "tls_key", "server.key", "cannot be used"),
        (lambda each: spoil(each.ca_file), "tls_client_ca", "ca.pem", ""),
    ],
)
def test_what_is_wrong_is_named(
    authority: Authority, harm: Callable[[Authority], None], option: str, name: str, words: str
) -> None:
    harm(authority)
    with pytest.raises(BadCertificate) as caught:
        make_context(LmtpSettings(**authority.options(ca=True)))
    assert str(caught.value).startswith(f"[lmtp] {option}: {authority.folder / name}: ")
    assert words in str(caught.value)


def test_the_key_may_stand_in_the_certificates_file(authority: Authority) -> None:
    authority.cert.write_bytes(authority.cert.read_bytes() + authority.key.read_bytes())
    settings = LmtpSettings(tls_cert=str(authority.cert))
    assert make_context(settings)
    authority.issue()
    with pytest.raises(BadCertificate, match=r"tls_cert: .*has no private key"):
        make_context(replace(settings, tls_cert=str(authority.cert)))
