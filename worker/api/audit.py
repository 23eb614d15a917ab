"""`/audit`: who changed what in the caller's tenant.

Keys that may read see it: an auditor needs no right to change. What concerns the whole installation, and what
is another tenant's, is not there; which operator acted, and where, is not shown.
"""

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from worker.api.callers import Reader, Shared
from worker.api.openapi import problems
from worker.api.parameters import USUAL, Cursor, Limit, epoch_ms
from worker.api.pools import FairRoute
from worker.ledger.audit import find_records
from worker.model.audit import Action, AuditFilter
from worker.views.audit import AuditPage, audit_page, audit_place

router = APIRouter(prefix="/audit", tags=["audit"], route_class=FairRoute)


class AuditFilters(BaseModel):
    """Which records a list has."""

    model_config = ConfigDict(extra="forbid")

    integration: str | None = Field(
        None, min_length=1, max_length=64, description="Only of this integration, by its id."
    )
    key: str | None = Field(None, min_length=1, max_length=64, description="Only by this API key, by its id.")
    action: Action | None = Field(None, description="Only what was done so.")
    since: AwareDatetime | None = Field(
        None, description="Not before this time: RFC 3339 with a zone, such as 2026-11-22T10:00:00Z."
    )
    until: AwareDatetime | None = Field(None, description="Not after this time.")
    limit: Limit = USUAL
    cursor: Cursor = None


@router.get("", responses=problems(401, 403, 429, 503))
def list_audit_records(
    caller: Reader, resources: Shared, asked: Annotated[AuditFilters, Query()]
) -> AuditPage:
    """List who changed what, the latest first, with before and after; of a secret only that it changed."""
    meant = AuditFilter(
        tenant_id=caller.tenant_id,
        integration_id=asked.integration,
        key_id=asked.key,
        action=asked.action,
        since_ms=epoch_ms(asked.since),
        until_ms=epoch_ms(asked.until),
    )
    found = find_records(resources.engine, meant, asked.limit + 1, audit_place(asked.cursor))
    return audit_page(found, asked.limit, for_tenant=True)
