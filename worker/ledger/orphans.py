"""Brings what only Redis knows of integrations back into a ledger that was restored from a backup.

Each is written under a revision above the one that Redis has.
"""

import json
from collections.abc import Callable
from functools import partial
from typing import Any

from sqlalchemy import Engine, update
from sqlalchemy.exc import IntegrityError

from worker.integrations.integration import Integration, require_in_place
from worker.ledger.audit import add_integration_record
from worker.ledger.engine import writing
from worker.ledger.integration_rows import insert_integration, locked_row, name_taken, set_enabled, set_paused
from worker.ledger.schema import integrations
from worker.model.audit import FLEET, Action, Actor, Change
from worker.model.time import current_ms
from worker.vault.changes import integration_changes
from worker.vault.documents import forget_secrets, read_document
from worker.vault.marks import marks_of
from worker.vault.vault import Vault


def adopt_integration(
    engine: Engine,
    vault: Vault,
    document: dict[str, Any],
    revision: int,
    name: str | None = None,
    *,
    by: Actor = FLEET,
) -> Integration:
    """Write an integration that only Redis knew into the ledger, and return it; it stays paused.

    `document` has its secrets sealed, `revision` is Redis's; `name` is another name for it. Raises
    InvalidIntegration when it cannot be read, or its id or name is taken; SecretMoved when a secret of it was
    sealed for another integration or address; LedgerUnavailable, SchemaOutdated.
    """
    wanted = document | {"paused": True} | ({"name": name} if name else {})
    integration = read_document(wanted, vault)
    require_in_place(integration)
    now_ms = current_ms()
    record = partial(
        add_integration_record,
        action=Action.ORPHAN_ADOPTED,
        actor=by,
        changes=integration_changes(None, integration),
    )
    _insert(engine, wanted, revision, now_ms, record, secrets_set=marks_of(integration, now_ms))
    return integration


def keep_dead_letters(engine: Engine, document: dict[str, Any], revision: int, *, by: Actor = FLEET) -> None:
    """Write an integration that only Redis knew into the ledger as one that was deleted, without secrets.

    What waits for it then becomes dead letters, as of any that is deleted. Raises InvalidIntegration when
    its id is taken; LedgerUnavailable, SchemaOutdated.
    """
    now_ms = current_ms()
    record = partial(add_integration_record, action=Action.ORPHAN_DELETED, actor=by)
    _insert(engine, forget_secrets(document), revision, now_ms, record, deleted_ms=now_ms)


def take_careful_state(
    engine: Engine, integration_id: str, revision: int, *, enabled: bool, paused: bool
) -> int | None:
    """Disable or pause an integration as Redis has it, and return its new revision, above that of Redis.

    None if there is none (any more), or it has changed meanwhile. Raises LedgerUnavailable,
    SchemaOutdated.
    """
    with writing(engine) as connection:
        row = locked_row(connection, integration_id)
        if row is None or row.revision > revision:
            return None
        document = json.loads(row.document)
        changes = []
        if not enabled:
            changes.append(Change("enabled", document.get("enabled"), after=False))
            document = set_enabled(connection, document, enabled=False)
        if paused:
            changes.append(Change("paused", document.get("paused"), after=True))
            set_paused(connection, document, paused=True)
        action = Action.INTEGRATION_PAUSED if enabled else Action.INTEGRATION_DISABLED
        reason = "the ledger was set back, and Redis knew it in a more careful state"
        add_integration_record(connection, action, FLEET, document, changes, reason=reason)
        above = update(integrations).where(integrations.c.id == row.id).values(revision=revision + 1)
        connection.execute(above)
    return revision + 1


def _insert(
    engine: Engine,
    document: dict[str, Any],
    revision: int,
    now_ms: int,
    record: Callable[..., None],
    **values: Any,
) -> None:
    try:
        with writing(engine) as connection:
            insert_integration(connection, document, now_ms, revision=revision + 1, **values)
            record(connection, document=document)
    except IntegrityError:
        name, tenant_id = document.get("name", document["id"]), document.get("tenant_id", "default")
        hint = "give another name with --name, or delete that integration first"
        raise name_taken(name, tenant_id, hint) from None
