"""Saves what a request says of an integration: as a new one, or as a change of one that is there."""

from collections.abc import Iterator
from functools import partial
from typing import Any

from worker.api.merging import changed, created
from worker.api.naming import names_for
from worker.api.resources import Resources
from worker.ledger.tenancy import RevisionCheck, TenantIntegrations
from worker.model.errors import InvalidIntegration, NotFoundError, RevisionConflict
from worker.views.integrations import integration_document

#: How often a change is tried anew that another one has overtaken.
_TRIES = 5


def create_integration_of_tenant(
    resources: Resources, tenant_id: str, given: dict[str, Any], integration_id: str, *, again: bool
) -> None:
    """Create it under this id; nothing is done if that was done `again`. Raises InvalidIntegration."""
    if again and _is_there(resources.integrations_of(tenant_id), integration_id):
        return
    names = list(_names(given, integration_id))
    for name in names:
        integration = created({**given, "name": name}, integration_id, tenant_id)
        try:
            resources.all_integrations().create(integration)
        except InvalidIntegration as error:
            if error.field != "name" or name is names[-1]:
                raise
        else:
            return


def change(
    integrations: TenantIntegrations, integration_id: str, patch: dict[str, Any], seen: RevisionCheck
) -> None:
    """Apply a merge patch to one. Raises NotFoundError, ChangedMeanwhile, InvalidIntegration."""
    for left in reversed(range(_TRIES)):
        shown = integrations.show(integration_id)
        if seen is not None and shown.revision not in seen:
            raise RevisionConflict
        apply = partial(changed, patch=patch, shown=integration_document(shown))
        try:
            integrations.change(integration_id, apply, {shown.revision})
        except RevisionConflict:
            if seen is not None or not left:
                raise
        else:
            return


def _names(given: dict[str, Any], integration_id: str) -> Iterator[Any]:
    if given.get("name") is None:
        yield from names_for(given, integration_id)
    else:
        yield given["name"]


def _is_there(integrations: TenantIntegrations, integration_id: str) -> bool:
    try:
        integrations.show(integration_id)
    except NotFoundError:
        return False
    return True
