"""TLS options, which every destination takes."""

from typing import Self

from pydantic import BaseModel, ConfigDict, SecretStr, field_validator, model_validator

from worker.model.pem import CERTIFICATE_LABELS, KEY_LABELS, only_blocks


class TlsOptions(BaseModel):
    """How the other side proves who it is, and we do: custom CA, client certificate, verification.

    Of what is given in PEM, only the blocks are kept: certificates in `ca_pem` and `client_cert_pem`, the
    private key in `client_key_pem`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    ca_pem: str | None = None
    client_cert_pem: str | None = None
    client_key_pem: SecretStr | None = None
    verify_tls: bool = True

    @field_validator("ca_pem", "client_cert_pem")
    @classmethod
    def _only_certificates(cls, pem: str | None) -> str | None:
        return None if pem is None else only_blocks(pem, CERTIFICATE_LABELS)

    @field_validator("client_key_pem")
    @classmethod
    def _only_the_key(cls, pem: SecretStr | None) -> SecretStr | None:
        return None if pem is None else SecretStr(only_blocks(pem.get_secret_value(), KEY_LABELS))

    @model_validator(mode="after")
    def _key_comes_with_certificate(self) -> Self:
        if (self.client_cert_pem is None) != (self.client_key_pem is None):
            msg = "client_cert_pem and client_key_pem go together: give both or neither"
            raise ValueError(msg)
        return self
