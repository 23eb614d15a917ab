"""An integration: one customer's SIEM, what it wants to receive, and how to reach it.

Secrets are `SecretStr` while they are in memory and sealed text everywhere else (see
`worker.ledger.vault`); nothing here can print one by accident.
"""

from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)

from worker.model.errors import InvalidIntegration
from worker.model.events import DEFAULT_EVENT_TYPES, EventType

#: After the first attempt, an event is sent at most this often again.
MAX_RETRIES = 3


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


class SplunkHec(TlsOptions):
    """Splunk's HTTP Event Collector.

    Batches are bounded by `batch_events` and by `batch_bytes` (uncompressed); `timeout_seconds`
    is the whole time that one request may take, from dialling to the last byte of the answer.
    """

    type: Literal["splunk_hec"] = "splunk_hec"
    url: str
    token: SecretStr
    source_type: Annotated[str, Field(min_length=1, max_length=256)] = "mitrity:governance"
    index: Annotated[str, Field(pattern=r"^[a-z0-9_][a-z0-9_-]{0,79}$")] | None = None
    host: Annotated[str, Field(min_length=1, max_length=256)] = "mitrity"
    source: Annotated[str, Field(min_length=1, max_length=256)] = "mitrity"
    gzip: bool = False
    batch_events: Annotated[int, Field(ge=1, le=1000)] = 500
    batch_bytes: Annotated[int, Field(ge=1000, le=4_000_000)] = 900_000
    timeout_seconds: Annotated[float, Field(gt=0, le=30)] = 20.0

    @field_validator("url")
    @classmethod
    def _http_with_host(cls, url: str) -> str:
        msg = "give an address like https://splunk.example.com:8088/services/collector/event"
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:  # its words repeat the url, in which a secret may stand
            raise ValueError(msg) from None
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
            raise ValueError(msg)
        if port == 0 or " " in url or not url.isprintable():
            raise ValueError(msg)
        if parts.username is not None:
            msg = "has a user name in it: leave it out, the token is all that Splunk needs"
            raise ValueError(msg)
        return url

    @field_validator("token")
    @classmethod
    def _token_fits_a_header(cls, token: SecretStr) -> SecretStr:
        text = token.get_secret_value()
        if not text or len(text) > 512 or not all(" " < char <= "~" for char in text):  # noqa: PLR2004 - a header's sane length
            msg = "give the token as Splunk shows it: printable characters, no spaces"
            raise ValueError(msg)
        return token


class Integration(BaseModel):
    """One destination of one tenant, and the event types that it subscribed to."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
    tenant_id: Annotated[str, Field(min_length=1, max_length=128)] = "default"
    name: Annotated[str, Field(min_length=1, max_length=200)]
    enabled: bool = True
    event_types: frozenset[EventType] = DEFAULT_EVENT_TYPES
    max_retries: Annotated[int, Field(ge=0, le=MAX_RETRIES)] = MAX_RETRIES
    destination: SplunkHec

    @field_validator("event_types")
    @classmethod
    def _some_type(cls, types: frozenset[EventType]) -> frozenset[EventType]:
        if not types:
            msg = "give at least one event type, or leave it out for all but policy.allow"
            raise ValueError(msg)
        return types

    @field_validator("name", "tenant_id")
    @classmethod
    def _printable(cls, text: str) -> str:
        if not text.isprintable():
            msg = "has characters that cannot be printed"
            raise ValueError(msg)
        return text

    @property
    def type(self) -> str:
        """The destination's type, as in the API: `splunk_hec`."""
        return self.destination.type


def parse_integration(document: dict[str, Any]) -> Integration:
    """Read an integration from plain values.

    Raises InvalidIntegration, which names the first field that is wrong; it never repeats a value,
    for it may be a secret.
    """
    try:
        return Integration.model_validate(document)
    except ValidationError as error:
        raise _first_complaint(error) from None


def _first_complaint(error: ValidationError) -> InvalidIntegration:
    complaint = error.errors(include_input=False, include_url=False)[0]
    path = [str(part) for part in complaint["loc"] if part != "destination"] or complaint["loc"]
    reason = complaint["msg"].removeprefix("Value error, ")
    return InvalidIntegration(
        ".".join(map(str, path)) or "integration", _as_clause(reason), "see `siem integrations create --help`"
    )


def _as_clause(reason: str) -> str:
    return reason[:1].lower() + reason[1:]
