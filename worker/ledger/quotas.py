"""Holds tenants to their quotas: the one place for all doors, in the transaction that would make more.

Input: a transaction, a tenant, what is to be made. Output: nothing, or an OverQuota. While one
transaction of a tenant counts and adds, no other one of that tenant does: two that come at once at the limit
make one.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from sqlalchemy import Connection, func, select, text

from worker.ledger.rows import storable
from worker.ledger.schema import integrations, replays
from worker.model.limits import Quotas, too_large_document, too_many_integrations, too_many_replays
from worker.model.replays import AUTOMATIC, DeadLetterFilter

#: Names these locks of PostgreSQL; any number that is not in use.
_LOCKS = 0x5349_4511
#: A partial index serves a question only if these very words stand in it.
RUNS = text("state = 'running'")
_columns = integrations.c
#: Of an integration without a destination's fields.
_WHOLE = "integration"


def require_place(connection: Connection, tenant_id: str, quotas: Quotas) -> None:
    """Raise TooManyIntegrations if the tenant has as many integrations as it may."""
    _lock(connection, tenant_id)
    mine = (_columns.tenant_id == storable(tenant_id), _columns.deleted_ms.is_(None))
    count = connection.execute(select(func.count()).select_from(integrations).where(*mine)).scalar_one()
    if count >= quotas.integrations:
        raise too_many_integrations(count, quotas.integrations)


def require_fit(document: Mapping[str, Any], quotas: Quotas, before: Mapping[str, Any] | None = None) -> None:
    """Raise TooLargeIntegration if a sealed document is too large, and larger than it was `before`."""
    size = _size(document)
    if size > quotas.integration_bytes and (before is None or size > _size(before)):
        fields = document.get("destination", {})
        largest = max(fields, key=lambda name: _size(fields[name]), default=_WHOLE)
        raise too_large_document(size, quotas.integration_bytes, largest)


def require_replay(
    connection: Connection, selection: DeadLetterFilter, target_id: str | None, quotas: Quotas
) -> None:
    """Raise TooManyReplays if as many replays of the tenant run as may.

    Those that are made by themselves do not count. A replay of all tenants, which only an operator can make,
    has no owner.
    """
    [tenant_id] = _tenants(connection, [(selection, target_id)])
    if tenant_id is None:
        return
    _lock(connection, tenant_id)
    columns = replays.c
    running = select(columns.selection, columns.target_id).where(RUNS, columns.made_by.not_in(AUTOMATIC))
    found = [
        (msgspec.json.decode(selected, type=DeadLetterFilter), target)
        for selected, target in connection.execute(running)
    ]
    count = _tenants(connection, found).count(tenant_id)
    if count >= quotas.replays:
        raise too_many_replays(count, quotas.replays)


def _tenants(
    connection: Connection, found: Iterable[tuple[DeadLetterFilter, str | None]]
) -> list[str | None]:
    """Return of each replay whose it is: of its integration, or else of its selection."""
    homes = [(target_id or one.integration_id, one.tenant_id) for one, target_id in found]
    wanted = select(_columns.id, _columns.tenant_id).where(
        _columns.id.in_({home for home, _ in homes if home})
    )
    known: dict[str, str] = {row.id: row.tenant_id for row in connection.execute(wanted)}
    return [known.get(home or "", tenant_id) for home, tenant_id in homes]


def _lock(connection: Connection, tenant_id: str) -> None:
    """Let no other transaction count for this tenant until the end; on SQLite a writer is alone anyway."""
    if connection.dialect.name == "postgresql":
        lock = text("SELECT pg_advisory_xact_lock(:locks, hashtext(:tenant))")
        connection.execute(lock, {"locks": _LOCKS, "tenant": storable(tenant_id)})


def _size(value: Any) -> int:
    return len(json.dumps(value))
