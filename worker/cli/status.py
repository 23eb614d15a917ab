"""`siem status`: every integration at a glance, and what waits in Redis."""

import time
from collections.abc import Collection
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import Any

import click

from worker.broker.alive import ROLES, roles_alive, worker_role
from worker.broker.backlog import Backlog, Timing
from worker.broker.conflicts import conflicts, sentences, told_by_kind
from worker.broker.connection import Client, connect
from worker.broker.floods import floods
from worker.broker.ingress import waiting as ingress_waiting
from worker.broker.outcomes import lag
from worker.broker.stalls import recorder_stall
from worker.broker.unrecordable import Unrecordable
from worker.cli.configuration import configuration
from worker.cli.integration_views import state
from worker.cli.output import Since, as_json_option, counted, plain, print_json, print_table, when
from worker.cli.partial import end_with, print_gaps, reported_ledger
from worker.cli.stores import Ledger
from worker.cli.watching import watch
from worker.health import Health
from worker.ledger.parked import Parked, ParkedStore
from worker.ledger.queries import Tally, last_problem, tallies
from worker.model.destinations import DESTINATION_TYPES
from worker.model.gaps import Gaps, Source
from worker.model.redis_checks import RedisCheck, Standing
from worker.model.wellbeing import FINE, IntegrationHealth, Subject
from worker.redis_report import RedisReport

#: How often a watched status is shown anew, in seconds.
_EVERY = 2.0
#: What Redis knows of the fleet.
_OF_FLEET = (
    *("processes", "redis", "waiting_to_be_routed", "waiting_to_be_recorded", "unrecordable"),
    *("flooding_tenants", "conflicts", "recording_stalled", "not_ok"),
)
#: What is not known without each source.
_FIELDS = {
    Source.REDIS: (*_OF_FLEET, "held", "backlog"),
    Source.DATABASE: (
        *("parked", "delivered", "retried", "retrying", "dead", "latency_ms", "last_problem"),
        "disabled_reason",
    ),
}


