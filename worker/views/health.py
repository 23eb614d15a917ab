"""How an integration fares, as the API tells it."""

from pydantic import BaseModel, Field

from worker.model.health import ERROR_RATE, LATENCY, RETRY_RATE, IntegrationHealth, LastError, State
from worker.model.sources import HEALTH_FIELDS, MissingSources, Source
from worker.model.time import rfc3339


class ErrorDocument(BaseModel):
    """The latest delivery that is dead or to be tried again, and what would mend it."""

    at: str | None
    code: str
    error: str
    hint: str
    next_try: str | None


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
    """How an integration fares and why; rates are from 0 to 1, over SIEM_HEALTH_WINDOW.

    While a part of the installation is away, the rest is told, and `unknown` says what is not.
    """

    id: str
    tenant_id: str
    name: str
    type: str
    state: State
    reason: str
    last_success: str | None
    last_error: ErrorDocument | None
    error_rate: float | None = Field(description=f"{ERROR_RATE}; null while nothing was settled")
    retry_rate: float | None = Field(description=f"{RETRY_RATE}; null without an attempt")
    latency_ms: LatencyDocument | None = Field(description=f"{LATENCY}; null without one")
    recorded_until: str | None = Field(
        description="What was settled until then is counted in the figures above; later outcomes are not yet"
    )
    backlog: int | None
    parked: int | None
    oldest_event: str | None
    waiting_seconds: float | None
    unknown: list[UnknownDocument]


def health_document(one: IntegrationHealth, gaps: MissingSources | None = None) -> HealthDocument:
    """Tell it; times are RFC 3339."""
    latency = one.latency
    knows_redis, knows_ledger = Source.REDIS not in one.missing, Source.DATABASE not in one.missing
    return HealthDocument(
        id=one.integration_id,
        tenant_id=one.tenant_id,
        name=one.name,
        type=one.type,
        state=one.state,
        reason=one.reason,
        last_success=rfc3339(one.last_success_ms),
        last_error=_error(one.last_error) if one.last_error else None,
        error_rate=one.error_rate,
        retry_rate=one.retry_rate,
        latency_ms=LatencyDocument(p50=latency.p50, p95=latency.p95, p99=latency.p99) if latency else None,
        recorded_until=rfc3339(one.recorded_until_ms) if knows_redis else None,
        backlog=one.backlog_events if knows_redis else None,
        parked=one.parked_events if knows_ledger else None,
        oldest_event=rfc3339(one.oldest_event_ms) if knows_redis else None,
        waiting_seconds=one.waiting_seconds if knows_redis else None,
        unknown=[
            UnknownDocument(source=source, reason=error.public, fields=list(HEALTH_FIELDS[source]))
            for source, error in (gaps.errors.items() if gaps else ())
        ],
    )


def _error(error: LastError) -> ErrorDocument:
    return ErrorDocument(
        at=rfc3339(error.at_ms),
        code=error.code,
        error=error.error,
        hint=error.hint,
        next_try=rfc3339(error.retry_at_ms),
    )
