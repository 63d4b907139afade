"""A certificate authority of a test's own, and what it issues, as files.

authority = Authority(tmp_path)
with running_server(**authority.options()) as running, Wire.connect(running.address) as wire:
    wire.start_tls(authority.trust(certificate="mx.example.net"))
"""

import ssl
from pathlib import Path
from typing import Any

import trustme

SERVER = "lists.example.org"


class Authority:
    """One CA; it has issued a certificate for SERVER."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.ca = trustme.CA(organization_name="Test")
        self.ca_file = folder / "ca.pem"
        self.ca.cert_pem.write_to_path(str(self.ca_file))
        self.cert, self.key = folder / "server.pem", folder / "server.key"
        self.issue()

    def issue(self) -> None:
        """Issue the server's certificate, anew when there is one."""
        made = self.ca.issue_cert(SERVER, "127.0.0.1")
        self.cert.write_bytes(b"".join(blob.bytes() for blob in made.cert_chain_pems))
        made.private_key_pem.write_to_path(str(self.key))

    def client(self, name: str) -> Path:
        """Issue a client's certificate; the file has its key too."""
        made = self.ca.issue_cert(name, common_name=name)
        file = self.folder / f"{name}.pem"
        made.private_key_and_cert_chain_pem.write_to_path(str(file))
        file.chmod(0o644)
        return file

    def options(self, *, ca: bool = False, require: str = "no") -> dict[str, Any]:
        """Return the options of `[lmtp]`; `ca`: clients are asked for certificates of this CA."""
        asked = {"tls_client_ca": str(self.ca_file)} if ca or require == "certificate" else {}
        return {"tls_cert": str(self.cert), "tls_key": str(self.key), "tls_require": require, **asked}

    def trust(self, certificate: str = "") -> ssl.SSLContext:
        """Make the context of a client that trusts this CA, and shows a certificate of this name."""
        context = ssl.create_default_context(cafile=str(self.ca_file))
        if certificate:
            context.load_cert_chain(self.client(certificate))
        return context
