"""The health of integrations and of the fleet as JSON.

Operators are shown why a source is missing in their own words; tenants in words that name no host.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, Field

from worker.model.fleet_health import FleetHealth, Part
from worker.model.health import (
    ERROR_RATE,
    LATENCY,
    RETRY_RATE,
    Breaker,
    Counts,
    IntegrationHealth,
    LastError,
    State,
    Subject,
)
from worker.model.sources import MissingSources, Source
from worker.model.time import rfc3339

#: What of an integration's health is null without each source.
HEALTH_FIELDS: Mapping[Source, Sequence[str]] = {
    Source.REDIS: ("backlog", "oldest_event_at", "waiting_seconds", "recorded_until"),
    Source.DATABASE: ("last_success_at", "last_error", "error_rate", "retry_rate", "latency_ms", "parked"),
}
#: And of what `siem status` adds to that.
STATUS_FIELDS: Mapping[Source, Sequence[str]] = {
    Source.REDIS: ("breaker_open", *HEALTH_FIELDS[Source.REDIS]),
    Source.DATABASE: (
        *HEALTH_FIELDS[Source.DATABASE],
        *("delivered", "retried", "dead", "disabled_reason"),
    ),
}


class ErrorDocument(BaseModel):
    """The latest delivery that is dead or to be tried again, with a hint."""

    at: str | None
    code: str
    error: str
    hint: str
    next_try_at: str | None


class LatencyDocument(BaseModel):
    """Percentiles, in milliseconds."""

    p50: int
    p95: int
    p99: int


class UnknownDocument(BaseModel):
    """What could not be asked (`redis`, `database`), why, and the fields that are null for it."""

    source: Source
    reason: str
    fields: list[str]


class HealthDocument(BaseModel):
    """The health of an integration, and why; rates are from 0 to 1, over SIEM_HEALTH_WINDOW.

    While Redis or the database is away, the rest is shown, and `unknown` names what is not known.
    """

    id: str
    tenant_id: str
    name: str
    type: str
    state: State
    reason: str
    last_success_at: str | None
    last_error: ErrorDocument | None
    error_rate: float | None = Field(description=f"{ERROR_RATE}; null while nothing was settled")
    retry_rate: float | None = Field(description=f"{RETRY_RATE}; null without an attempt")
    latency_ms: LatencyDocument | None = Field(description=f"{LATENCY}; null without one")
    recorded_until: str | None = Field(
        description="What was settled until then is counted in the figures above; later outcomes are not yet"
    )
    backlog: int | None
    parked: int | None
    oldest_event_at: str | None
    waiting_seconds: float | None
    unknown: list[UnknownDocument]


class BreakerDocument(BaseModel):
    """An open circuit breaker: why, since when, and when an event is tried again."""

    cause: str
    since: str | None
    next_try_at: str | None


class StatusDocument(HealthDocument):
    """The health of an integration, how it is set, and how many events were settled how."""

    enabled: bool
    paused: bool
    disabled_reason: str | None
    breaker_open: BreakerDocument | None
    delivered: int | None
    retried: int | None
    dead: int | None


class PartDocument(BaseModel):
    """One part of the fleet; `detail` is null where only a token opens it, and short without one."""

    name: str
    ok: bool
    detail: str | None


class FleetDocument(BaseModel):
    """Whether every event finds its way: `ok` is whether all parts do their work."""

    ok: bool = Field(description="Also shown by the status: 200 or 503.")
    parts: list[PartDocument]


def health_document(
    one: IntegrationHealth, missing: MissingSources, *, for_tenant: bool = False
) -> HealthDocument:
    """Return the health of an integration; what comes from a missing source is null."""
    unknown = unknown_documents(missing, HEALTH_FIELDS, for_tenant=for_tenant)
    return HealthDocument(**_health(one), unknown=unknown)


def status_document(
    one: IntegrationHealth, subject: Subject, counts: Counts | None, missing: MissingSources
) -> StatusDocument:
    """Return the status of an integration; without counts, the database was not there to ask."""
    return StatusDocument(
        **_health(one),
        enabled=subject.enabled,
        paused=subject.paused,
        disabled_reason=subject.disabled_reason,
        breaker_open=_breaker(one.breaker) if one.breaker else None,
        delivered=counts.delivered if counts else None,
        retried=counts.retried if counts else None,
        dead=counts.dead if counts else None,
        unknown=unknown_documents(missing, STATUS_FIELDS),
    )


def fleet_document(found: FleetHealth, detail_of: Callable[[Part], str | None]) -> FleetDocument:
    """Return the health of the fleet, each part with the detail that the reader may see."""
    parts = [PartDocument(name=one.name, ok=one.ok, detail=detail_of(one)) for one in found.parts]
    return FleetDocument(ok=found.ok, parts=parts)


def unknown_documents(
    missing: MissingSources, fields: Mapping[Source, Sequence[str]], *, for_tenant: bool = False
) -> list[UnknownDocument]:
    """Return which source could not be asked, why, and which of these fields are null for it."""
    return [
        UnknownDocument(
            source=source, reason=error.public if for_tenant else str(error), fields=list(fields[source])
        )
        for source, error in missing.errors.items()
    ]


def _health(one: IntegrationHealth) -> dict[str, Any]:
    latency = one.latency
    knows_redis, knows_ledger = Source.REDIS not in one.missing, Source.DATABASE not in one.missing
    return {
        "id": one.integration_id,
        "tenant_id": one.tenant_id,
        "name": one.name,
        "type": one.type,
        "state": one.state,
        "reason": one.reason,
        "last_success_at": rfc3339(one.last_success_ms),
        "last_error": _error(one.last_error) if one.last_error else None,
        "error_rate": one.error_rate,
        "retry_rate": one.retry_rate,
        "latency_ms": LatencyDocument(p50=latency.p50, p95=latency.p95, p99=latency.p99) if latency else None,
        "recorded_until": rfc3339(one.recorded_until_ms) if knows_redis else None,
        "backlog": one.backlog_events if knows_redis else None,
        "parked": one.parked_events if knows_ledger else None,
        "oldest_event_at": rfc3339(one.oldest_event_ms) if knows_redis else None,
        "waiting_seconds": one.waiting_seconds if knows_redis else None,
    }


def _error(error: LastError) -> ErrorDocument:
    return ErrorDocument(
        at=rfc3339(error.at_ms),
        code=error.code,
        error=error.error,
        hint=error.hint,
        next_try_at=rfc3339(error.retry_at_ms),
    )


def _breaker(breaker: Breaker) -> BreakerDocument:
    next_try = rfc3339(breaker.next_try_ms) if breaker.next_try_ms else None
    return BreakerDocument(cause=breaker.cause, since=rfc3339(breaker.since_ms), next_try_at=next_try)
