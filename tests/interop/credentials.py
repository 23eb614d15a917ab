"""Certificates for the receivers of others, as files, and as an integration trusts them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trustme


@dataclass(frozen=True)
class Credentials:
    """The files of the receivers' certificate, and of the CA that signed it and the clients'."""

    directory: Path
    ca: trustme.CA
    name: str = "127.0.0.1"

    def __post_init__(self) -> None:
        """Write them."""
        leaf = self.ca.issue_cert(self.name)
        self.ca.cert_pem.write_to_path(str(self.ca_file))
        leaf.cert_chain_pems[0].write_to_path(str(self.certificate))
        leaf.private_key_pem.write_to_path(str(self.key))

    @property
    def ca_file(self) -> Path:
        """Who vouches, for both sides."""
        return self.directory / "ca.pem"

    @property
    def certificate(self) -> Path:
        """The receivers' own."""
        return self.directory / "certificate.pem"

    @property
    def key(self) -> Path:
        """Its key."""
        return self.directory / "key.pem"

    def options(self, *, mutual: bool) -> dict[str, Any]:
        """Configure an integration that trusts the receivers, and proves who it is if need be."""
        options = {"ca_pem": self.ca.cert_pem.bytes().decode()}
        if mutual:
            client = self.ca.issue_cert("client.example.com")
            options["client_cert_pem"] = client.cert_chain_pems[0].bytes().decode()
            options["client_key_pem"] = client.private_key_pem.bytes().decode()
        return options
