"""Switches integrations on and off, pauses and resumes them; column and document always say the same.

Comes in: a person's wish, or outcomes of which some say that their destination is gone for good. Goes
out: rows of `integrations`, changed in the caller's transaction.
"""

import json
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select, update

from worker.ledger.redriving import bring_back
from worker.ledger.results import DisabledIntegration
from worker.ledger.rows import storable, storable_prose
from worker.ledger.schema import integrations
from worker.model.deliveries import Outcome
from worker.model.failures import FailureCode


@dataclass(frozen=True, slots=True)
class DisabledReason:
    """Why an integration is disabled, in its destination's words, and since when (ms since 1970 UTC)."""

    words: str
    at_ms: int


def locked_document(connection: Connection, integration_id: str) -> dict[str, Any] | None:
    """Return the sealed document of a living integration, and let nobody change it until the end.

    None when there is none of that id.
    """
    columns = integrations.c
    wanted = select(columns.document).where(
        columns.id == storable(integration_id), columns.deleted_ms.is_(None)
    )
    found = connection.execute(wanted.with_for_update()).scalar_one_or_none()
    return None if found is None else dict(json.loads(found))


def set_enabled(
    connection: Connection, document: dict[str, Any], *, enabled: bool, reason: DisabledReason | None = None
) -> dict[str, Any]:
    """Switch on or off the integration whose locked document this is; return the new document.

    Switching on forgets the reason, and brings back what died because the destination was gone; switching off
    without a reason leaves the one that stands there.
    """
    values: dict[str, Any] = {"enabled": enabled}
    if enabled:
        values |= {"disabled_reason": None, "disabled_ms": None}
        bring_back(connection, document["id"])
    elif reason is not None:
        values |= {"disabled_reason": storable_prose(reason.words), "disabled_ms": reason.at_ms}
    return _write(connection, document | {"enabled": enabled}, values)


def set_pause(connection: Connection, document: dict[str, Any], *, paused: bool) -> dict[str, Any]:
    """Pause or resume the integration whose locked document this is; return the new document."""
    return _write(connection, document | {"paused": paused}, {})


def _write(connection: Connection, document: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    connection.execute(
        update(integrations)
        .where(integrations.c.id == document["id"])
        .values(
            document=json.dumps(document),
            revision=integrations.c.revision + 1,
            updated_ms=time.time_ns() // 1_000_000,
            **values,
        )
    )
    return document


def switch_off_gone(connection: Connection, outcomes: Iterable[Outcome]) -> tuple[DisabledIntegration, ...]:
    """Switch off each integration of which an outcome says that its destination is gone for good.

    Nothing changes for one that is off already, or deleted. Locks rows in the order of their ids, so that
    two recorders cannot deadlock.
    """
    reasons: dict[str, DisabledReason] = {}
    for outcome in outcomes:
        failure = outcome.failure
        if failure is not None and failure.code == FailureCode.ENDPOINT_GONE:
            reasons.setdefault(outcome.integration_id, DisabledReason(failure.message, outcome.settled_ms))
    return tuple(off for one in sorted(reasons) if (off := _switch_off(connection, one, reasons[one])))


def _switch_off(
    connection: Connection, integration_id: str, reason: DisabledReason
) -> DisabledIntegration | None:
    document = locked_document(connection, integration_id)
    if document is None or not document["enabled"]:
        return None
    set_enabled(connection, document, enabled=False, reason=reason)
    return DisabledIntegration(document["id"], document["name"], storable_prose(reason.words), reason.at_ms)
