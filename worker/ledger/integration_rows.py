"""Writes rows of `integrations` in the caller's transaction; column and document always say the same."""

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, insert, select, update

from worker.ledger.audit import add_integration_record
from worker.ledger.redriving import bring_back
from worker.ledger.results import DisabledIntegration
from worker.ledger.rows import storable, storable_prose
from worker.ledger.schema import integrations
from worker.model.audit import FLEET, Action, Change
from worker.model.deliveries import Outcome
from worker.model.errors import InvalidIntegration, RevisionConflict
from worker.model.failures import FailureCode
from worker.model.time import current_ms
from worker.vault.documents import forget_secrets

_columns = integrations.c
#: What is not deleted.
LIVING = _columns.deleted_ms.is_(None)


@dataclass(frozen=True, slots=True)
class DisabledReason:
    """Why an integration is disabled, in its destination's words, and since when (ms since 1970 UTC)."""

    words: str
    at_ms: int


def insert_integration(
    connection: Connection, document: Mapping[str, Any], now_ms: int, **values: Any
) -> None:
    """Add the row of a sealed document, under revision 1 unless `values` say otherwise.

    Raises IntegrityError when its id, or its name in its tenant, is taken.
    """
    row = {
        "id": document["id"],
        "tenant_id": document.get("tenant_id", "default"),
        "type": document["destination"]["type"],
        "revision": 1,
        "created_ms": now_ms,
        "updated_ms": now_ms,
    }
    connection.execute(insert(integrations).values(row | _in_columns(document) | values))


def name_taken(name: str, tenant_id: str, hint: str) -> InvalidIntegration:
    """Return the error of a name that another integration of the tenant has."""
    return InvalidIntegration("name", f"{name} is taken by another integration of tenant {tenant_id}", hint)


def locked_row(
    connection: Connection,
    integration_id: str,
    *conditions: ColumnElement[bool],
    seen: Collection[int] | None = None,
) -> Any:
    """Return the row of a living integration, and let no other transaction change it until the end.

    None when there is none of that id that meets the conditions. Raises RevisionConflict unless its revision
    was `seen`.
    """
    wanted = select(integrations).where(_columns.id == storable(integration_id), LIVING, *conditions)
    row = connection.execute(wanted.with_for_update()).one_or_none()
    if row is not None and seen is not None and row.revision not in seen:
        raise RevisionConflict
    return row


def locked_document(connection: Connection, integration_id: str) -> dict[str, Any] | None:
    """Return the sealed document of a living integration, locked as by `locked_row`, or None."""
    row = locked_row(connection, integration_id)
    return None if row is None else dict(json.loads(row.document))


def write_document(connection: Connection, document: dict[str, Any], **values: Any) -> dict[str, Any]:
    """Store the changed document of a locked row, and other values, under its next revision; return it."""
    changed = {"revision": _columns.revision + 1, "updated_ms": current_ms()}
    mine = update(integrations).where(_columns.id == document["id"])
    connection.execute(mine.values(changed | _in_columns(document) | values))
    return document


def _in_columns(document: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": document.get("name", document["id"]),
        "enabled": bool(document.get("enabled")),
        "document": json.dumps(document),
    }


def set_enabled(
    connection: Connection, document: dict[str, Any], *, enabled: bool, reason: DisabledReason | None = None
) -> dict[str, Any]:
    """Enable or disable the integration whose locked document this is; return the new document.

    Disabling without a reason leaves the one that stands there.
    """
    values: dict[str, Any] = {}
    if enabled:
        values = enable(connection, document["id"])
    elif reason is not None:
        values = {"disabled_reason": storable_prose(reason.words), "disabled_ms": reason.at_ms}
    return write_document(connection, document | {"enabled": enabled}, **values)


def enable(connection: Connection, integration_id: str) -> dict[str, Any]:
    """Bring back what died because the destination was gone; return the values that forget that reason."""
    bring_back(connection, integration_id)
    return {"disabled_reason": None, "disabled_ms": None}


def set_paused(connection: Connection, document: dict[str, Any], *, paused: bool) -> dict[str, Any]:
    """Pause or resume the integration whose locked document this is; return the new document."""
    return write_document(connection, document | {"paused": paused})


def delete_row(connection: Connection, document: dict[str, Any]) -> None:
    """Delete the integration whose locked document this is: its row stays, without secrets."""
    now_ms = current_ms()
    forgotten = forget_secrets(document)
    write_document(connection, forgotten, secrets_set=None, deleted_ms=now_ms, updated_ms=now_ms)


def disable_gone(connection: Connection, outcomes: Iterable[Outcome]) -> tuple[DisabledIntegration, ...]:
    """Disable each integration of which an outcome says that its destination is gone for good.

    Nothing changes for one that is disabled already, or deleted. Locks rows in the order of their ids, so
    that two recorders cannot deadlock.
    """
    reasons: dict[str, DisabledReason] = {}
    for outcome in outcomes:
        failure = outcome.failure
        if failure is not None and failure.code == FailureCode.ENDPOINT_GONE:
            reasons.setdefault(outcome.integration_id, DisabledReason(failure.message, outcome.settled_ms))
    return tuple(off for one in sorted(reasons) if (off := _disable(connection, one, reasons[one])))


def _disable(
    connection: Connection, integration_id: str, reason: DisabledReason
) -> DisabledIntegration | None:
    document = locked_document(connection, integration_id)
    if document is None or not document["enabled"]:
        return None
    set_enabled(connection, document, enabled=False, reason=reason)
    off = [Change("enabled", before=True, after=False)]
    add_integration_record(connection, Action.INTEGRATION_DISABLED, FLEET, document, off, reason=reason.words)
    return DisabledIntegration(document["id"], document["name"], storable_prose(reason.words), reason.at_ms)
