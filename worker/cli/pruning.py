"""`siem db prune`: what is old enough to be pruned, and a person's yes to it."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import click

from worker.background import retention
from worker.background.pruning_guard import read_clocks, unlikely
from worker.broker.connection import Client, redis_client
from worker.broker.notices import PruningRefusals
from worker.broker.outcomes import oldest_ms
from worker.cli.output import as_json_option, print_json, print_table, when
from worker.cli.stores import configuration, integration_store, operator
from worker.ledger.audit import record_alone
from worker.ledger.engine import Ledger
from worker.ledger.pruning import PrunableKind, Share, prunable_shares
from worker.ledger.pruning import prune_rows as prune_in
from worker.model.audit import Action, AuditRecord, audit_record
from worker.model.clocks import disagreement
from worker.model.time import rfc3339


@dataclass(frozen=True, slots=True)
class _Plan:
    """What would go of a kind: what is older than `before_ms`."""

    kind: PrunableKind
    kept_days: float
    before_ms: int
    shares: list[Share]


@click.command("prune")
@click.option("--dry-run", is_flag=True, help="Count what is old enough, and prune nothing.")
@click.option("--confirm", is_flag=True, help="Prune it all, an unlikely share, too.")
@as_json_option
def prune(*, dry_run: bool, confirm: bool, as_json: bool) -> None:
    """Prune what is older than SIEM_KEEP_*_DAYS say, now and all of it.

    A recorder does so by itself, unless more than half of something would go at once, as after weeks
    without a recorder, after a shorter time was set, or because a clock is wrong: then it waits for a
    person, and `siem health` says so. While clocks disagree, this command prunes nothing, either.

    \b
    siem db prune --dry-run
    siem db prune --confirm
    """
    if dry_run == confirm:
        raise click.UsageError("give --dry-run to count what is old enough, or --confirm to prune it")
    config = configuration()
    client = redis_client(config.broker_address())
    try:
        with integration_store() as store:
            clocks = read_clocks(store.engine, client)
            apart = disagreement(clocks)
            if apart and confirm:
                raise click.ClickException(f"nothing is pruned: {apart}; synchronize the clocks (NTP)")
            plans = list(_plans(store.engine, clocks.earliest_ms, retention.kept_days_of(config), client))
            if dry_run:
                _tell(plans, apart, as_json=as_json)
                return
            record_alone(store.engine, _record(plans))
            gone = {plan.kind: _prune_all(store.engine, plan) for plan in plans}
        PruningRefusals(client).replace({})
    finally:
        client.close()
    _print_pruned(gone, as_json=as_json)


def _plans(
    engine: Ledger, now_ms: int, kept_days: dict[PrunableKind, float], client: Client
) -> Iterator[_Plan]:
    for kind, days in kept_days.items():
        before_ms = retention.due_before_ms(kind, now_ms, days, partial(oldest_ms, client))
        yield _Plan(kind, days, before_ms, prunable_shares(engine, kind, before_ms))


def _record(plans: list[_Plan]) -> AuditRecord:
    """Return the record of what is about to be pruned."""
    due = {share.name: share.due for plan in plans for share in plan.shares if share.due}
    return audit_record(Action.LEDGER_PRUNED, operator(), details=due)


def _prune_all(engine: Ledger, plan: _Plan) -> int:
    gone = 0
    while step := prune_in(engine, plan.kind, plan.before_ms, retention.LARGEST_STEP).count:
        gone += step
    return gone


def _tell(plans: list[_Plan], apart: str | None, *, as_json: bool) -> None:
    if as_json:
        print_json({"clocks": apart, "due": [_document(plan) for plan in plans]})
        return
    print_table(
        ["what", "kept for", "older than", "due", "of", "by itself"],
        [
            [share.name, f"{plan.kept_days:g} d", when(plan.before_ms), share.due, share.total, _waits(plan)]
            for plan in plans
            for share in plan.shares
        ],
        empty="",
    )
    if apart:
        click.echo(f"Nothing is pruned: {apart}; synchronize the clocks (NTP).")


def _waits(plan: _Plan) -> str:
    return "may wait for --confirm" if unlikely(plan.shares, plan.kept_days) else "yes"


def _document(plan: _Plan) -> dict[str, Any]:
    return {
        "kind": plan.kind.value,
        "kept_days": plan.kept_days,
        "older_than": rfc3339(plan.before_ms),
        "counts": [{"of": share.name, "due": share.due, "total": share.total} for share in plan.shares],
        "unlikely": bool(unlikely(plan.shares, plan.kept_days)),
    }


def _print_pruned(gone: dict[PrunableKind, int], *, as_json: bool) -> None:
    if as_json:
        print_json({"pruned": {kind.value: count for kind, count in gone.items()}})
        return
    pruned = ", ".join(f"{count} {kind.value}" for kind, count in gone.items() if count)
    click.echo(f"Pruned {pruned}." if pruned else "Nothing is old enough to be pruned.")
