"""`siem status`: every integration at a glance, and what waits in Redis."""

import time
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
from worker.broker.unrecordable import Unrecordable
from worker.cli.configuration import configuration
from worker.cli.integration_views import state
from worker.cli.output import Since, as_json_option, counted, plain, print_json, print_table, when
from worker.cli.stores import Ledger, integration_store
from worker.cli.watching import watch
from worker.health import Health
from worker.ledger.answers import SwitchedOff
from worker.ledger.integrations import IntegrationStore
from worker.ledger.parked import Parked, ParkedStore
from worker.ledger.queries import Tally, last_problem, latencies, tallies
from worker.model.destinations import DESTINATION_TYPES
from worker.model.integrations import Integration
from worker.model.redis_checks import RedisCheck, Standing
from worker.model.wellbeing import IntegrationHealth
from worker.redis_report import RedisReport

#: How often a watched status is shown anew, in seconds.
_EVERY = 2.0


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
    RETRYING those whose next attempt is still due, DEAD the dead letters. Latencies are of the latest
    10000 deliveries, from the publication to the SIEM's answer. STATE and REASON are those of `siem health`.
    """
    if watched and as_json:
        raise click.UsageError("give --watch or --json, not both")
    began_ms = time.time_ns() // 1_000_000
    client = connect(configuration().broker_address())
    try:
        with integration_store() as store:
            if watched:
                # What "the last hour" is moves on while somebody watches.
                watch(lambda: _show(client, store, since + time.time_ns() // 1_000_000 - began_ms), _EVERY)
            elif as_json:
                print_json(_report(client, store, since))
            else:
                _show(client, store, since)
    finally:
        client.close()


def _show(client: Client, store: IntegrationStore, since: int) -> None:
    _print(_report(client, store, since), since)


@dataclass(frozen=True, slots=True)
class _Sources:
    backlog: Backlog
    engine: Ledger
    tallies: dict[str, Tally]
    off: dict[str, SwitchedOff]
    parked: dict[str, Parked]
    health: dict[str, IntegrationHealth]


def _report(client: Client, store: IntegrationStore, since: int) -> dict[str, Any]:
    sources = _Sources(
        Backlog(client, Timing.of(configuration())),
        store.engine,
        tallies(store.engine, since_ms=since),
        store.switched_off(),
        ParkedStore(store.engine).counts(),
        {
            one.integration_id: one
            for one in Health(store.engine, client, configuration()).all(None, sample=1)
        },
    )
    return {
        "processes": {role: role in roles_alive(client) for role in ROLES},
        "redis": [asdict(check) for check in _troubles(client, store.engine)],
        "waiting_to_be_routed": ingress_waiting(client),
        "flooding_tenants": sorted(floods(client) or ()),
        "waiting_to_be_recorded": lag(client),
        "unrecordable": Unrecordable(client).count(),
        "conflicts": told_by_kind(conflicts(client)),
        "integrations": [_integration(one, sources) for one in store.list()],
    }


def _integration(one: Integration, sources: _Sources) -> dict[str, Any]:
    tally = sources.tallies.get(one.id, Tally())
    latency = latencies(sources.engine, one.id)
    problem = last_problem(sources.engine, one.id)
    off = sources.off.get(one.id)
    hold = sources.backlog.hold(one.id)
    return {
        "id": one.id,
        "name": one.name,
        "type": one.type,
        "enabled": one.enabled,
        "paused": one.paused,
        "state": sources.health[one.id].state.value,
        "reason": sources.health[one.id].reason,
        "disabled_reason": off.reason if off else None,
        "held": {
            "cause": hold.cause,
            "since": when(hold.since_ms),
            "next_try": when(hold.next_try_ms or None),
        }
        if hold
        else None,
        "backlog": sources.backlog.depth(one.id),
        "parked": sources.parked[one.id].events if one.id in sources.parked else 0,
        "delivered": tally.delivered,
        "retried": tally.retried,
        "retrying": tally.retrying,
        "dead": tally.dead,
        "latency_ms": {"p50": latency.p50, "p95": latency.p95, "p99": latency.p99} if latency else None,
        "last_problem": None
        if problem is None
        else {"at": when(problem.settled_ms), "error": problem.error, "hint": problem.hint},
    }


def _print(report: dict[str, Any], since: int) -> None:
    if missing := _missed(report):
        click.echo(f"Not running: {', '.join(missing)} (see `siem up`).")
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
    for sentence in sentences(report["conflicts"]):
        click.echo(f"NOT OK: {sentence}.")
    click.echo(f"Deliveries since {when(since)}:")
    figures = ("backlog", "delivered", "retried", "retrying", "dead", "p50 ms", "p99 ms")
    print_table(
        ["name", "state", *figures, "last problem", "reason"],
        [_row(one) for one in report["integrations"]],
        empty="No integrations yet: `siem integrations create --help` tells how to create one.",
    )


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


def _row(one: dict[str, Any]) -> list[Any]:
    latency = one["latency_ms"] or {}
    problem = one["last_problem"]
    return [
        one["name"] + _standing(one),
        one["state"].replace("_", " "),
        f"{one['backlog']} (+{one['parked']})" if one["parked"] else one["backlog"],
        one["delivered"],
        one["retried"],
        one["retrying"],
        one["dead"],
        latency.get("p50"),
        latency.get("p99"),
        f"{problem['at']} {problem['error']}; {problem['hint']}" if problem else "",
        one["reason"],
    ]
