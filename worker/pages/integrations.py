"""The list of integrations, the page of one, and one event at all of them."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response
from markupsafe import Markup

from worker.api.callers import Shared
from worker.api.pools import FairRoute
from worker.background.health import HealthService
from worker.broker.conflicts import ConflictKind, conflicts
from worker.broker.redis_stats import RedisStats
from worker.broker.unrecordable import Unrecordable
from worker.ledger.attempts import attempts_of
from worker.ledger.counts import Minute, minutes_of
from worker.ledger.deliveries import find_deliveries
from worker.model.health import ERROR_RATE, LATENCY, RETRY_RATE, Counts, IntegrationHealth, Latency, State
from worker.model.time import span
from worker.pages.charts import HOUR_MS, MINUTE_MS, bar_chart, bars, latency_points, line_chart, sparkline
from worker.pages.rendering import render
from worker.pages.sessions import HOME, Viewer

router = APIRouter(include_in_schema=False, route_class=FairRoute)

PAGE = 50
#: Events per minute are those of so many whole minutes.
_RATE_MINUTES = 5
#: What the figures are, shown when pointed at.
MEANINGS = {"error_rate": ERROR_RATE, "retry_rate": RETRY_RATE, "latency": LATENCY}
_TROUBLE_FIRST = (
    *(State.FAILING, State.DEGRADED, State.UNKNOWN, State.PAUSED, State.HEALTHY),
    *(State.IDLE, State.DISABLED),
)


@dataclass(frozen=True, slots=True)
class Row:
    """What the list shows of one integration."""

    health: IntegrationHealth
    url: str
    per_minute: float
    latency: Latency | None
    spark: Markup


@router.get(HOME)
def show_list(
    request: Request,
    resources: Shared,
    user: Viewer,
    state: Annotated[State | None, Query()] = None,
    q: Annotated[str, Query(max_length=200)] = "",
    page: Annotated[int, Query(ge=1, le=100_000)] = 1,
) -> Response:
    """Show the integrations; `state` and `q`, a part of the name, narrow the list."""
    health = HealthService(resources.engine, resources.client, resources.config)
    everyone = sorted(health.all(user.tenant_id, with_latencies=False), key=_by_trouble)
    chosen = [one for one in everyone if state in {None, one.state} and q.lower() in one.name.lower()]
    visible = chosen[(page - 1) * PAGE : page * PAGE]
    return render(
        request,
        "list.html",
        user,
        notices=list(_notices(resources, user.tenant_id)),
        rows=_rows(resources, health, user.tenant_id, visible),
        meanings=MEANINGS,
        window=span(resources.config.health_window * 1000),
        counts=Counter(one.state for one in everyone),
        states=_TROUBLE_FIRST,
        everyone=len(everyone),
        chosen=len(chosen),
        state=state,
        q=q,
        page=page,
        pages=-(-len(chosen) // PAGE),
    )


def _notices(resources: Shared, tenant_id: str) -> Iterator[str]:
    """Yield a sentence for each trouble of the fleet that no single integration shows."""
    if aside := Unrecordable(resources.client).count():
        yield (
            f"{aside} {'batch' if aside == 1 else 'batches'} of results could not be recorded: what is shown "
            "here is not complete until an operator retries them (siem unrecordable list)."
        )

    found = conflicts(resources.client).values()
    ours = sorted(
        one.name for one in found if one.tenant_id == tenant_id and one.kind is ConflictKind.UNKNOWN
    )
    if ours:
        yield (
            f"Paused, and not in this list, because the database does not know them: {', '.join(ours)}. An "
            "operator adopts or deletes them (siem integrations orphans list)."
        )


def _by_trouble(one: IntegrationHealth) -> tuple[int, str]:
    return _TROUBLE_FIRST.index(one.state), one.name.lower()


def _rows(
    resources: Shared, health: HealthService, tenant_id: str, visible: list[IntegrationHealth]
) -> list[Row]:
    ids = [one.integration_id for one in visible]
    now_ms = RedisStats(resources.client).now_ms()
    minutes = minutes_of(resources.engine, ids, now_ms - HOUR_MS)
    latencies = health.latencies(ids)
    urls = resources.integrations_of(tenant_id).urls(ids)
    return [
        Row(
            one,
            urls.get(one.integration_id, ""),
            _per_minute(minutes[one.integration_id], now_ms),
            latencies[one.integration_id],
            _spark(minutes[one.integration_id], now_ms),
        )
        for one in visible
    ]


def _per_minute(minutes: list[Minute], now_ms: int) -> float:
    """Return the deliveries of a minute on average; the minute under way would make it look smaller."""
    until_ms = now_ms // MINUTE_MS * MINUTE_MS
    since_ms = until_ms - _RATE_MINUTES * MINUTE_MS
    return (
        sum(one.counts.delivered for one in minutes if since_ms <= one.minute_ms < until_ms) / _RATE_MINUTES
    )


def _spark(minutes: list[Minute], now_ms: int) -> Markup:
    counts = sum((one.counts for one in minutes), Counts())
    name = f"Last hour: {counts.delivered:,} delivered, {counts.failed:,} failed attempts"
    return sparkline(bars(minutes, now_ms, span_ms=2 * MINUTE_MS, count=30), name)


#: Rows of one id at the most; it has one for each integration and each content that came under it.
_MOST = 1000


@router.get(HOME + "/events")
def find_event(
    request: Request,
    resources: Shared,
    user: Viewer,
    wanted: Annotated[str, Query(alias="id", max_length=128)] = "",
) -> Response:
    """Show the deliveries of one event to integrations of this tenant."""
    known = resources.integrations_of(user.tenant_id)
    rows = (
        find_deliveries(resources.engine, tenant_id=user.tenant_id, event_id=wanted, limit=_MOST)
        if wanted
        else []
    )
    return render(
        request,
        "events.html",
        user,
        wanted=wanted,
        rows=rows,
        names=known.names(),
        deleted=known.deleted_ids(),
        tried=attempts_of(resources.engine, wanted, [row.delivery for row in rows]),
    )


_DAY_MS = 24 * HOUR_MS
_SPAN_MS, _SPANS = 15 * MINUTE_MS, 96
#: How many of the latest failures are shown.
_FAILURES = 20


@router.get(HOME + "/{integration_id}")
def show_one(request: Request, resources: Shared, user: Viewer, integration_id: str) -> Response:
    """Show an integration; another tenant's is as unknown as one that never was."""
    configured = resources.integrations_of(user.tenant_id).show(integration_id)
    health = HealthService(resources.engine, resources.client, resources.config)
    now_ms = RedisStats(resources.client).now_ms()
    minutes = minutes_of(resources.engine, [configured.id], now_ms - _DAY_MS)[configured.id]
    drawn = bars(minutes, now_ms, span_ms=_SPAN_MS, count=_SPANS)
    delivered, failed = sum(bar.delivered for bar in drawn), sum(bar.failed for bar in drawn)
    return render(
        request,
        "one.html",
        user,
        one=configured,
        warning=resources.warning_of(configured),
        health=health.of(configured.id),
        meanings=MEANINGS,
        window=span(resources.config.health_window * 1000),
        delivered=delivered,
        failed=failed,
        drawn=drawn,
        chart=bar_chart(drawn, f"Last 24 hours: {delivered:,} delivered, {failed:,} failed attempts"),
        latency=line_chart(
            latency_points(minutes, now_ms, span_ms=_SPAN_MS, count=_SPANS), "Latency of the last 24 hours"
        ),
        failures=find_deliveries(
            resources.engine, integration_id=configured.id, failed=True, limit=_FAILURES
        ),
    )
