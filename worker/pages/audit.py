"""Who changed what in the tenant: the latest first, found by integration, key, action and time."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Annotated, Self

from fastapi import APIRouter, Query, Request
from fastapi.responses import RedirectResponse, Response

from worker.api.callers import Shared
from worker.api.pools import FairRoute
from worker.api.problems import Problem
from worker.ledger.audit import find_records
from worker.model.audit import Action, AuditFilter, AuditRecord
from worker.pages.dead_letter_filter import moment_in
from worker.pages.rendering import render
from worker.pages.sessions import HOME, Viewer
from worker.views.audit import actor_words, change_words, shown_actor, subject_words, value_words

router = APIRouter(include_in_schema=False, route_class=FairRoute)

AUDIT = HOME + "/audit"
PAGE = 50


@dataclass(frozen=True, slots=True)
class Filled:
    """The fields of the form as they were filled in; times are UTC, to the minute."""

    integration: str = ""
    action: str = ""
    key: str = ""
    since: str = ""
    until: str = ""

    @classmethod
    def of(cls, fields: Mapping[str, object]) -> Self:
        """Read the fields of a query. Raises Problem naming the one that is wrong."""
        given = cls(**{name: str(fields.get(name, "")).strip() for name in cls.__slots__})
        if given.action and given.action not in list(Action):
            raise Problem(422, "action: is none of those in the list", field="action")
        return given

    def asked(self, tenant_id: str) -> AuditFilter:
        """Return what is meant, of this tenant. Raises Problem when a time is none."""
        return AuditFilter(
            tenant_id=tenant_id,
            integration_id=self.integration or None,
            key_id=self.key or None,
            action=Action(self.action) if self.action else None,
            since_ms=moment_in("since", self.since),
            until_ms=moment_in("until", self.until),
        )

    @property
    def fields(self) -> dict[str, str]:
        """The fields that say something."""
        return {name: value for name, value in asdict(self).items() if value}


@router.get("/audit")
async def lead_there(_user: Viewer) -> Response:
    """Go to the page."""
    return RedirectResponse(AUDIT, 303)


@router.get(AUDIT)
def show_audit(
    request: Request,
    resources: Shared,
    user: Viewer,
    before: Annotated[str, Query(pattern=r"^(aud_[0-9a-f]{12,40})?$")] = "",
) -> Response:
    """Show who changed what."""
    filled = Filled.of(request.query_params)
    found = find_records(resources.engine, filled.asked(user.tenant_id), PAGE + 1, before or None)
    mine = resources.integrations_of(user.tenant_id)
    return render(
        request,
        "audit.html",
        user,
        records=[_shown(one) for one in found[:PAGE]],
        before=found[PAGE - 1].id if len(found) > PAGE else None,
        filled=filled,
        names=mine.names(),
        deleted=mine.deleted_ids(),
        actions=[one.value for one in Action if one not in _FLEETS],
    )


#: What is done to the whole installation is no tenant's.
_FLEETS = frozenset(
    {
        *(Action.SECRETS_RESEALED, Action.REDIS_CLAIMED, Action.LOSS_ACKNOWLEDGED),
        *(Action.FORMATS_HELD, Action.FORMATS_RELEASED),
        *(Action.UNRECORDABLE_RETRIED, Action.UNRECORDABLE_DISCARDED),
        *(Action.LEDGER_PRUNED, Action.LEDGER_UPGRADED, Action.LEDGER_DOWNGRADED),
    }
)


def _shown(record: AuditRecord) -> dict[str, object]:
    """Return a record in words."""
    return {
        "at_ms": record.at_ms,
        "who": actor_words(shown_actor(record.actor, for_tenant=True)),
        "action": record.action,
        "subject": subject_words(record),
        "integration": record.integration_id,
        "changes": [change_words(one) for one in record.changes],
        "details": [(name.replace("_", " "), value_words(value)) for name, value in record.details.items()],
    }
