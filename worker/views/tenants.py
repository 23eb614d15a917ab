"""A tenant of this cell as JSON: what it has, and what of it still waits."""

from pydantic import BaseModel, Field

from worker.background.tenants import TenantStatus
from worker.model.time import rfc3339


class TenantDocument(BaseModel):
    """What `siem tenants status` says."""

    tenant_id: str
    integrations: int
    enabled: int
    api_keys: int
    ingress: int | None = Field(description="events to be routed; null if too many wait to look through")
    backlog: int
    parked: int
    replays: int
    dead_letters: int
    last_event_at: str | None
    drained: bool


def tenant_document(found: TenantStatus) -> TenantDocument:
    """Return the document of what was found."""
    return TenantDocument(
        tenant_id=found.tenant_id,
        integrations=found.integrations,
        enabled=found.enabled,
        api_keys=found.api_keys,
        ingress=found.ingress,
        backlog=found.backlog,
        parked=found.parked,
        replays=found.replays,
        dead_letters=found.dead_letters,
        last_event_at=None if found.last_event_ms is None else rfc3339(found.last_event_ms),
        drained=found.is_drained,
    )
