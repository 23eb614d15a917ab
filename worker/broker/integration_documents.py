"""What routing and parking need to know of an integration, read from its document in Redis."""

import msgspec

from worker.model.untrusted_json import DAMAGED

#: Stands for the destination's type where a document cannot be read.
UNKNOWN = "unknown"


class Limits(msgspec.Struct, frozen=True):
    """The parts of a destination's configuration that routing needs."""

    type: str
    batch_events: int = 500
    batch_bytes: int = 900_000
    use_ack: bool = False

    @property
    def requests_a_claim(self) -> int:
        """How many requests a batch may fill: with acknowledgement each batch waits a second or more."""
        return _ACKNOWLEDGED_REQUESTS if self.use_ack else 1


#: What is acknowledged as a whole can also be claimed as a whole; more would only be repeated if it fails.
_ACKNOWLEDGED_REQUESTS = 4


class Subscription(msgspec.Struct, frozen=True):
    """What routing needs to know of an integration; fields of its document that are not here are skipped."""

    id: str
    destination: Limits
    tenant_id: str = "default"
    enabled: bool = False
    paused: bool = False
    event_types: frozenset[str] = frozenset()
    deleted: bool = False
    #: Whether it was paused before it was held as unknown to the ledger; None: it was never held.
    paused_before: bool | None = None
    name: str = ""

    def wants(self, event_type: str, tenant_id: str) -> bool:
        """Whether events of that type and tenant are to be sent here."""
        return (
            self.enabled
            and not self.deleted
            and tenant_id == self.tenant_id
            and event_type in self.event_types
        )


#: Reads a document. Raises one of DAMAGED.
decode_subscription = msgspec.json.Decoder(Subscription).decode


#: So many levels of nesting more than a document has. Whoever has a longer stack can read as many fewer.
_SPARE = 200
_read_anything = msgspec.json.Decoder().decode


def is_subscription_readable(document: bytes) -> bool:
    """Whether a document says what routing needs to know, to every program of ours."""
    try:
        decode_subscription(document)
        _read_anything(b"[" * _SPARE + document + b"]" * _SPARE)
    except DAMAGED:
        return False
    return True
