"""`siem deliveries`, `siem dead-letters`, `siem db`: what the ledger knows."""

from dataclasses import asdict
from typing import Any

import click

from worker.cli.configuration import configuration
from worker.cli.output import Since, as_json_option, print_json, print_table, when
from worker.cli.stores import integration_store, names_by_id
from worker.ledger.answers import DeadLetterRow, DeliveryRow
from worker.ledger.engine import open_ledger, upgrade
from worker.ledger.integrations import IntegrationStore
from worker.ledger.queries import dead_letters as find_dead_letters
from worker.ledger.queries import deliveries as find_deliveries
from worker.model.deliveries import Cause, Status

_limit = click.option(
    "--limit",
    metavar="NUMBER",
    type=click.IntRange(1, 10_000),
    default=50,
    show_default=True,
    help="The most rows.",
)
_since = click.option(
    "--since",
    metavar="TIME",
    type=Since(),
    help="Not before 30s, 15m, 1h, 2d ago, or a time like 2026-11-22T10:00:00Z.",
)
_integration = click.option(
    "--integration", metavar="INTEGRATION", help="Only this integration's, by id or name."
)


@click.command()
@_integration
@click.option(
    "--status", type=click.Choice([status.value for status in Status]), help="Only those in this state."
)
@click.option("--event-id", metavar="ID", help="Only this event, at every integration.")
@_since
@_limit
@as_json_option
def deliveries(
    integration: str | None,
    status: str | None,
    since: int | None,
    limit: int,
    *,
    as_json: bool,
    event_id: str,
) -> None:
    """List deliveries, the latest first: each event at each integration, with what became of it.

    \b
    siem deliveries --event-id evt_1
    siem deliveries --integration splunk --status dead --since 1h --json
    """
    with integration_store() as store:
        names = names_by_id(store)
        rows = find_deliveries(
            store.engine,
            integration_id=_resolve(store, integration),
            status=Status(status) if status else None,
            event_id=event_id,
            since_ms=since,
            limit=limit,
        )
    if as_json:
        print_json([asdict(row) for row in rows])
        return
    print_table(
        ["settled", "integration", "event", "type", "status", "attempts", "ms", "error"],
        [_delivery(row, names) for row in rows],
        empty="No deliveries match.",
    )


@click.group("dead-letters")
def dead_letters() -> None:
    """See what could not be delivered, and why."""


@dead_letters.command("list")
@_integration
@click.option(
    "--cause",
    type=click.Choice([cause.value for cause in Cause]),
    help="Only those that died of this: every attempt failed; the SIEM refused the event; "
    "it was no valid event; its integration was deleted.",
)
@_since
@_limit
@as_json_option
def list_(
    integration: str | None, cause: str | None, since: int | None, limit: int, *, as_json: bool
) -> None:
    """List dead letters, the latest first, with what to do about them.

    The table leaves the events' content out; --json has it, as `payload`.

    \b
    siem dead-letters list --integration splunk
    siem dead-letters list --cause invalid --json
    """
    with integration_store() as store:
        names = names_by_id(store)
        rows = find_dead_letters(
            store.engine,
            integration_id=_resolve(store, integration),
            cause=Cause(cause) if cause else None,
            since_ms=since,
            limit=limit,
        )
    if as_json:
        print_json([_dead_letter_document(row) for row in rows])
        return
    print_table(
        ["dead since", "integration", "event", "type", "cause", "attempts", "error", "what to do"],
        [_dead_letter(row, names) for row in rows],
        empty="No dead letters match.",
    )


@click.group()
def db() -> None:
    """Look after the ledger's tables."""


@db.command("upgrade")
def upgrade_() -> None:
    """Make the ledger's tables, or bring them to this release; doing it twice does no harm.

    `siem up` does it by itself. Elsewhere, do it before the processes of a new release start.
    """
    engine = open_ledger(configuration().ledger_address())
    try:
        upgrade(engine)
    finally:
        engine.dispose()
    click.echo("The ledger's tables are those of this release.")


def _resolve(store: IntegrationStore, id_or_name: str | None) -> str | None:
    """Find the id of what was named; a deleted integration is still found by its id."""
    return None if id_or_name is None else store.resolve(id_or_name)


def _delivery(row: DeliveryRow, names: dict[str, str]) -> list[Any]:
    return [
        when(row.settled_ms),
        names.get(row.integration_id, row.integration_id),
        row.event_id,
        row.event_type,
        row.status.value,
        row.attempts,
        row.latency_ms,
        row.error,
    ]


def _dead_letter(row: DeadLetterRow, names: dict[str, str]) -> list[Any]:
    return [
        when(row.dead_ms),
        names.get(row.integration_id or "", row.integration_id),
        row.event_id,
        row.event_type,
        row.cause.value,
        row.attempts,
        row.error,
        row.hint,
    ]


def _dead_letter_document(row: DeadLetterRow) -> dict[str, Any]:
    return asdict(row) | {"payload": row.payload.decode("utf-8", errors="backslashreplace")}
