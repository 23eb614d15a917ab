"""`siem status`: the fleet and every integration at a glance, trouble first, and what waits in Redis."""

import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from typing import Any

import click

from worker.background.health import HealthService
from worker.background.redis_monitor import RedisReport
from worker.broker.conflicts import conflicts, count_by_kind, sentences
from worker.broker.connection import Client, redis_client
from worker.broker.heartbeat import ROLES, roles_alive
from worker.broker.ingress_counts import count_unrouted as ingress_waiting
from worker.broker.notices import floods, recorder_stall
from worker.broker.outcomes import lag
from worker.broker.unrecordable import Unrecordable
from worker.cli.output import Since, as_json_option, count_text, print_json, when
from worker.cli.reports import (
    Entry,
    end_with,
    in_order,
    limit_option,
    nothing_there,
    print_gaps,
    print_integrations,
    print_wrapped,
    reason,
    reported_ledger,
    tenant_option,
    waiting_text,
    watch,
)
from worker.cli.stores import configuration
from worker.integrations import destination_types
from worker.ledger.counts import counts_since
from worker.ledger.engine import Ledger
from worker.model.fleet_health import worker_role
from worker.model.health import FINE, Counts, IntegrationHealth, Latency
from worker.model.redis_checks import CheckStatus, RedisCheck
from worker.model.sources import MissingSources, Source
from worker.views.health import STATUS_FIELDS, StatusDocument, status_document, unknown_documents

#: How often a watched status is shown again, in seconds.
_EVERY = 2.0
#: What Redis knows of the fleet.
_OF_FLEET = (
    *("processes", "redis", "waiting_to_be_routed", "waiting_to_be_recorded", "unrecordable"),
    *("flooding_tenants", "conflicts", "recording_stalled", "not_ok"),
)
_COUNTS = ("delivered", "retried", "dead")
#: What is not known without each source.
_FIELDS = {**STATUS_FIELDS, Source.REDIS: (*_OF_FLEET, *STATUS_FIELDS[Source.REDIS])}
_COLUMNS = ("backlog", *_COUNTS, "p99 ms")


@dataclass(frozen=True, slots=True)
class _Question:
    """What is asked: counts since a moment (ms), of one tenant or all, so many listed, or all as JSON."""

    since_ms: int
    tenant: str | None
    limit: int
    as_json: bool = False


@click.command()
@click.option(
    "--since",
    metavar="TIME",
    type=Since(),
    default="1h",
    show_default=True,
    help="Count what was settled in the last 30s, 15m, 1h, 2d, or since a time like 2026-11-22T10:00:00Z, by "
    "whole minutes.",
)
@tenant_option
@limit_option
@click.option("--watch", "watched", is_flag=True, help="Show it again every two seconds, until Ctrl-C.")
@as_json_option
def status(since: int, tenant: str | None, limit: int, *, watched: bool, as_json: bool) -> None:
    """Show the fleet and its integrations, those in trouble first.

    Under an integration in trouble stands why, with a hint. BACKLOG counts the events that are not settled
    yet, those that rest in the database included. Of what was settled, DELIVERED counts the events that were
    accepted, RETRIED the attempts that failed and were to be repeated, DEAD the dead letters. P99 is the
    latency in milliseconds. `siem health NAME` shows all figures of one integration, and what each one is.

    While Redis or the database is away, what the other one knows is shown, with ? for what is not known
    (null in the JSON, whose `unknown` names these fields and the reason).

    Exits as `siem health` does: with 3 if Redis or the database is away; else with 1 if an integration is
    degraded, failing or unknown, listed or not, or a part of the fleet is not ok. With --watch, only what
    cannot begin ends it.
    """
    if watched and as_json:
        raise click.UsageError("give --watch or --json, not both")
    began_ms, asked = _now_ms(), _Question(since, tenant, limit, as_json)
    client = redis_client(configuration().broker_address())
    with closing(client):
        if watched:
            # What "the last hour" is moves on while it is watched.
            watch(lambda: _show(client, replace(asked, since_ms=since + _now_ms() - began_ms)), _EVERY)
        gaps, fine = _show(client, asked)
    end_with(gaps, fine=fine)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _show(client: Client, asked: _Question) -> tuple[MissingSources, bool]:
    """Print what is asked for; return what could not be asked, and whether all of it is fine."""
    gaps = MissingSources()
    with reported_ledger(gaps) as engine:
        report = _Report(client, engine, asked, gaps)
        (report.print_json if asked.as_json else report.print)()
        return gaps, report.is_fine


