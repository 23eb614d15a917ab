"""How an integration fares, as the API tells it."""

from pydantic import BaseModel, Field

from worker.api.moments import moment
from worker.model.wellbeing import ERROR_RATE, RETRY_RATE, IntegrationHealth, State
from worker.model.wellbeing import Problem as LastError


class ErrorDocument(BaseModel):
    """The latest delivery that is dead or to be tried again, and what would mend it."""

    at: str | None
    code: str
    error: str
    hint: str
    next_try: str | None


class LatencyDocument(BaseModel):
    """From the publication to the destination's acceptance, in milliseconds."""

    p50: int
    p95: int
    p99: int


class HealthDocument(BaseModel):
    """How an integration fares and why; rates are from 0 to 1, over SIEM_HEALTH_WINDOW."""

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
    latency_ms: LatencyDocument | None
    backlog: int
    parked: int
    oldest_event: str | None
    waiting_seconds: float | None


def health_document(one: IntegrationHealth) -> HealthDocument:
    """Tell it; times are RFC 3339."""
    latency = one.latency
    return HealthDocument(
        id=one.integration_id,
        tenant_id=one.tenant_id,
        name=one.name,
        type=one.type,
        state=one.state,
        reason=one.reason,
        last_success=moment(one.last_success_ms),
        last_error=_error(one.last_error) if one.last_error else None,
        error_rate=one.error_rate,
        retry_rate=one.retry_rate,
        latency_ms=LatencyDocument(p50=latency.p50, p95=latency.p95, p99=latency.p99) if latency else None,
        backlog=one.backlog_events,
        parked=one.parked_events,
        oldest_event=moment(one.oldest_event_ms),
        waiting_seconds=one.waiting_seconds,
    )


def _error(error: LastError) -> ErrorDocument:
    return ErrorDocument(
        at=moment(error.at_ms),
        code=error.code,
        error=error.error,
        hint=error.hint,
        next_try=moment(error.retry_at_ms),
    )
