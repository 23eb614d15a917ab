"""Into which integration dead letters go, and whether they may.

Comes in: what was typed. Goes out: the id and the tenant; or an error that says why not.
"""

import json

from worker.ledger.integrations import IntegrationStore
from worker.model.errors import InvalidReplay, NotFoundError
from worker.model.replays import Selection


def target_of(store: IntegrationStore, into: str | None) -> tuple[str | None, str | None]:
    """Return the id and the tenant of the integration that gets them, if one was named."""
    if into is None:
        return None, None
    target = store.resolve(into)
    record = next(record for record in store.records() if record.id == target)
    if record.deleted:
        raise NotFoundError(f"the integration {into} was deleted: nothing can be sent to it")
    return target, _tenant(record.document)


def refuse_other_tenant(store: IntegrationStore, selection: Selection) -> None:
    """Raise InvalidReplay when the events would reach another tenant's integration, whoever asks."""
    if selection.tenant_id is None or selection.integration_id is None:
        return
    tenants = {record.id: _tenant(record.document) for record in store.records()}
    home = tenants[selection.integration_id]
    if home != selection.tenant_id:
        raise InvalidReplay(
            "--into",
            f"is an integration of tenant {selection.tenant_id}, and the events are of tenant {home}",
            "give one of the same tenant",
        )


def _tenant(document_: str) -> str:
    return str(json.loads(document_).get("tenant_id", "default"))
