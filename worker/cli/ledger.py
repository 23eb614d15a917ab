"""`siem deliveries`, `siem dead-letters`, `siem db`: what the ledger knows."""

from dataclasses import asdict
from typing import Any

import click

from worker.cli.output import Since, print_json, print_table, when
from worker.cli.stores import Ledger, ledger
from worker.ledger.engine import open_ledger, upgrade
from worker.ledger.integrations import IntegrationStore
from worker.ledger.queries import DeadLetterRow, DeliveryRow
from worker.ledger.queries import dead_letters as find_dead_letters
from worker.ledger.queries import deliveries as find_deliveries
from worker.ledger.vault import open_vault
from worker.model.deliveries import Cause, Status
from worker.settings import settings

_as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
_limit = click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True)
_since = click.option("--since", type=Since(), help="Not before 15m, 1h, 2d ago, or a time.")
_integration = click.option("--integration", help="Only this integration's, by id or name.")


@click.command()
@_integration
@click.option("--status", type=click.Choice([*Status]), help="Only those in this state.")
@click.option("--event-id", help="Only this event, at every integration.")
@_since
@_limit
@_as_json
def deliveries(
    integration: str | None, since: int | None, limit: int, *, as_json: bool, **options: Any
) -> None:
    """List deliveries, the latest first: each event at each integration, with what became of it."""
    with ledger() as engine:
        rows = find_deliveries(
            engine,
            integration_id=_resolve(engine, integration),
            status=options["status"],
            event_id=options["event_id"],
            since_ms=since,
            limit=limit,
        )
    if as_json:
        print_json([asdict(row) for row in rows])
        return
    print_table(
        ["settled", "integration", "event", "type", "status", "attempts", "ms", "error"],
        [_delivery(row) for row in rows],
        empty="No deliveries match.",
    )


@click.group("dead-letters")
def dead_letters() -> None:
    """See what could not be delivered, and why."""


@dead_letters.command("list")
@_integration
@click.option("--cause", type=click.Choice([*Cause]), help="Only those that died of this.")
@_since
@_limit
@_as_json
def list_(
    integration: str | None, cause: str | None, since: int | None, limit: int, *, as_json: bool
) -> None:
    """List dead letters, the latest first."""
    with ledger() as engine:
        rows = find_dead_letters(
            engine,
            integration_id=_resolve(engine, integration),
            cause=Cause(cause) if cause else None,
            since_ms=since,
            limit=limit,
        )
    if as_json:
        print_json([_dead_letter_document(row) for row in rows])
        return
    print_table(
        ["dead since", "integration", "event", "type", "cause", "attempts", "error", "what to do"],
        [_dead_letter(row) for row in rows],
        empty="No dead letters match.",
    )


@click.group()
def db() -> None:
    """Look after the ledger's tables."""


@db.command("upgrade")
def upgrade_() -> None:
    """Bring the ledger's tables to this release; doing it twice does no harm."""
    engine = open_ledger(settings().ledger_address())
    try:
        upgrade(engine)
    finally:
        engine.dispose()
    click.echo("The ledger's tables are those of this release.")


def _resolve(engine: Ledger, id_or_name: str | None) -> str | None:
    """Find the id of what was named; a deleted integration is still found by its id."""
    if id_or_name is None:
        return None
    return IntegrationStore(engine, open_vault(settings())).resolve(id_or_name)


def _delivery(row: DeliveryRow) -> list[Any]:
    return [
        when(row.settled_ms),
        row.integration_id,
        row.event_id,
        row.event_type,
        row.status,
        row.attempts,
        row.latency_ms,
        row.error,
    ]


def _dead_letter(row: DeadLetterRow) -> list[Any]:
    return [
        when(row.dead_ms),
        row.integration_id,
        row.event_id,
        row.event_type,
        row.cause,
        row.attempts,
        row.error,
        row.hint,
    ]


def _dead_letter_document(row: DeadLetterRow) -> dict[str, Any]:
    return asdict(row) | {"payload": row.payload.decode("utf-8", errors="backslashreplace")}
