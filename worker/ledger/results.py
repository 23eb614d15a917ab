"""The typed rows and figures that the ledger answers with. Times are milliseconds since 1970 UTC."""

from dataclasses import dataclass
from typing import NamedTuple

from worker.model.deliveries import Assurance, Cause, Status
from worker.model.outcomes import key_of_reused
from worker.model.replays import LetterState


class Place(NamedTuple):
    """Where a delivery stands in the list of all, the newest first; a page begins after one."""

    settled_ms: int
    event_id: str
    integration_id: str


@dataclass(frozen=True, slots=True)
class DeliveryRow:
    """What became of one event at one integration. Times are milliseconds since 1970 UTC.

    `assurance` says how far a delivered event is known to have come; what is not delivered has none, nor
    has what an earlier release delivered. `content` is the digest of its bytes, where that is known, and
    `reused_id` says that another event had this id before, of which there is a row as well.
    """

    integration_id: str
    event_id: str
    event_type: str
    status: Status
    attempts: int
    http_status: int | None
    error_code: str | None
    error: str | None
    hint: str | None
    event_ms: int
    published_ms: int
    settled_ms: int
    latency_ms: int | None
    retry_at_ms: int | None
    assurance: Assurance | None = None
    content: str | None = None
    reused_id: bool = False

    @property
    def delivery(self) -> tuple[str, str | None]:
        """Which of the deliveries of its event's id this is: the integration, and the content."""
        return self.integration_id, self.content

    @property
    def place(self) -> Place:
        """What to give as `before` to get the rows that follow this one."""
        key = key_of_reused(self.event_id, self.content or "") if self.reused_id else self.event_id
        return Place(self.settled_ms, key, self.integration_id)


@dataclass(frozen=True, slots=True)
class DeadLetterRow:
    """A dead letter with its payload. What was never a valid event has no integration, but may have a tenant.

    `state_ms` is when it ceased to wait, and `replay_id` the replay that saw to that. `content` is the digest
    of the payload, where that is known.
    """

    id: str
    integration_id: str | None
    event_id: str | None
    event_type: str | None
    cause: Cause
    error_code: str
    error: str
    hint: str
    http_status: int | None
    attempts: int
    payload: bytes
    event_ms: int
    published_ms: int
    dead_ms: int
    state: LetterState
    state_ms: int | None = None
    replay_id: str | None = None
    content: str | None = None
    tenant_id: str | None = None


@dataclass(frozen=True, slots=True)
class DeliveryCounts:
    """Deliveries by where they stand; `retried` are those settled for good after more than one attempt."""

    delivered: int = 0
    retrying: int = 0
    dead: int = 0
    retried: int = 0


@dataclass(frozen=True, slots=True)
class DisabledIntegration:
    """An integration whose destination said that it is gone for good: in which words, and when."""

    integration_id: str
    name: str
    reason: str
    at_ms: int


@dataclass(frozen=True, slots=True)
class IntegrationRecord:
    """An integration as it rests: `document` is JSON with sealed secrets, or without any once deleted."""

    id: str
    type: str
    document: str
    revision: int
    deleted: bool


@dataclass(frozen=True, slots=True)
class IntegrationState:
    """Where an integration stands, without its document."""

    id: str
    type: str
    revision: int
    deleted: bool


@dataclass(frozen=True, slots=True)
class Recorded:
    """What a transaction of the recorder changed: new settlements and dead letters, and who is off now."""

    count: int
    disabled_by_destination: tuple[DisabledIntegration, ...] = ()
