"""From `[lmtp] tls_*` to what TLS needs: certificate, key, whose client certificates are good, and which versions are spoken.

Used by the front-ends at their start and when a file has changed, and by `config check` and `bin/master start`, so that a mistake is told before mail
waits for it. Reads files; the handshakes are lmtp/tls.py's.
"""

import ssl
from pathlib import Path
from typing import Final

from config.lmtp_settings import LmtpSettings

_REASONS: Final = {
    "KEY_VALUES_MISMATCH": "does not belong to the certificate in tls_cert",
    "EE_KEY_TOO_SMALL": "has a key that is too small for this machine's OpenSSL",
    "CA_MD_TOO_WEAK": "is signed with a digest that is too weak for this machine's OpenSSL",
    "NO_CERTIFICATE_OR_CRL_FOUND": "has no certificate (PEM)",
}


class BadCertificate(Exception):
    """A file cannot be used: exit 78. The text names option, file and reason."""

    def __init__(self, option: str, file: str, reason: str) -> None:
        super().__init__(f"[lmtp] {option}: {file}: {reason}")


def make_context(lmtp: LmtpSettings) -> ssl.SSLContext:
    """Read the files and make the context of all handshakes. Raises BadCertificate.

    TLS 1.2 at least (RFC 8996). No tickets and no renegotiation: each connection has a handshake of its own, in which its certificate is checked.
    """
    key_option = "tls_key" if lmtp.tls_key else "tls_cert"
    key_file = lmtp.tls_key or lmtp.tls_cert
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    context.num_tickets = 0
    _look_for(b"-----BEGIN CERTIFICATE-----", "certificate", "tls_cert", lmtp.tls_cert)
    key = _look_for(b"PRIVATE KEY-----", "private key", key_option, key_file)
    if b"ENCRYPTED" in key:
        raise BadCertificate(key_option, key_file, "is encrypted, and nobody is there to type its passphrase")
    try:
        context.load_cert_chain(lmtp.tls_cert, key_file)
    except OSError as error:  # ssl.SSLError is one
        raise BadCertificate(key_option, key_file, _explain(error)) from error
    if lmtp.tls_client_ca:
        _ask_for_certificates(context, lmtp)
    return context


def _ask_for_certificates(context: ssl.SSLContext, lmtp: LmtpSettings) -> None:
    _look_for(b"-----BEGIN CERTIFICATE-----", "certificate", "tls_client_ca", lmtp.tls_client_ca)
    try:
        context.load_verify_locations(lmtp.tls_client_ca)
    except OSError as error:
        raise BadCertificate("tls_client_ca", lmtp.tls_client_ca, _explain(error)) from error
    # A client's own certificate may stand there in place of a CA: then it is good, and no other of its CA.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    is_required = lmtp.tls_require == "certificate"
    context.verify_mode = ssl.CERT_REQUIRED if is_required else ssl.CERT_OPTIONAL


def _look_for(mark: bytes, what: str, option: str, file: str) -> bytes:
    try:
        octets = Path(file).read_bytes()
    except OSError as error:
        raise BadCertificate(option, file, f"cannot be read: {error.strerror}") from error
    if mark not in octets:
        raise BadCertificate(option, file, f"has no {what} (PEM)")
    return octets


def _explain(error: OSError) -> str:
    reason = getattr(error, "reason", "") or ""
    return _REASONS.get(reason, f"cannot be used: {reason.replace('_', ' ').lower() or error.strerror}")