@click.command()
@click.option(
    "--since",
    metavar="TIME",
    type=Since(),
    default="1h",
    show_default=True,
    help="Count the deliveries of the last 30s, 15m, 1h, 2d, or since a time like 2026-11-22T10:00:00Z.",
)
@click.option("--watch", "watched", is_flag=True, help="Show it again every two seconds, until Ctrl-C.")
@as_json_option
def status(since: int, *, watched: bool, as_json: bool) -> None:
    """Show how each integration fares, and what waits in Redis.

    While an integration's circuit breaker is open it is held: its events wait, and one of them tries now and
    then.

    BACKLOG counts the events that are not settled yet, and in parentheses those that rest in the database
    until it has room for them; RETRIED those that took more than one attempt,
    RETRYING those whose next attempt is still due, DEAD the dead letters. P50 and P99 are latencies in
    milliseconds; they, STATE and REASON are those of `siem health`, which says what each of them is.

    While Redis or the database is away, what the other one knows is shown, with ? for what is not known
    (null in the JSON, whose `unknown` names these fields and the reason).

    Exits as `siem health` does: with 3 if Redis or the database is away; else with 1 if an integration is
    degraded, failing or unknown, or a part of the fleet is not ok. With --watch, only what cannot begin ends
    it.
    """
    if watched and as_json:
        raise click.UsageError("give --watch or --json, not both")
    began_ms = time.time_ns() // 1_000_000
    client = connect(configuration().broker_address())
    with closing(client):
        if watched:
            # What "the last hour" is moves on while somebody watches.
            watch(lambda: _show(client, since + time.time_ns() // 1_000_000 - began_ms), _EVERY)
        elif as_json:
            report, gaps = _asked(client, since)
            print_json(report)
        else:
            report, gaps = _show(client, since)
    end_with(gaps, fine=_is_fine(report))


def _is_fine(report: dict[str, Any]) -> bool:
    return not report["not_ok"] and all(one["state"] in FINE for one in report["integrations"])


def _show(client: Client, since: int) -> tuple[dict[str, Any], Gaps]:
    report, gaps = _asked(client, since)
    _print(report, since)
    print_gaps(gaps, _FIELDS)
    return report, gaps


def _asked(client: Client, since: int) -> tuple[dict[str, Any], Gaps]:
    gaps = Gaps()
    with reported_ledger(gaps) as engine:
        return _report(client, engine, since, gaps), gaps


@dataclass(frozen=True, slots=True)
class _Sources:
    backlog: Backlog
    engine: Ledger
    gaps: Gaps
    tallies: dict[str, Tally] | None
    parked: dict[str, Parked] | None
    health: dict[str, IntegrationHealth]


def _report(client: Client, engine: Ledger, since: int, gaps: Gaps) -> dict[str, Any]:
    health = Health(engine, client, configuration())
    known = health.known_subjects(gaps)
    sources = _Sources(
        Backlog(client, Timing.of(configuration())),
        engine,
        gaps,
        gaps.ask(Source.DATABASE, lambda: tallies(engine, since_ms=since)),
        gaps.ask(Source.DATABASE, ParkedStore(engine).counts),
        {one.integration_id: one for one in health.survey(known, gaps)},
    )
    integrations = [_integration(one, sources) for one in known]
    fleet = gaps.ask(Source.REDIS, lambda: _fleet(client, engine, health)) or dict.fromkeys(_OF_FLEET)
    return {**fleet, "integrations": integrations, "unknown": gaps.documents(_FIELDS)}


def _fleet(client: Client, engine: Ledger, health: Health) -> dict[str, Any]:
    alive, stall = roles_alive(client), recorder_stall(client)
    return {
        "processes": {role: role in alive for role in ROLES},
        "redis": [asdict(check) for check in _troubles(client, engine)],
        "waiting_to_be_routed": ingress_waiting(client),
        "flooding_tenants": sorted(floods(client) or ()),
        "waiting_to_be_recorded": lag(client),
        "unrecordable": Unrecordable(client).count(),
        "conflicts": told_by_kind(conflicts(client)),
        "recording_stalled": stall.words if stall else None,
        "not_ok": [part.name for part in health.fleet().parts if not part.ok],
    }


def _integration(one: Subject, sources: _Sources) -> dict[str, Any]:
    ask, engine = sources.gaps.ask, sources.engine
    latency = sources.health[one.id].latency
    problem = ask(Source.DATABASE, lambda: last_problem(engine, one.id))
    hold = ask(Source.REDIS, lambda: sources.backlog.hold(one.id))
    parked = sources.parked
    return {
        "id": one.id,
        "name": one.name,
        "type": one.type,
        "enabled": one.enabled,
        "paused": one.paused,
        "state": sources.health[one.id].state.value,
        "reason": sources.health[one.id].reason,
        "disabled_reason": one.off_reason,
        "held": {
            "cause": hold.cause,
            "since": when(hold.since_ms),
            "next_try": when(hold.next_try_ms or None),
        }
        if hold
        else None,
        "backlog": ask(Source.REDIS, lambda: sources.backlog.depth(one.id)),
        "parked": None if parked is None else parked[one.id].events if one.id in parked else 0,
        **_tally(sources.tallies, one.id),
        "latency_ms": {"p50": latency.p50, "p95": latency.p95, "p99": latency.p99} if latency else None,
        "last_problem": None
        if problem is None
        else {"at": when(problem.settled_ms), "error": problem.error, "hint": problem.hint},
    }


def _tally(known: dict[str, Tally] | None, integration_id: str) -> dict[str, int | None]:
    names = ("delivered", "retried", "retrying", "dead")
    if known is None:
        return dict.fromkeys(names)
    tally = known.get(integration_id, Tally())
    return {name: getattr(tally, name) for name in names}


def _print(report: dict[str, Any], since: int) -> None:
    if report["processes"] is not None:
        _print_fleet(report)
    click.echo(f"Deliveries since {when(since)}:")
    figures = ("backlog", "delivered", "retried", "retrying", "dead", "p50 ms", "p99 ms")
    none = "`siem integrations create --help` tells how to create one."
    unknown = {field for gap in report["unknown"] for field in gap["fields"]}
    print_table(
        ["name", "state", *figures, "last problem", "reason"],
        [_row(one, unknown) for one in report["integrations"]],
        empty="No integration is known." if report["unknown"] else f"No integrations yet: {none}",
    )


def _print_fleet(report: dict[str, Any]) -> None:
    if missing := _missed(report):
        click.echo(
            f"Not running: {', '.join(missing)} (start each by its line of the Procfile, or `siem up`)."
        )
    for check in report["redis"]:
        click.echo(plain(f"Redis, {check['standing']}: {check['words']}: {check['hint']}"))
    click.echo(
        f"Waiting: {counted(report['waiting_to_be_routed'], 'event')} to be routed, "
        f"{counted(report['waiting_to_be_recorded'], 'batch', 'batches')} to be recorded."
    )
    if flooding := report["flooding_tenants"]:
        click.echo(plain(f"Most of what is to be routed is of {', '.join(flooding)}: all others go first."))
    if aside := report["unrecordable"]:
        entries = counted(aside, "batch", "batches")
        click.echo(f"NOT OK: {entries} could not be recorded: see `siem unrecordable list`.")
    if stalled := report["recording_stalled"]:
        click.echo(plain(f"NOT OK: nothing can be recorded: {stalled}"))
    for sentence in sentences(report["conflicts"]):
        click.echo(f"NOT OK: {sentence}.")
    if not_ok := report["not_ok"]:
        click.echo(f"NOT OK: {', '.join(not_ok)} (`siem health` says why).")


def _troubles(client: Client, engine: Ledger) -> list[RedisCheck]:
    checks = RedisReport(engine, client, configuration()).checks()
    return [check for check in checks if check.standing is not Standing.OK]


def _missed(report: dict[str, Any]) -> list[str]:
    """Name the roles that no process plays; a worker is missed if there is an integration of its type."""
    types = {one["type"] for one in report["integrations"]}
    needless = {worker_role(kind) for kind in DESTINATION_TYPES if kind not in types}
    return [role for role, alive in report["processes"].items() if not alive and role not in needless]


def _standing(one: dict[str, Any]) -> str:
    """Return what stands behind the name of one that is not sent to as usual."""
    hold = one["held"]
    held = f" (held: {hold['cause']}; next try {hold['next_try'] or 'at once'})" if hold else ""
    return state(enabled=one["enabled"], paused=one["paused"], reason=one["disabled_reason"]) + held


def _shown(number: int | None) -> int | str:
    """Return what stands in a table for a number that may not be known."""
    return "?" if number is None else number


def _row(one: dict[str, Any], unknown: Collection[str]) -> list[Any]:
    latency = one["latency_ms"] or dict.fromkeys(("p50", "p99"), "?" if "latency_ms" in unknown else None)
    return [
        one["name"] + _standing(one),
        one["state"].replace("_", " "),
        f"{_shown(one['backlog'])} (+{one['parked']})" if one["parked"] else _shown(one["backlog"]),
        *(_shown(one[name]) for name in ("delivered", "retried", "retrying", "dead")),
        latency["p50"],
        latency["p99"],
        _problem(one["last_problem"]) or ("?" if "last_problem" in unknown else ""),
        one["reason"],
    ]


def _problem(problem: dict[str, Any] | None) -> str:
    return f"{problem['at']} {problem['error']}; {problem['hint']}" if problem else ""
