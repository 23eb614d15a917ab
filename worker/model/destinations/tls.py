"""TLS options, which every destination takes."""

from typing import Self

from pydantic import BaseModel, ConfigDict, SecretStr, model_validator


class TlsOptions(BaseModel):
    """How the other side proves who it is, and we do: custom CA, client certificate, verification."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ca_pem: str | None = None
    client_cert_pem: str | None = None
    client_key_pem: SecretStr | None = None
    verify_tls: bool = True

    @model_validator(mode="after")
    def _key_comes_with_certificate(self) -> Self:
        if (self.client_cert_pem is None) != (self.client_key_pem is None):
            msg = "client_cert_pem and client_key_pem go together: give both or neither"
            raise ValueError(msg)
        return self
