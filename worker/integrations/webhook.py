"""A webhook, as a customer configures it."""

import base64
import binascii
import re
from collections.abc import Iterator, Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationInfo, field_validator

from worker.integrations.destination import (
    HTTP_PORTS,
    HTTP_SCHEMES,
    BatchBytes,
    BatchEvents,
    DestinationConfig,
    TimeoutSeconds,
)
from worker.integrations.fields import Described
from worker.integrations.secrets import MASK, SecretUrl, UnreadableUrl, is_secret_readable
from worker.integrations.tls import is_stored
from worker.integrations.urls import parts_of, with_ascii_host

#: The most header fields that an integration may add to each request.
MOST_HEADERS = 20

_ADDRESS = "https://endpoint.example.com/webhook"
_HEADER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}")
#: Headers that are ours to set, or that change how a request is read (RFC 9110, 7.6.1); `Proxy` becomes
#: HTTP_PROXY, which many clients of the endpoint obey (httpoxy, CVE-2016-5385).
_OUR_HEADERS = frozenset(
    {
        *("authorization", "connection", "cookie", "expect", "host", "http2-settings", "keep-alive", "proxy"),
        *("proxy-authorization", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"),
        *("user-agent", "webhook-id", "webhook-timestamp", "webhook-signature"),
    }
)
_LONGEST_SECRET = 4096


class NoAuth(BaseModel):
    """The endpoint asks for nothing."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["none"] = "none"


class BearerAuth(BaseModel):
    """`Authorization: Bearer <token>` (RFC 6750)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["bearer"] = "bearer"
    token: Annotated[
        SecretStr,
        Described(label="Bearer token", help="a webhook's bearer token", flag="--token", advanced=False),
    ]

    @field_validator("token")
    @classmethod
    def _token68(cls, token: SecretStr) -> SecretStr:
        if is_secret_readable(token) and not re.fullmatch(r"[!-~]{1,4096}", token.get_secret_value()):
            msg = "give the token alone: printable characters, no spaces, without the word Bearer"
            raise ValueError(msg)
        return token


class ApiKeyAuth(BaseModel):
    """A key in a header of the endpoint's choice."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["api_key"] = "api_key"
    header: Annotated[
        str,
        Described(
            label="Header of the key",
            help="the header that carries the API key",
            placeholder="X-Api-Key",
            flag="--api-key-header",
            metavar="NAME",
            advanced=False,
        ),
    ] = "X-Api-Key"
    value: Annotated[
        SecretStr,
        Described(label="API key", help="the API key", file_flag="--api-key-file", advanced=False),
    ]

    @field_validator("header")
    @classmethod
    def _name(cls, name: str, info: ValidationInfo) -> str:
        return _checked_name(name, info, except_for=frozenset({"authorization"}))

    @field_validator("value")
    @classmethod
    def _value(cls, value: SecretStr) -> SecretStr:
        return _checked_value(value)


class Webhook(DestinationConfig):
    """Any endpoint that takes JSON by POST: an event a request, or an array or lines of several.

    The events' own bytes are sent, as they were published. `signing_secrets` are those of Standard
    Webhooks, `whsec_…`, the newest first; with two, every request carries both signatures, so that a
    secret can be changed without a gap. `headers` may hold secrets and are kept as such.
    `timeout_seconds` is for one request; `connections` bounds the requests of one batch in flight.
    """

    type: Literal["webhook"] = "webhook"
    url: Annotated[
        SecretUrl,
        Described(
            label="Destination URL",
            help="where the SIEM listens",
            more="http or https. A query may hold credentials, so its values are secrets: they are shown as "
            "`…`, and stay as they are where `…` is sent back.",
            placeholder="https://your-endpoint/webhook",
            addresses=(_ADDRESS,),
            advanced=False,
        ),
    ]
    auth: Annotated[
        NoAuth | BearerAuth | ApiKeyAuth,
        Field(discriminator="kind"),
        Described(
            label="Authentication",
            help="how we prove who we are: not at all, by Authorization: Bearer ({auth.token}), or by a key "
            "in a header ({auth.value})",
            words={"none": "None", "bearer": "Bearer token", "api_key": "API key in a header"},
            advanced=False,
        ),
    ] = NoAuth()
    headers: Annotated[
        dict[str, SecretStr],
        Field(max_length=MOST_HEADERS, default_factory=dict),
        Described(
            label="Headers of your own",
            help=f"a header to add to each request, up to {MOST_HEADERS} in all",
            hint="One a line: name: value",
            flag="--add-header",
            file_flag="--header-file",
        ),
    ]
    signing_secrets: Annotated[
        tuple[SecretStr, ...],
        Field(max_length=2),
        Described(
            label="Signing secrets",
            help="secrets of Standard Webhooks, each whsec_ and base64, the newest first: a request has a "
            "signature by each",
            hint="One a line, the newest first, two at the most. The page of an integration makes new ones.",
            file_flag="--signing-secret-file",
            flag_help="sign each request as Standard Webhooks say, with the whsec_ secret in this file (or - "
            "for standard input); `siem integrations new-secret` makes one. While the endpoint changes over, "
            "give two, the newest first",
        ),
    ] = ()
    body: Annotated[
        Literal["event", "array", "lines"],
        Described(
            label="One request carries",
            help="what a request carries: one event, a JSON array of events, or a line for each",
            words={"event": "one event", "array": "a JSON array", "lines": "lines of JSON (NDJSON)"},
            advanced=False,
        ),
    ] = "event"
    connections: Annotated[
        int,
        Field(ge=1, le=128),
        Described(label="Requests at once", help="how many requests of one batch may be under way at once"),
    ] = 32
    batch_events: BatchEvents = 250
    batch_bytes: BatchBytes = 900_000
    timeout_seconds: TimeoutSeconds = 15.0

    SCHEMES: ClassVar[Mapping[str, str]] = HTTP_SCHEMES
    PORTS: ClassVar[Mapping[str, int]] = HTTP_PORTS

    @field_validator("url")
    @classmethod
    def _http_with_host(cls, url: SecretUrl, info: ValidationInfo) -> SecretUrl:
        if isinstance(url, UnreadableUrl):
            return url
        if MASK in url.partition("?")[2] and not is_stored(info):
            msg = f"has {MASK} in the place of a value: give the value itself"
            raise ValueError(msg)
        parts = parts_of(url, cls.SCHEMES, f"give an address like {_ADDRESS}")
        if parts.username is not None:
            msg = "has a user name in it: leave it out, and give `auth` or a header instead"
            raise ValueError(msg)
        return SecretUrl(with_ascii_host(url))

    @field_validator("headers")
    @classmethod
    def _fit_for_http(cls, headers: dict[str, SecretStr], info: ValidationInfo) -> dict[str, SecretStr]:
        for name, value in headers.items():
            _checked_name(name, info)
            _checked_value(value)
        if len(set(map(_folded, headers))) < len(headers) and not is_stored(info):
            msg = "names a header twice: many servers read upper and lower case, `-` and `_` as the same"
            raise ValueError(msg)
        return headers

    @field_validator("signing_secrets")
    @classmethod
    def _of_standard_webhooks(cls, secrets: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        for secret in filter(is_secret_readable, secrets):
            signing_key(secret)
        return secrets

    def secrets_sent(self) -> str:
        """Return it as of any destination; headers and the query of the url are secrets as well."""
        headers = "the added headers" if self.headers else ""
        return (
            super().secrets_sent()
            or headers
            or ("the values of the url's query" if self.url.has_query else "")
        )

    def contradictions(self, *, stored: bool) -> Iterator[str]:
        """Yield what does not go together, as of any destination."""
        yield from super().contradictions(stored=stored)
        if stored:
            return
        if isinstance(self.auth, ApiKeyAuth) and _folded(self.auth.header) in map(_folded, self.headers):
            yield "headers: names the header of the API key; give it in one place"


def signing_key(secret: SecretStr) -> bytes:
    """Return the bytes that a secret of Standard Webhooks 1.0.0 stands for: 24 to 64, behind `whsec_`.

    Raises ValueError, which does not repeat it.
    """
    prefix, _, encoded = secret.get_secret_value().partition("whsec_")
    try:
        key = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if prefix or not 24 <= len(key) <= 64:  # noqa: PLR2004 - the specification's bounds
        msg = "give whsec_ and 24 to 64 random bytes in base64, as `siem integrations new-secret` prints them"
        raise ValueError(msg)
    return key


def _folded(name: str) -> str:
    """Return the name as servers compare it that pass headers on as CGI does (RFC 3875, 4.1.18)."""
    return name.lower().replace("_", "-")


def _checked_name(name: str, info: ValidationInfo, *, except_for: frozenset[str] = frozenset()) -> str:
    if is_stored(info):
        return name
    if not _HEADER_NAME.fullmatch(name):
        msg = "give a header's name: letters, digits, hyphens and underscores"
        raise ValueError(msg)
    folded = _folded(name)
    if folded.startswith("content-") or folded in _OUR_HEADERS - except_for:
        also = "" if folded == name.lower() else f", which many servers read as {folded},"
        msg = f"the header {name}{also} is not for you to set: choose another, or `auth`"
        raise ValueError(msg)
    return name


def _checked_value(value: SecretStr) -> SecretStr:
    if not is_secret_readable(value):
        return value
    text = value.get_secret_value()
    if not text or len(text) > _LONGEST_SECRET or text != text.strip():
        msg = "give a header's value: not empty, no spaces around it"
        raise ValueError(msg)
    if not all(" " <= char <= "~" for char in text):
        msg = "give a header's value in printable ASCII, on one line"
        raise ValueError(msg)
    return value
