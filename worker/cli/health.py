"""`siem health`: the health of each integration and why, and whether the fleet does its work."""

from contextlib import closing
from dataclasses import replace
from typing import Any

import click

from worker.background.health import HealthService
from worker.broker.connection import redis_client
from worker.cli.output import as_json_option, plain, print_json, when
from worker.cli.reports import (
    Entry,
    end_with,
    find_subject,
    in_order,
    limit_option,
    nothing_there,
    print_gaps,
    print_integrations,
    print_wrapped,
    reason,
    reported_ledger,
    state_words,
    tenant_option,
    waiting_text,
)
from worker.cli.selection import complete_integration
from worker.cli.stores import configuration
from worker.model.health import ERROR_RATE, FINE, LATENCY, RETRY_RATE, IntegrationHealth, Latency, Subject
from worker.model.sources import MissingSources, Source
from worker.model.time import span
from worker.views.health import HEALTH_FIELDS, fleet_document, health_document, unknown_documents


@click.command()
@click.argument("integration", required=False, shell_complete=complete_integration)
@tenant_option
@limit_option
@as_json_option
def health(integration: str | None, tenant: str | None, limit: int, *, as_json: bool) -> None:
    """Show how the fleet and each integration are, and why; or one integration, given by id or name.

    Healthy: what was routed to it is delivered, even if a retry was needed. Degraded: some of it becomes
    dead letters, much of it needs retries for minutes, or it waits for long. Failing: nothing comes through
    (several sendings in a row failed, or circuit breaker open), most of it becomes dead letters, or
    events wait and nothing happens. Paused, disabled: by hand, or by HTTP 410. Idle: no event for long.
    SIEM_HEALTH_* set from where on.

    Error rate: of the events that were delivered or became dead letters in SIEM_HEALTH_WINDOW, the share that
    became dead letters. Retry rate: of the attempts, the share that failed and was to be repeated. Latency:
    from the publication to the destination's acceptance, over the deliveries among the latest 500
    settlements. The API, the pages, `siem status` and /metrics show the same figures.

    While Redis or the database is away, what the other one knows is shown: unknown is the state of an
    integration for which that does not decide. So it is while outcomes wait for SIEM_HEALTH_LAG to be
    recorded: deliveries are shown as of `recorded until`. `unknown` of the JSON names the fields
    that are null, and why.

    \b
    siem health
    siem health splunk --json

    Exits with 3 if Redis or the database is away; else with 1 if an integration that it shows is degraded,
    failing or unknown, or a part of the fleet that it shows is not ok.
    """
    gaps = MissingSources()
    client = redis_client(configuration().broker_address())
    with closing(client), reported_ledger(gaps) as engine:
        asked = HealthService(engine, client, configuration())
        known = asked.known_subjects(gaps, tenant)
        if integration is None:
            fine = _Survey(asked, known, gaps, limit, tenant).print(as_json=as_json)
        else:
            chosen = [find_subject(known, integration, gaps)] if known or not gaps.errors else []
            fine = _tell(asked.survey(chosen, gaps), gaps, as_json=as_json)
    end_with(gaps, fine=fine)


def _known(one: IntegrationHealth, source: Source, value: Any) -> Any:
    return None if source in one.missing else value


