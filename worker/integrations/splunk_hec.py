"""Splunk's HTTP Event Collector, as a customer configures it."""

import re
from typing import Annotated, Literal

from pydantic import Field, SecretStr, field_validator

from worker.integrations.destination import DestinationConfig
from worker.integrations.secrets import is_secret_readable
from worker.integrations.urls import parts_of, with_ascii_host

_INDEX = re.compile(r"[a-z0-9_][a-z0-9_-]{0,79}")


class SplunkHec(DestinationConfig):
    """Splunk's HTTP Event Collector.

    Requests are bounded by `batch_events` and by `batch_bytes` (uncompressed); `timeout_seconds`
    is how long Splunk may be silent, neither taking more of a request nor answering it. `fields`
    are indexed with every event. With `use_ack`, delivered means indexed: Splunk is asked for up to
    `ack_timeout_seconds` (and as long as SIEM_SEND_DEADLINE allows), and what it has not confirmed by then
    is sent again.
    """

    type: Literal["splunk_hec"] = "splunk_hec"
    url: str
    token: SecretStr
    source_type: Annotated[str, Field(min_length=1, max_length=256)] = "mitrity:governance"
    index: Annotated[str, Field(json_schema_extra={"pattern": f"^{_INDEX.pattern}$"})] | None = None
    host: Annotated[str, Field(min_length=1, max_length=256)] = "mitrity"
    source: Annotated[str, Field(min_length=1, max_length=256)] = "mitrity"
    fields: Annotated[
        dict[
            Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]{0,63}$")],
            Annotated[str, Field(min_length=1, max_length=256)],
        ],
        Field(max_length=20, default_factory=dict),
    ]
    gzip: bool = False
    use_ack: bool = False
    ack_timeout_seconds: Annotated[float, Field(ge=1, le=250)] = 30.0
    batch_events: Annotated[int, Field(ge=1, le=1000)] = 500
    batch_bytes: Annotated[int, Field(ge=1000, le=4_000_000)] = 900_000
    timeout_seconds: Annotated[float, Field(gt=0, le=30)] = 20.0

    @field_validator("url")
    @classmethod
    def _http_with_host(cls, url: str) -> str:
        example = "give an address like https://splunk.example.com:8088/services/collector/event"
        parts = parts_of(url, {"http", "https"}, example)
        if parts.query:
            raise ValueError(example)
        if parts.username is not None:
            msg = "has a user name in it: leave it out, the token is all that Splunk needs"
            raise ValueError(msg)
        return with_ascii_host(url)

    @field_validator("index")
    @classmethod
    def _index_of_splunk(cls, index: str | None) -> str | None:
        if index is not None and not _INDEX.fullmatch(index):
            msg = "give 1 to 80 lower-case letters, digits, underscores and hyphens, the first no hyphen"
            raise ValueError(msg)
        return index

    @field_validator("token")
    @classmethod
    def _token_fits_a_header(cls, token: SecretStr) -> SecretStr:
        if not is_secret_readable(token):
            return token
        text = token.get_secret_value()
        if not text or len(text) > 512 or not all(" " < char <= "~" for char in text):  # noqa: PLR2004 - a header's sane length
            msg = "give the token as Splunk shows it: printable characters, no spaces"
            raise ValueError(msg)
        return token
