"""What the configuration of every destination has, beside the fields of its own."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar
from urllib.parse import urlsplit

from pydantic import Field

from worker.integrations.fields import Described, FieldShape, fields_of
from worker.integrations.tls import TlsOptions

#: What a class must declare itself, see below.
REQUIRED_FIELDS = ("type", "url", "batch_events", "batch_bytes", "timeout_seconds")
#: What the schemes of HTTP run over.
HTTP_SCHEMES = {"http": "TCP", "https": "TLS"}
HTTP_PORTS = {"http": 80, "https": 443}

BatchEvents = Annotated[
    int,
    Field(ge=1, le=1000),
    Described(
        label="Events of one batch at the most",
        help="the most events that are sent together",
    ),
]
BatchBytes = Annotated[
    int,
    Field(ge=1000, le=4_000_000),
    Described(
        label="Bytes of one batch at the most",
        help="the most bytes that are sent together, before compression",
    ),
]
TIMEOUT = Described(
    label="Timeout in seconds",
    help="how long one request may take in all",
    hint="How long one request may take, or a syslog receiver may take no byte; up to 30.",
    flag="--timeout",
)
TimeoutSeconds = Annotated[float, Field(gt=0, le=30), TIMEOUT]


class DestinationConfig(TlsOptions):
    """How one type of destination is reached; `worker.integrations.register` adds such a class.

    `type` is a Literal with a default: the type's name in documents and the API, its Celery queue, and behind
    `deliver_` its task. `timeout_seconds` bounds a single request or connection; `batch_events` and
    `batch_bytes` (uncompressed) are the most that one batch is made of.
    """

    # Each class declares these itself, at its own place among its fields, with its own bounds and defaults;
    # `worker.integrations.register` refuses one that does not.
    if TYPE_CHECKING:
        type: str
        url: str
        batch_events: int
        batch_bytes: int
        timeout_seconds: float

    #: What each scheme of its urls runs over: TCP, UDP or TLS.
    SCHEMES: ClassVar[Mapping[str, str]] = {}
    #: The port that a url means when it names none, by its scheme.
    PORTS: ClassVar[Mapping[str, int]] = {}
    #: What in the path of a url distinguishes this type from another one with the same schemes.
    PATH_MARK: ClassVar[str] = ""

    @property
    def is_encrypted(self) -> bool:
        """Whether what is sent to its url goes over TLS."""
        return self.SCHEMES[urlsplit(self.url).scheme] == "TLS"

    def secrets_sent(self) -> str:
        """Return which secret every request carries, as in "the API key", or nothing."""
        for field in fields_of(type(self)):
            value: Any = self
            for part in field.name.split("."):
                value = getattr(value, part, None)
            if field.shape is FieldShape.HIDDEN and value is not None:
                return f"the {field.noun}"
        return ""