class _Survey:
    """All integrations of a tenant, or all there are, and the fleet."""

    def __init__(
        self, asked: HealthService, known: list[Subject], gaps: MissingSources, limit: int, tenant: str | None
    ) -> None:
        self._health, self._gaps, self._limit, self._tenant = asked, gaps, limit, tenant
        self._fleet = asked.fleet()
        self._known = known

    def print(self, *, as_json: bool) -> bool:
        """Print it; return whether all is fine."""
        healths = in_order(self._health.survey(self._known, self._gaps, with_latencies=as_json))
        if as_json:
            self._print_json(healths)
        else:
            self._print(healths)
        return all(part.ok for part in self._fleet.parts) and all(one.state in FINE for one in healths)

    def _print_json(self, healths: list[IntegrationHealth]) -> None:
        print_json(
            {
                "fleet": fleet_document(self._fleet, lambda part: part.words),
                "integrations": [health_document(one, self._gaps) for one in healths],
                "unknown": unknown_documents(self._gaps, HEALTH_FIELDS),
            }
        )

    def _print(self, healths: list[IntegrationHealth]) -> None:
        for part in self._fleet.parts:
            print_wrapped(f"{'ok' if part.ok else 'NOT OK':8}{part.name:20}{part.words}", indent=" " * 28)
        click.echo()
        listed = self._with_latencies(healths[: self._limit or None])
        if healths:
            entries = [Entry(one, _cells(one), reason(one)) for one in listed]
            print_integrations(_COLUMNS, entries, healths[len(listed) :])
        else:
            click.echo("No integration is known." if self._gaps.errors else nothing_there(self._tenant))
        print_gaps(self._gaps, HEALTH_FIELDS)

    def _with_latencies(self, healths: list[IntegrationHealth]) -> list[IntegrationHealth]:
        """Ask for the latencies of those that are listed alone: they take most of the time."""
        ids = [one.integration_id for one in healths]
        found = self._gaps.ask(Source.DATABASE, lambda: self._health.latencies(ids)) or {}
        return [replace(one, latency=found.get(one.integration_id)) for one in healths]


_COLUMNS = ("backlog", "waits", "errors", "p50 ms", "p99 ms")


def _tell(found: list[IntegrationHealth], gaps: MissingSources, *, as_json: bool) -> bool:
    if not found:
        return False
    [one] = found
    if as_json:
        print_json(health_document(one, gaps))
    else:
        click.echo(plain(f"{one.name} is {state_words(one.state)}: {one.reason}"))
        for name, value in _figures(one):
            click.echo(plain(f"{name:24}{value}"))
        print_gaps(gaps, HEALTH_FIELDS)
    return one.state in FINE


def _figures(one: IntegrationHealth) -> list[tuple[str, str]]:
    latency, problem = one.latency, one.last_error
    backlog = _shown(_known(one, Source.REDIS, one.backlog_events))
    if Source.DATABASE in one.missing:
        return [("backlog", f"{backlog}"), *_oldest(one)]
    lines = [
        ("last success", when(one.last_success_ms) or "never"),
        ("last error", f"{when(problem.at_ms)} {problem.error}; {problem.hint}" if problem else "none"),
        ("error rate", _rate(one.error_rate, ERROR_RATE)),
        ("retry rate", _rate(one.retry_rate, RETRY_RATE)),
        ("latency", _latency_in_words(latency)),
        ("recorded until", when(one.recorded_until_ms) or "?"),
        ("backlog", f"{backlog} and {one.parked_events} parked"),
    ]
    return [*lines, *_oldest(one)]


def _oldest(one: IntegrationHealth) -> list[tuple[str, str]]:
    if one.oldest_event_ms is None or Source.REDIS in one.missing:
        return []
    return [("oldest event", f"{when(one.oldest_event_ms)}, waits for {_waits(one)}")]


def _shown(value: Any) -> Any:
    return "?" if value is None else value


def _cells(one: IntegrationHealth) -> list[Any]:
    return [
        waiting_text(one),
        "?" if Source.REDIS in one.missing else _waits(one),
        "?" if Source.DATABASE in one.missing else _percent(one.error_rate),
        *_percentiles(one),
    ]


def _percentiles(one: IntegrationHealth) -> list[Any]:
    latency = one.latency
    if latency is None:
        return ["?" if Source.DATABASE in one.missing else None] * 2
    return [latency.p50, latency.p99]


def _waits(one: IntegrationHealth) -> str:
    return "" if one.waiting_seconds is None else span(one.waiting_seconds * 1000)


def _percent(rate: float | None) -> str:
    return "" if rate is None else f"{rate * 100:.1f} %"


def _latency_in_words(latency: Latency | None) -> str:
    if latency is None:
        return f"nothing to reckon with ({LATENCY})"
    return f"p50 {latency.p50} ms, p95 {latency.p95} ms, p99 {latency.p99} ms ({LATENCY})"


def _rate(rate: float | None, meaning: str) -> str:
    shown = "no data" if rate is None else _percent(rate)
    window = span(configuration().health_window * 1000)
    return f"{shown} in the last {window} ({meaning})"
