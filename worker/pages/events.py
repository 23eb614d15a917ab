"""Finding an event by its id: what became of it at every integration."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from worker.api.callers import Shared
from worker.api.pools import FairRoute
from worker.ledger.attempts import attempts_of
from worker.ledger.deliveries import find_deliveries
from worker.pages.rendering import render
from worker.pages.sessions import HOME, Viewer

router = APIRouter(include_in_schema=False, route_class=FairRoute)

#: Rows of one id at the most; it has one for each integration and each content that came under it.
_MOST = 1000


@router.get(HOME + "/events")
def find_event(
    request: Request,
    resources: Shared,
    user: Viewer,
    wanted: Annotated[str, Query(alias="id", max_length=128)] = "",
) -> Response:
    """Show the deliveries of one event to integrations of this tenant."""
    known = resources.integrations_of(user.tenant_id)
    rows = (
        find_deliveries(resources.engine, tenant_id=user.tenant_id, event_id=wanted, limit=_MOST)
        if wanted
        else []
    )
    return render(
        request,
        "events.html",
        user,
        wanted=wanted,
        rows=rows,
        names=known.names(),
        deleted=known.deleted(),
        tried=attempts_of(resources.engine, wanted, [row.delivery for row in rows]),
    )
