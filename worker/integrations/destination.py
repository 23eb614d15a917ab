"""What the configuration of every destination has, beside the fields of its own."""

from typing import TYPE_CHECKING

from worker.integrations.tls import TlsOptions

#: What a class must declare itself, see below.
REQUIRED_FIELDS = ("type", "url", "batch_events", "batch_bytes", "timeout_seconds")


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
