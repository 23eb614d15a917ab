"""Brings what only Redis knows of integrations back into a ledger that was restored from a backup.

Comes in: sealed documents, as Redis holds them, and more careful states. Goes out: rows of `integrations`,
each under a revision above the one that Redis has.
"""

import json
import time
from typing import Any

from sqlalchemy import Engine, insert, select, update
from sqlalchemy.exc import IntegrityError

from worker.integrations.integration import Integration, require_in_place
from worker.ledger.engine import writing
from worker.ledger.integration_rows import locked_document, set_enabled, set_pause
from worker.ledger.schema import integrations
from worker.model.errors import InvalidIntegration
from worker.vault.documents import forget_secrets, read_document
from worker.vault.marks import marks_of
from worker.vault.vault import Vault


def adopt_integration(
    engine: Engine, vault: Vault, document: dict[str, Any], revision: int, name: str | None = None
) -> Integration:
    """Write an integration that only Redis knew into the ledger, and return it; it stays paused.

    `document` has its secrets sealed, `revision` is Redis's; `name` is another name for it. Raises
    InvalidIntegration when it cannot be read, or its id or name is taken; SecretMoved when a secret of it was
    sealed for another integration or address; LedgerUnavailable, SchemaOutdated.
    """
    wanted = document | {"paused": True} | ({"name": name} if name else {})
    integration = read_document(wanted, vault)
    require_in_place(integration)
    now_ms = _now_ms()
    _insert(engine, _row(wanted, revision, now_ms) | {"secrets_set": marks_of(integration, now_ms)})
    return integration


def keep_dead_letters(engine: Engine, document: dict[str, Any], revision: int) -> None:
    """Write an integration that only Redis knew into the ledger as one that was deleted, without secrets.

    What waits for it then becomes dead letters, as of any that is deleted. Raises InvalidIntegration when
    its id is taken; LedgerUnavailable, SchemaOutdated.
    """
    now_ms = _now_ms()
    _insert(engine, _row(forget_secrets(document), revision, now_ms) | {"deleted_ms": now_ms})


def take_careful_state(
    engine: Engine, integration_id: str, revision: int, *, enabled: bool, paused: bool
) -> int | None:
    """Disable or pause an integration as Redis has it, and return its new revision, above that of Redis.

    None if there is none (any more), or somebody has changed it meanwhile. Raises LedgerUnavailable,
    SchemaOutdated.
    """
    columns = integrations.c
    mine = columns.id == integration_id
    with writing(engine) as connection:
        document = locked_document(connection, integration_id)
        known = connection.execute(select(columns.revision).where(mine)).scalar_one_or_none()
        if document is None or known is None or known > revision:
            return None
        if not enabled:
            document = set_enabled(connection, document, enabled=False)
        if paused:
            set_pause(connection, document, paused=True)
        connection.execute(update(integrations).where(mine).values(revision=revision + 1))
    return revision + 1


def _row(document: dict[str, Any], revision: int, now_ms: int) -> dict[str, Any]:
    return {
        "id": document["id"],
        "tenant_id": document.get("tenant_id", "default"),
        "type": document["destination"]["type"],
        "name": document.get("name", document["id"]),
        "enabled": bool(document.get("enabled")),
        "document": json.dumps(document),
        "revision": revision + 1,
        "created_ms": now_ms,
        "updated_ms": now_ms,
    }


def _insert(engine: Engine, row: dict[str, Any]) -> None:
    try:
        with writing(engine) as connection:
            connection.execute(insert(integrations).values(row))
    except IntegrityError:
        raise InvalidIntegration(
            "name",
            f"{row['name']} is taken by another integration of tenant {row['tenant_id']}",
            "give another name with --name, or delete that integration first",
        ) from None


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
