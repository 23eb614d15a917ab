"""`siem audit`: who changed what, when, from where."""

from typing import Any

import click

from worker.cli.output import Since, as_json_option, print_json, print_table, when
from worker.cli.selection import cursor_option, integration_option, limit_option, resolved, since_option
from worker.cli.stores import integration_store
from worker.ledger.audit import find_records
from worker.model.audit import Action, AuditFilter, AuditRecord
from worker.views.audit import actor_words, audit_page, audit_place, change_words, subject_words, value_words


@click.command()
@integration_option
@click.option("--key", metavar="ID", help="Only what was done by this API key, by its id.")
@click.option("--action", type=click.Choice([one.value for one in Action]), help="Only what was done so.")
@click.option("--tenant", metavar="TENANT", help="Only this tenant's; left out, all tenants'.")
@since_option
@click.option("--until", metavar="TIME", type=Since(), help="Not after that.")
@limit_option
@cursor_option
@as_json_option
def audit(  # noqa: PLR0913 - one for each option
    *,
    integration: str | None,
    key: str | None,
    action: str | None,
    tenant: str | None,
    since: int | None,
    until: int | None,
    limit: int,
    cursor: str | None,
    as_json: bool,
) -> None:
    """List who changed what, the latest first: by which key from where, or which user on which machine.

    Of a secret it is only said that it changed. What is changed in Redis alone, and a sign-in, comes into
    the list once a recorder runs.

    \b
    siem audit --since 2d
    siem audit --integration splunk --json
    siem audit --key 0123456789abcdef --action integration.deleted
    """
    with integration_store() as store:
        asked = AuditFilter(
            tenant_id=tenant,
            integration_id=resolved(store, integration),
            key_id=key,
            action=Action(action) if action else None,
            since_ms=since,
            until_ms=until,
        )
        found = find_records(store.engine, asked, limit + 1, audit_place(cursor))
    if as_json:
        print_json(audit_page(found, limit))
        return
    print_table(
        ["when", "who", "action", "what", "tenant", "changes"],
        [_row(one) for one in found[:limit]],
        empty="No record matches.",
    )


def _row(record: AuditRecord) -> list[Any]:
    return [
        when(record.at_ms),
        actor_words(record.actor),
        record.action,
        subject_words(record),
        record.tenant_id,
        "; ".join([*map(_change, record.changes), *map(_detail, record.details.items())]),
    ]


def _change(change: Any) -> str:
    field, before, after = change_words(change)
    return f"{field}: {before} → {after}"


def _detail(detail: tuple[str, Any]) -> str:
    name, value = detail
    return f"{name.replace('_', ' ')} {value_words(value)}"
