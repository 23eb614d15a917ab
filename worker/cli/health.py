"""`siem health`: how each integration fares and why, and whether the fleet does its work."""

import sys
from dataclasses import asdict
from typing import Any

import click

from worker.broker.connection import connect
from worker.cli.configuration import configuration
from worker.cli.output import as_json_option, plain, print_json, print_table, when
from worker.cli.stores import integration_store
from worker.health import Health
from worker.model.judgement import span
from worker.model.wellbeing import FleetHealth, IntegrationHealth, Problem, State

#: States that are no reason to call anybody.
_FINE = frozenset({State.HEALTHY, State.IDLE, State.PAUSED, State.SWITCHED_OFF})


@click.command()
@click.argument("integration", required=False)
@as_json_option
def health(integration: str | None, *, as_json: bool) -> None:
    """Say how the fleet and each integration fare, and why; or one integration, given by id or name.

    Healthy: what was routed to it is delivered. Degraded: some of it fails, or waits for long. Failing: most
    of it fails, nothing is sent because its circuit breaker is open, or events wait and nothing happens.
    Paused, switched off: somebody wants it so. Idle: no event for long. SIEM_HEALTH_* set from where on.

    \b
    siem health
    siem health splunk --json

    Exits with 1 if an integration that was asked for is degraded or failing, or a part of the fleet is not
    ok.
    """
    client = connect(configuration().broker_address())
    try:
        with integration_store() as store:
            asked = Health(store.engine, client, configuration())
            if integration is None:
                fine = _tell_all(asked.fleet(), asked.all(None), as_json=as_json)
            else:
                fine = _tell(asked.of(store.resolve(integration)), as_json=as_json)
    finally:
        client.close()
    if not fine:
        sys.exit(1)


def document(one: IntegrationHealth) -> dict[str, Any]:
    """Return it as JSON values; moments in words, as in every document of `siem`."""
    return {
        "id": one.integration_id,
        "tenant_id": one.tenant_id,
        "name": one.name,
        "type": one.type,
        "state": one.state.value,
        "reason": one.reason,
        "last_success": when(one.last_success_ms) or None,
        "last_error": _problem(one.last_error),
        "error_rate": one.error_rate,
        "latency_ms": asdict(one.latency) if one.latency else None,
        "backlog": one.backlog_events,
        "parked": one.parked_events,
        "oldest_event": when(one.oldest_event_ms) or None,
        "waiting_seconds": one.waiting_seconds,
    }


def _tell_all(fleet: FleetHealth, healths: list[IntegrationHealth], *, as_json: bool) -> bool:
    if as_json:
        parts = [{"name": part.name, "ok": part.ok, "words": part.words} for part in fleet.parts]
        told = {"ready": fleet.ok, "parts": parts}
        print_json({"fleet": told, "integrations": [document(one) for one in healths]})
    else:
        for part in fleet.parts:
            click.echo(plain(f"{'ok' if part.ok else 'NOT OK':8}{part.name:20}{part.words}"))
        print_table(
            ["name", "state", "backlog", "waits", "errors", "p50 ms", "p95 ms", "p99 ms", "reason"],
            [_row(one) for one in healths],
            empty="No integrations yet: `siem integrations create --help` tells how to create one.",
        )
    return all(part.ok for part in fleet.parts) and all(one.state in _FINE for one in healths)


def _tell(one: IntegrationHealth, *, as_json: bool) -> bool:
    if as_json:
        print_json(document(one))
    else:
        click.echo(plain(f"{one.name} is {_state(one)}: {one.reason}"))
        for name, value in _figures(one):
            click.echo(plain(f"{name:24}{value}"))
    return one.state in _FINE


def _figures(one: IntegrationHealth) -> list[tuple[str, str]]:
    latency, problem = one.latency, one.last_error
    told = [
        ("last success", when(one.last_success_ms) or "never"),
        ("last error", f"{when(problem.at_ms)} {problem.error}; {problem.hint}" if problem else "none"),
        ("error rate", _percent(one.error_rate) or "no attempt lately"),
        ("latency p50 / p95 / p99", f"{latency.p50} / {latency.p95} / {latency.p99} ms" if latency else "-"),
        ("backlog", f"{one.backlog_events} and {one.parked_events} parked"),
    ]
    if one.oldest_event_ms is not None:
        told.append(("oldest event", f"{when(one.oldest_event_ms)}, waits for {_waits(one)}"))
    return told


def _row(one: IntegrationHealth) -> list[Any]:
    latency = one.latency
    return [
        one.name,
        _state(one),
        one.backlog_events + one.parked_events,
        _waits(one),
        _percent(one.error_rate),
        *((latency.p50, latency.p95, latency.p99) if latency else (None, None, None)),
        one.reason,
    ]


def _state(one: IntegrationHealth) -> str:
    return one.state.replace("_", " ")


def _waits(one: IntegrationHealth) -> str:
    return "" if one.waiting_seconds is None else span(one.waiting_seconds * 1000)


def _percent(rate: float | None) -> str:
    return "" if rate is None else f"{rate * 100:.1f} %"


def _problem(problem: Problem | None) -> dict[str, Any] | None:
    if problem is None:
        return None
    return {
        "at": when(problem.at_ms),
        "code": problem.code,
        "error": problem.error,
        "hint": problem.hint,
        "next_try": when(problem.retry_at_ms) or None,
    }
