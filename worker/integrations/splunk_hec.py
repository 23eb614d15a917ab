"""Splunk's HTTP Event Collector, as a customer configures it."""

import re
from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field, SecretStr, field_validator

from worker.integrations.destination import (
    HTTP_PORTS,
    HTTP_SCHEMES,
    BatchBytes,
    BatchEvents,
    DestinationConfig,
    TimeoutSeconds,
)
from worker.integrations.fields import Described
from worker.integrations.secrets import is_secret_readable
from worker.integrations.urls import parts_of, with_ascii_host

_ADDRESS = "https://splunk.example.com:8088/services/collector/event"
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
    url: Annotated[
        str,
        Described(
            label="Destination URL",
            help="where the SIEM listens",
            placeholder="https://your-splunk:8088/services/collector/event",
            addresses=(_ADDRESS,),
            advanced=False,
        ),
    ]
    token: Annotated[
        SecretStr,
        Described(
            label="HEC token",
            help="Splunk's HEC token",
            hint="Splunk shows it under Settings > Data inputs.",
            flag="--token",
            advanced=False,
        ),
    ]
    index: Annotated[
        Annotated[str, Field(json_schema_extra={"pattern": f"^{_INDEX.pattern}$"})] | None,
        Described(
            label="Index",
            help="the Splunk index; left out, the default one of the token",
            hint="Left out, the token's default index.",
            placeholder="security",
            metavar="INDEX",
            advanced=False,
        ),
    ] = None
    source_type: Annotated[
        str,
        Field(min_length=1, max_length=256),
        Described(label="Source type", help="the sourcetype of each event", advanced=False),
    ] = "mitrity:governance"
    use_ack: Annotated[
        bool,
        Described(
            label="Wait until Splunk has indexed (indexer acknowledgement)",
            help="count an event as delivered once Splunk has indexed it; the token must have indexer "
            "acknowledgement enabled",
            flag="--use-ack",
        ),
    ] = False
    ack_timeout_seconds: Annotated[
        float,
        Field(ge=1, le=250),
        Described(
            label="Seconds to wait for that",
            help="with {use_ack}: how long Splunk is asked before what it has not indexed is sent again",
            flag="--ack-timeout",
            when=("use_ack", True),
        ),
    ] = 30.0
    gzip: Annotated[
        bool,
        Described(label="Compress requests", help="whether to compress requests"),
    ] = False
    host: Annotated[
        str, Field(min_length=1, max_length=256), Described(label="Host", help="the host of each event")
    ] = "mitrity"
    source: Annotated[
        str, Field(min_length=1, max_length=256), Described(label="Source", help="the source of each event")
    ] = "mitrity"
    fields: Annotated[
        dict[
            Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]{0,63}$")],
            Annotated[str, Field(min_length=1, max_length=256)],
        ],
        Field(max_length=20, default_factory=dict),
        Described(
            label="Indexed fields",
            help="a field to index with every event",
            hint="One a line: name: value",
            flag="--field",
        ),
    ]
    batch_events: BatchEvents = 500
    batch_bytes: BatchBytes = 900_000
    timeout_seconds: TimeoutSeconds = 20.0

    SCHEMES: ClassVar[Mapping[str, str]] = HTTP_SCHEMES
    PORTS: ClassVar[Mapping[str, int]] = HTTP_PORTS
    PATH_MARK: ClassVar[str] = "/services/collector"

    @field_validator("url")
    @classmethod
    def _http_with_host(cls, url: str) -> str:
        example = f"give an address like {_ADDRESS}"
        parts = parts_of(url, cls.SCHEMES, example)
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
