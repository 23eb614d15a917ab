"""TLS options, which every destination takes."""

from collections.abc import Iterator
from functools import partial
from ipaddress import ip_address
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationInfo, field_validator, model_validator

from worker.integrations.fields import Described
from worker.integrations.pem import CERTIFICATE_LABELS, KEY_LABELS, only_blocks
from worker.integrations.secrets import is_secret_readable
from worker.integrations.urls import LABEL, ascii_name, host_error

_described = partial(Described, section="TLS", over="TLS")


class TlsOptions(BaseModel):
    """How the other side proves who it is, and we do: custom CA, client certificate, verification.

    `tls_server_name` takes the place of the url's host: the certificate must carry that name, and the server
    is asked for it (SNI, RFC 6066, section 3); where to connect stays as it is. Of what is given in PEM,
    only the blocks are kept: certificates in `ca_pem` and `client_cert_pem`, the private key in
    `client_key_pem`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    verify_tls: Annotated[
        bool,
        _described(
            label="Verify the certificate of the other side",
            help="whether the SIEM's certificate is verified",
            flag="--insecure",
            flag_help="do not verify the SIEM's certificate: any server can impersonate it",
        ),
    ] = True
    ca_pem: Annotated[
        str | None,
        _described(
            label="CA certificate (PEM)",
            help="the CA that signed the SIEM's certificate, or that certificate itself, in PEM; left out, "
            "the public CAs",
            hint="For a SIEM whose certificate your own CA has signed, or that certificate itself.",
            file_flag="--ca-file",
        ),
    ] = None
    tls_server_name: Annotated[
        str | None,
        Field(min_length=1, max_length=253),
        _described(
            label="Name in its certificate",
            help="the name that the SIEM's certificate must carry, and that it is asked for; left out, the "
            "url's host",
            hint="Left out, the host of the URL. For a certificate that is made out to another name.",
            placeholder="splunk.internal",
            metavar="NAME",
        ),
    ] = None
    client_cert_pem: Annotated[
        str | None,
        _described(
            label="Client certificate (PEM)",
            help="a client certificate to present, in PEM",
            hint="For a SIEM that asks us for one.",
            file_flag="--client-cert-file",
        ),
    ] = None
    client_key_pem: Annotated[
        SecretStr | None,
        _described(
            label="Its private key (PEM)",
            help="the client certificate's key, in PEM",
            file_flag="--client-key-file",
        ),
    ] = None

    @field_validator("ca_pem", "client_cert_pem")
    @classmethod
    def _only_certificates(cls, pem: str | None) -> str | None:
        return None if pem is None else only_blocks(pem, CERTIFICATE_LABELS)

    @field_validator("client_key_pem")
    @classmethod
    def _only_the_key(cls, pem: SecretStr | None) -> SecretStr | None:
        if pem is None or not is_secret_readable(pem):
            return pem
        return SecretStr(only_blocks(pem.get_secret_value(), KEY_LABELS))

    @field_validator("tls_server_name")
    @classmethod
    def _name_of_a_host(cls, name: str | None) -> str | None:
        if name is None:
            return None
        plain = ascii_name(name).removesuffix(".")
        if not (_is_address(plain) or all(map(LABEL.fullmatch, plain.split(".")))):
            msg = "give the name of a host, such as siem.example.com, or an address, without port or scheme"
            raise ValueError(msg)
        return plain

    @model_validator(mode="after")
    def _fields_go_together(self, info: ValidationInfo) -> Self:
        if found := list(self.contradictions(stored=is_stored(info))):
            raise ValueError("\n".join(found))
        return self

    def contradictions(self, *, stored: bool) -> Iterator[str]:
        """Yield a line for each way in which fields do not go together.

        It begins with `field: ` where one is to blame.
        With `stored`, rules that are younger than the document do not count (see `is_stored`).
        """
        if not stored and (complaint := host_error(str(getattr(self, "url", "https://unnamed")))):
            yield f"url: {complaint}"
        if (self.client_cert_pem is None) != (self.client_key_pem is None):
            yield "client_cert_pem and client_key_pem go together: give both or neither"

    def server_name(self, host: str) -> str:
        """Return the name that a certificate must carry, and that is sent as SNI; `host` is the url's."""
        return self.tls_server_name or host.rstrip(".")


def is_stored(info: ValidationInfo) -> bool:
    """Whether this was accepted before: a rule that came later must not make it unreadable."""
    return bool((info.context or {}).get("stored"))


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
