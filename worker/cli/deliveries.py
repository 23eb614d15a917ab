"""`siem deliveries`: what became of each event."""

from typing import Any

import click

from worker.cli.dead_letter_text import print_attempts
from worker.cli.output import as_json_option, plain, print_json, print_table, when
from worker.cli.selection import cursor_option, integration_option, limit_option, resolved, since_option
from worker.cli.stores import integration_store, names_by_id
from worker.ledger.attempts import attempts_of
from worker.ledger.deliveries import find_deliveries
from worker.ledger.results import DeliveryRow
from worker.model.deliveries import Status
from worker.views.deliveries import delivery_page, delivery_place, event_page

#: Behind the id of an event that another event had before.
REUSED = " (reused id)"


@click.command()
@integration_option
@click.option(
    "--status", type=click.Choice([status.value for status in Status]), help="Only those in this state."
)
@click.option("--failed", is_flag=True, help="Only those that are dead or to be tried again.")
@click.option("--event-id", metavar="ID", help="Only this event, at every integration.")
@since_option
@limit_option
@cursor_option
@as_json_option
def deliveries(  # noqa: PLR0913 - one for each option
    integration: str | None,
    status: str | None,
    since: int | None,
    limit: int,
    cursor: str | None,
    *,
    as_json: bool,
    event_id: str,
    failed: bool,
) -> None:
    """List deliveries, the latest first: each event at each integration, with what became of it.

    ASSURANCE says how far a delivered event is known to have come: sent (handed to the network), received
    (the receiver has read all of it), accepted (its software has said yes), indexed (it can be searched).
    With --event-id, every attempt is listed too, unless the first one succeeded.

    An event marked "reused id" has the id of another event, with other bytes, that came before it.

    \b
    siem deliveries --event-id evt_1
    siem deliveries --failed --since 1h
    siem deliveries --integration splunk --status dead --since 1h --json
    """
    if failed and status:
        raise click.UsageError("give --failed or --status, not both")
    with integration_store() as store:
        names = names_by_id(store)
        found = find_deliveries(
            store.engine,
            integration_id=resolved(store, integration),
            status=Status(status) if status else None,
            failed=failed,
            event_id=event_id,
            since_ms=since,
            limit=limit + 1,
            before=delivery_place(cursor),
        )
        rows = found[:limit]
        tried = attempts_of(store.engine, event_id, [row.delivery for row in rows]) if event_id else {}
    if as_json:
        print_json(event_page(found, limit, tried) if event_id else delivery_page(found, limit))
        return
    print_table(
        ["settled", "integration", "event", "type", "status", "assurance", "attempts", "ms", "error"],
        [_delivery(row, names) for row in rows],
        empty="No deliveries match.",
    )
    for one in rows:
        if one.delivery in tried:
            mark = REUSED if one.reused_id else ""
            home = names.get(one.integration_id, one.integration_id)
            click.echo("\n" + plain(f"Attempts at {home}{mark}:"))
            print_attempts(tried[one.delivery])


def _delivery(row: DeliveryRow, names: dict[str, str]) -> list[Any]:
    return [
        when(row.settled_ms),
        names.get(row.integration_id, row.integration_id),
        row.event_id + REUSED if row.reused_id else row.event_id,
        row.event_type,
        row.status.value,
        row.assurance,
        row.attempts,
        row.latency_ms,
        row.error,
    ]
