"""The settings that bound what one tenant may own; `worker.settings` reads them with the others."""

from typing import Annotated

from pydantic import BaseModel, Field

from worker.model.limits import DEFAULT_QUOTAS, Quotas


class QuotaSettings(BaseModel):
    """What one tenant may own. What it has above a lower limit keeps working; only growth is refused."""

    tenant_integrations: Annotated[
        int, Field(ge=1, description="Integrations that one tenant may have; deleted ones do not count.")
    ] = DEFAULT_QUOTAS.integrations
    integration_bytes: Annotated[
        int,
        Field(
            ge=4096,
            description="Bytes of one integration as it is stored, certificates and sealed secrets included.",
        ),
    ] = DEFAULT_QUOTAS.integration_bytes
    tenant_replays: Annotated[
        int,
        Field(ge=1, description="Replays of one tenant that may run at once, beside those made by itself."),
    ] = DEFAULT_QUOTAS.replays

    idempotency_bytes: Annotated[
        int,
        Field(
            ge=1_000_000,
            description="Bytes of Redis that the answers of one tenant to requests with an Idempotency-Key "
            "may take; beyond it the oldest are forgotten first.",
        ),
    ] = 67_108_864
    tenant_waiting_bytes: Annotated[
        int,
        Field(
            ge=1_000_000,
            description="Bytes of events of one tenant that may wait, in Redis and in the database, counted "
            "for each integration; beyond, `POST /events` answers 429 to this tenant.",
        ),
    ] = 4_000_000_000

    @property
    def quotas(self) -> Quotas:
        """What one tenant may own, as those who enforce it take it."""
        return Quotas(self.tenant_integrations, self.integration_bytes, self.tenant_replays)
