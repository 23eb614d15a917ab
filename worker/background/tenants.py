"""What of a tenant still waits in this cell: before it is retired here, nothing may."""

from dataclasses import dataclass

from worker.broker.backlog import Backlog, Timing
from worker.broker.connection import Client
from worker.broker.ingress_counts import count_unrouted_of
from worker.ledger.api_keys import ApiKeyStore
from worker.ledger.dead_letters import count_dead_letters
from worker.ledger.engine import Ledger
from worker.ledger.integrations import IntegrationStore
from worker.ledger.parked import ParkedStore
from worker.ledger.replays import running_replays
from worker.ledger.tenants import last_event_ms
from worker.model.replays import DeadLetterFilter, Replay
from worker.model.time import current_ms


@dataclass(frozen=True, slots=True)
class TenantStatus:
    """What a tenant has here, and what waits. Counts of events are for each integration that wants them.

    `ingress` is None where so many events wait to be routed that they were not looked through;
    `last_event_ms` None without any event of which it is known what became.
    """

    tenant_id: str
    integrations: int
    enabled: int
    api_keys: int
    ingress: int | None
    backlog: int
    parked: int
    replays: int
    dead_letters: int
    last_event_ms: int | None

    @property
    def is_drained(self) -> bool:
        """Whether no event waits to be routed or sent. Dead letters wait for a person, and do not count."""
        return self.ingress == 0 and not (self.backlog or self.parked or self.replays)

    def quiet_seconds(self) -> float | None:
        """Return for how long no event was published, as far as is known; None if there never was one."""
        return None if self.last_event_ms is None else max(0.0, (current_ms() - self.last_event_ms) / 1000)


def tenant_status(
    engine: Ledger, client: Client, timing: Timing, integrations: IntegrationStore, tenant_id: str
) -> TenantStatus:
    """Look at a tenant of this cell. Raises BrokerUnavailable, LedgerUnavailable, SchemaOutdated."""
    # In the order in which events travel: none is missed that goes on meanwhile.
    ingress = count_unrouted_of(client, tenant_id)
    mine = [one.document for one in integrations.of(tenant_id).masked()]
    ids = {str(one["id"]) for one in mine}
    backlog = Backlog(client, timing)
    waiting = sum(backlog.depth(one) for one in ids)
    parked = ParkedStore(engine).counts()
    running = [one for one in running_replays(engine) if _concerns(one, tenant_id, ids)]
    letters = count_dead_letters(engine, DeadLetterFilter(tenant_id=tenant_id))
    keys = ApiKeyStore(engine).list(tenant_id)
    return TenantStatus(
        tenant_id,
        len(ids),
        sum(bool(one.get("enabled")) for one in mine),
        sum(key.revoked_ms is None for key in keys),
        ingress,
        waiting,
        sum(parked[one].events for one in ids & parked.keys()),
        len(running),
        letters.total,
        last_event_ms(engine, sorted(ids)),
    )


def _concerns(replay: Replay, tenant_id: str, integration_ids: set[str]) -> bool:
    """Whether a replay may send events of the tenant; one of all tenants may."""
    named = {replay.selection.integration_id, replay.target_id} - {None}
    tenant = replay.selection.tenant_id
    return tenant == tenant_id or bool(named & integration_ids) or not (named or tenant)