class _Report:
    """What Redis and the ledger say at one moment."""

    def __init__(self, client: Client, engine: Ledger, asked: _Question, gaps: MissingSources) -> None:
        self._health, self._asked, self._gaps = HealthService(engine, client, configuration()), asked, gaps
        known = self._health.known_subjects(gaps, asked.tenant)
        self._subjects = {one.id: one for one in known}
        self._all = in_order(self._health.survey(known, gaps, with_latencies=False))
        self._listed = self._all[: asked.limit or None] if not asked.as_json else self._all
        ids = [one.integration_id for one in self._listed]
        self._counts = gaps.ask(Source.DATABASE, lambda: counts_since(engine, ids, asked.since_ms))
        self._latencies = gaps.ask(Source.DATABASE, lambda: self._health.latencies(ids))
        found = gaps.ask(Source.REDIS, lambda: _fleet(client, engine, self._health))
        self._fleet: dict[str, Any] = found or dict.fromkeys(_OF_FLEET)

    @property
    def is_fine(self) -> bool:
        """Whether there is no reason for an alarm."""
        return not self._fleet["not_ok"] and all(one.state in FINE for one in self._all)

    def print_json(self) -> None:
        """Print all of it as one document."""
        unknown = unknown_documents(self._gaps, _FIELDS)
        print_json({**self._fleet, "integrations": list(map(self._document, self._all)), "unknown": unknown})

    def print(self) -> None:
        """Print the fleet, and the integrations that are to be listed."""
        if self._fleet["processes"] is not None:
            _print_fleet(self._fleet, {one.type for one in self._subjects.values()})
        if self._all:
            entries = [Entry(one, self._cells(one), reason(one)) for one in self._listed]
            print_integrations(_COLUMNS, entries, self._all[len(entries) :])
            click.echo(f"Counted since {when(self._asked.since_ms)}.")
        else:
            click.echo("No integration is known." if self._gaps.errors else nothing_there(self._asked.tenant))
        print_gaps(self._gaps, _FIELDS)

    def _cells(self, one: IntegrationHealth) -> list[Any]:
        counts, latency = self._counted(one), self._latency(one)
        return [
            waiting_text(one),
            *("?" if counts is None else getattr(counts, name) for name in _COUNTS),
            latency.p99 if latency else ("?" if self._latencies is None else None),
        ]

    def _counted(self, one: IntegrationHealth) -> Counts | None:
        return None if self._counts is None else self._counts.get(one.integration_id, Counts())

    def _latency(self, one: IntegrationHealth) -> Latency | None:
        return (self._latencies or {}).get(one.integration_id)

    def _document(self, one: IntegrationHealth) -> StatusDocument:
        whole = replace(one, latency=self._latency(one))
        return status_document(whole, self._subjects[one.integration_id], self._counted(one), self._gaps)


def _fleet(client: Client, engine: Ledger, health: HealthService) -> dict[str, Any]:
    alive, stall = roles_alive(client), recorder_stall(client)
    return {
        "processes": {role: role in alive for role in ROLES},
        "redis": [asdict(check) for check in _troubles(client, engine)],
        "waiting_to_be_routed": ingress_waiting(client),
        "flooding_tenants": sorted(floods(client) or ()),
        "waiting_to_be_recorded": lag(client),
        "unrecordable": Unrecordable(client).count(),
        "conflicts": count_by_kind(conflicts(client)),
        "recording_stalled": stall.words if stall else None,
        "not_ok": [part.name for part in health.fleet().parts if not part.ok],
    }


def _print_fleet(fleet: dict[str, Any], types: set[str]) -> None:
    for line in _fleet_lines(fleet, types):
        print_wrapped(line)


def _fleet_lines(fleet: dict[str, Any], types: set[str]) -> Iterator[str]:
    if missing := _missed(fleet["processes"], types):
        yield f"Not running: {', '.join(missing)} (start each by its line of the Procfile, or `siem up`)."
    for check in fleet["redis"]:
        yield f"Redis, {check['standing']}: {check['words']}: {check['hint']}"
    yield (
        f"Waiting: {count_text(fleet['waiting_to_be_routed'], 'event')} to be routed, "
        f"{count_text(fleet['waiting_to_be_recorded'], 'batch', 'batches')} to be recorded."
    )
    if flooding := fleet["flooding_tenants"]:
        yield f"Most of what is to be routed is of {', '.join(flooding)}: all others go first."
    if aside := fleet["unrecordable"]:
        entries = count_text(aside, "batch", "batches")
        yield f"NOT OK: {entries} could not be recorded: see `siem unrecordable list`."
    if stalled := fleet["recording_stalled"]:
        yield f"NOT OK: nothing can be recorded: {stalled}"
    yield from (f"NOT OK: {sentence}." for sentence in sentences(fleet["conflicts"]))
    if not_ok := fleet["not_ok"]:
        yield f"NOT OK: {', '.join(not_ok)} (`siem health` says why)."


def _troubles(client: Client, engine: Ledger) -> list[RedisCheck]:
    checks = RedisReport(engine, client, configuration()).checks()
    return [check for check in checks if check.standing is not CheckStatus.OK]


def _missed(processes: dict[str, bool], types: set[str]) -> list[str]:
    """Name the roles that no process plays; a worker is missed if there is an integration of its type."""
    needless = {worker_role(kind) for kind in destination_types() if kind not in types}
    return [role for role, alive in processes.items() if not alive and role not in needless]
