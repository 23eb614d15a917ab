"""One integration: how it fares and why, the last day, the latest failures in full, and what can be done."""

from fastapi import APIRouter, Request
from fastapi.responses import Response

from worker.api.callers import Shared
from worker.api.pools import FairRoute
from worker.background.health import HealthService
from worker.broker.redis_stats import RedisStats
from worker.ledger.counts import minutes_of
from worker.ledger.deliveries import find_deliveries
from worker.model.time import span
from worker.pages.charts import bar_chart, line_chart
from worker.pages.integrations import MEANINGS
from worker.pages.rendering import render
from worker.pages.sessions import HOME, Viewer
from worker.pages.spans import HOUR_MS, MINUTE_MS, bars, latency_points

router = APIRouter(include_in_schema=False, route_class=FairRoute)

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
