"""`siem redis`: whether Redis suits, whose it is, and what was found missing in it."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from getpass import getuser
from typing import Any

import click

from worker.background.redis_monitor import RedisReport
from worker.broker.connection import Client, redis_client
from worker.broker.formats import Format, are_held, entries_left, hold_formats, is_drained, written_formats
from worker.broker.ingress_counts import count_joined
from worker.broker.locks import claim_holder, take_over
from worker.cli import FAILED
from worker.cli.output import as_json_option, plain, print_items, print_json, print_table, when
from worker.cli.stores import configuration, ledger, operator
from worker.ledger.audit import recorded
from worker.ledger.engine import ledger_id
from worker.ledger.redis_losses import LossStore, RecordedLoss
from worker.model.audit import Action, audit_record
from worker.model.redis_checks import CheckStatus
from worker.model.redis_marks import loss_text
from worker.model.time import rfc3339


@click.group("redis")
def redis_() -> None:
    """See whether Redis suits, whose it is, and what was found missing in it."""


@redis_.command()
@as_json_option
def check(*, as_json: bool) -> None:
    """Check how Redis is configured: each check, how it came out, and a hint.

    FAILED: accepted events get lost, or may be lost already. WARNING: nothing is lost yet. UNKNOWN: Redis
    does not say. Every process does the same at its start and every minute. Exits with 1 if a check failed.
    """
    with ledger() as engine, _client() as client:
        report = RedisReport(engine, client, configuration())
        checks = [*report.checks(), *report.doors()]
    if as_json:
        print_items([asdict(one) for one in checks])
    else:
        rows = [[one.name, one.standing.upper(), one.words, one.hint] for one in checks]
        print_table(["check", "result", "what was found", "hint"], rows, empty="")
    if any(one.standing is CheckStatus.FAILED for one in checks):
        sys.exit(1)


@redis_.command()
@click.option("--yes", is_flag=True, help="Do not ask before taking it from another ledger.")
@as_json_option
def claim(*, yes: bool, as_json: bool) -> None:
    """Claim this Redis for this ledger: only if the database replaces another one for good.

    A recorder claims an unclaimed Redis by itself. Taken from another ledger, what stands in Redis (outcomes,
    dead letters, parked events) is recorded here, and the recorders of the other ledger wait.
    """
    with ledger() as engine, _client() as client:
        own = ledger_id(engine)
        holder = claim_holder(client)
        if holder not in (None, own) and not yes:
            click.confirm(f"Redis belongs to the ledger {holder}. Take it over?", abort=True, err=True)
        before = holder if holder != own else None
        if holder != own:
            details = {"taken_from": before}
            record = audit_record(Action.REDIS_CLAIMED, operator(), subject=own, details=details)
            with recorded(engine, record):
                take_over(client, own)
    if as_json:
        print_json({"ledger": own, "taken_from": before})
    elif holder == own:
        click.echo(f"Redis belongs to this ledger already ({own}).")
    else:
        click.echo(
            f"Redis belongs to this ledger now ({own})" + (f", no longer to {before}." if before else ".")
        )


@redis_.command()
@click.option("--all", "all_of_them", is_flag=True, help="Those that were acknowledged as well.")
@as_json_option
def losses(*, all_of_them: bool, as_json: bool) -> None:
    """List what was found missing in Redis: emptied, replaced, rolled back, or with keys gone.

    MISSING counts the deliveries that are gone at the least, and up to how many events that no router had
    read: entries, where these were removed from siem:events. What Redis accepted between SINCE, when it was
    marked last, and FOUND, cannot be counted.
    """
    with ledger() as engine:
        found = LossStore(engine).list(unacknowledged=not all_of_them)
    if as_json:
        print_items([_loss_document(one) for one in found])
        return
    print_table(
        ["id", "kind", "since", "found", "missing", "acknowledged", "what happened"],
        [_loss_row(one) for one in found],
        empty="Nothing is missing" + ("." if all_of_them else ", as far as it is not acknowledged."),
    )


@redis_.command()
@click.argument("loss", metavar="ID")
@click.option("--by", metavar="NAME", help="Who acknowledges; left out, the user of this machine.")
@click.option("--note", metavar="TEXT", default="", help="What was done about it, for the record.")
@as_json_option
def acknowledge(loss: str, *, by: str | None, note: str, as_json: bool) -> None:
    """Acknowledge a loss, so that health and readiness no longer show it; it stays in the ledger.

    \b
    siem redis acknowledge loss_0123456789ab --by ops --note "published again from the archive"
    """
    with ledger() as engine:
        done = LossStore(engine).acknowledge(loss, by or getuser(), note, actor=operator())
    if as_json:
        print_json(_loss_document(done))
    else:
        click.echo(plain(f"Acknowledged {done.id}, by {done.acknowledged_by}."))


@redis_.command()
@click.option("--hold/--release", "held", default=None, help="Write only the earlier forms; or end that.")
@as_json_option
def formats(*, held: bool | None, as_json: bool) -> None:
    """Show which forms of entries are written that an earlier release cannot read, and what is left of them.

    Before a fleet goes back to an earlier release: --hold, again and again. It exits with 1 until every
    process has noticed that, which takes ten seconds, and nothing is left. Afterwards --release, once all
    processes are of the later release again.

    \b
    siem redis formats --hold
    """
    with _client() as client:
        if held is not None:
            _switch_formats(client, held=held)
        is_held, written = are_held(client), sorted(written_formats(client))
        # In this order: what is held is written no more.
        drained, left = is_drained(client), _left(client)
        drained = drained and not left
    if as_json:
        print_json({"held": is_held, "written": written, "left": left, "drained": drained})
    else:
        until = ", until `siem redis formats --release`" if is_held else ""
        click.echo(f"Written: {', '.join(written) or 'the earlier forms alone'}{until}.")
        click.echo(f"Left: {', '.join(f'{count} {name}' for name, count in left.items()) or 'nothing'}.")
    if held and not drained:
        sys.exit(FAILED)


def _switch_formats(client: Client, *, held: bool) -> None:
    """Hold the new forms, or release them; a record is left the first time."""
    if held == are_held(client):
        hold_formats(client, held=held)
        return
    action = Action.FORMATS_HELD if held else Action.FORMATS_RELEASED
    with ledger() as engine, recorded(engine, audit_record(action, operator())):
        hold_formats(client, held=held)


def _left(client: Client) -> dict[str, int]:
    """Count what stands in Redis of each form, those with nothing left out. Raises BrokerUnavailable."""
    joined = count_joined(client)
    return ({Format.FRAMES.value: joined} if joined else {}) | entries_left(client)


def _loss_document(one: RecordedLoss) -> dict[str, Any]:
    loss = one.loss
    return {
        "id": one.id,
        "kind": loss.kind.value,
        "since": rfc3339(loss.since_ms),
        "found_at": rfc3339(loss.found_ms),
        "missing": loss.events,
        "deliveries": loss.deliveries,
        "waiting": loss.waiting,
        "words": loss_text(loss),
        "acknowledged_at": rfc3339(one.acknowledged_ms),
        "acknowledged_by": one.acknowledged_by,
        "acknowledgement": one.acknowledgement,
    }


def _loss_row(one: RecordedLoss) -> list[Any]:
    loss = one.loss
    acknowledged = f"{when(one.acknowledged_ms)} by {one.acknowledged_by}" if one.acknowledged_ms else "no"
    return [
        one.id,
        loss.kind.value.replace("_", " "),
        when(loss.since_ms),
        when(loss.found_ms),
        loss.events,
        acknowledged,
        loss_text(loss),
    ]


@contextmanager
def _client() -> Iterator[Client]:
    client = redis_client(configuration().broker_address())
    try:
        yield client
    finally:
        client.close()
