"""The backlog of each integration: woken by the router, claimed and settled by the workers.

A slot is in one of four states; every arrow is one Lua script, so a process may die between any two.

    free ──wake──▶ ordered ──claim──▶ sending ──settle──▶ free, or ordered again: more waits, or it stays
                      ▲                 │  ▲ └──settle, retry──▶ waiting ──claim──▶ sending
                      └─────reissue─────┘  └────────claim────────────┘
                   (lease ran out: new epoch)    (reissue: a late retry becomes ordered, same epoch)
"""

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from worker.broker import keys
from worker.broker.backlog_looks import in_use
from worker.broker.chunk_cache import ChunkCache
from worker.broker.claim_reply import Claimed
from worker.broker.connection import broker_errors, shared_script, single_script
from worker.broker.identity import process_identity
from worker.broker.packing import pack_dead, pack_outcomes, whole
from worker.broker.redis_stats import opened_by, why_not_sending
from worker.broker.round_trips import Call, run_script
from worker.broker.staying import claim_when_it_comes
from worker.broker.sweep import Reissued, Reissuing
from worker.broker.waking import Wakes
from worker.model.batches import Batch
from worker.model.breaker import BreakerPolicy, spread
from worker.model.deliveries import Settlement
from worker.model.errors import LeaseLost
from worker.model.log_events import BACKLOG_UNREADABLE, BREAKER_CLOSED, BREAKER_OPENED, BREAKER_REASON_CHANGED
from worker.model.orders import WorkOrder
from worker.settings import Settings

if TYPE_CHECKING:
    import redis


log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Timing:
    """How long things may take before the sweeper steps in, in seconds."""

    lease: float
    order_lease: float
    retry_grace: float
    breaker: BreakerPolicy = field(default_factory=BreakerPolicy)

    @classmethod
    def of(cls, config: Settings) -> "Timing":
        """Pick what the backlog needs to know of time."""
        breaker = BreakerPolicy(
            config.breaker_failures, config.breaker_first_probe, config.breaker_longest_probe
        )
        return cls(config.lease, config.order_lease, config.retry_grace, breaker)


@dataclass(frozen=True, slots=True)
class Claim:
    """A batch to be sent, and the order for a further slot when more work waits."""

    batch: Batch
    further: WorkOrder | None


@dataclass(frozen=True, slots=True)
class OpenBreaker:
    """An open breaker: why (a finding's code), since when, and when the next batch tries (ms)."""

    cause: str
    since_ms: int
    next_try_ms: int


class Backlog:
    """The backlogs of all integrations, as one Redis holds them.

    Every method raises BrokerUnavailable when Redis is away; what it would have done is then either
    done whole or not at all.
    """

    def __init__(self, client: "redis.Redis", timing: Timing) -> None:
        """Use the client, which may be shared between threads."""
        self._client = client
        self._timing = timing
        self._chunks = ChunkCache()
        self._wake = shared_script(client, "wake", ("taker", "unneeded"))
        self._claim = shared_script(client, "claim", ("payloads", "lanes", "counts", "claim_staying"))
        self._settle = shared_script(
            client, "settle", ("make_way", "lanes", "counts", "append", "settle_staying")
        )
        self._aside = shared_script(client, "aside")
        self._repair = shared_script(client, "repair")
        self._in_use = single_script(client, "in_use")
        self._reissuing = Reissuing(client, timing.lease, timing.order_lease)

    def wake(self, integration_ids: Iterable[str]) -> list[WorkOrder]:
        """Lease a free slot of each integration whose backlog waits; the orders are yet to be issued."""
        return self.wakes(integration_ids).orders()

    def wakes(self, integration_ids: Iterable[str]) -> Wakes:
        """Return what does so behind a hand-over, in its transaction."""
        lease = _ms(self._timing.order_lease)
        calls: dict[str, Call] = {one: (_keys(one), [*_args(one), lease]) for one in integration_ids}
        return Wakes(self._client, self._wake, calls)

    def claim(self, order: WorkOrder) -> Claim | str:
        """Claim a batch for the order, or say in a word why there is nothing to do.

        The words: `stale` (another order took its place), `early` (a retry that is not due), `held`
        (the integration takes no deliveries at present), `empty` (nothing waits).

        What cannot be read is set aside on the way, as dead letters with the cause `unreadable`.
        """
        return self._claimed(order, self._ask_for_batch(order))

    def claim_next(self, order: WorkOrder, seconds: float) -> Claim | str:
        """Claim what comes within so many seconds for an order whose worker stays.

        Says `nothing`, and leaves the slot to the worker, if nothing does; else what `claim` says.
        """
        of, words = self._claiming(order)
        call = of, [*words, "stay"]
        return self._claimed(order, claim_when_it_comes(self._client, order, seconds, self._claim, call))

    def _claimed(self, order: WorkOrder, reply: Any) -> Claim | str:
        further: WorkOrder | None = None
        while reply[0] == b"batch":
            further = _further(order, reply[8]) or further
            claimed = Claimed.of(order, reply, self._chunks.fetch(self._client, [*reply[6], *reply[7]]))
            if claimed.unreadable:
                self._set_aside(claimed)
            if claimed.batch.events:
                return Claim(claimed.batch, further)
            reply = self._ask_for_batch(order)
        return str(reply[0].decode())

    def _ask_for_batch(self, order: WorkOrder) -> Any:
        with broker_errors():
            return run_script(self._client, self._claim, self._claiming(order))

    def _claiming(self, order: WorkOrder) -> tuple[list[str], list[Any]]:
        timing = self._timing
        return [*_keys(order.integration_id), keys.INTEGRATIONS], [
            *(*_args(order.integration_id), order.slot, order.epoch),
            *(_ms(timing.lease), _ms(timing.order_lease), str(process_identity())),
        ]

    def _set_aside(self, claimed: Claimed) -> None:
        """Make dead letters of what cannot be read; the rest of the batch stays claimed. Raises LeaseLost."""
        order, batch, found = claimed.batch.order, claimed.batch, claimed.dead_chunks()
        outcomes = [one.outcome for one in found if one.outcome]
        dead = [one.dead for one in found if one.dead]
        with broker_errors():
            done = self._aside(
                keys=[*_keys(order.integration_id), keys.OUTCOMES, keys.DEAD_LETTERS, keys.COUNTERS],
                args=[
                    *_args(order.integration_id),
                    order.slot,
                    order.epoch,
                    batch.claimed_ms,
                    sum(one.count for one in found),
                    pack_outcomes(outcomes) if outcomes else b"",
                    claimed.request_counts_before,
                    len(batch.urgent) + len(batch.bulk),
                    _ms(self._timing.order_lease),
                    len(dead),
                    *map(pack_dead, dead),
                    *claimed.unreadable_ids(),
                ],
            )
        if not done:
            raise LeaseLost
        events = sum(one.count for one in found)
        BACKLOG_UNREADABLE.log(log, integration=order.integration_id, chunks=len(found), events=events)

    def settle(self, batch: Batch, settlement: Settlement, *, stay: bool = False) -> WorkOrder | None:
        """Write what became of the batch; all of it happens, or nothing.

        Returns the order to issue next when more work waits. If nothing does, and the worker would `stay`,
        that may be one for itself, for `claim_next`. Raises LeaseLost, and writes
        nothing, when the slot belongs to another claim by now.
        """
        order = batch.order
        of = [*_keys(order.integration_id), keys.OUTCOMES, keys.DEAD_LETTERS]
        words = [
            *_args(order.integration_id),
            order.slot,
            order.epoch,
            settlement.settled,
            pack_outcomes(settlement.outcomes) if settlement.outcomes else b"",
            _ms(settlement.cool_down),
            int(settlement.disable),
            *self._breaker(settlement),
            len(settlement.dead),
            *map(pack_dead, settlement.dead),
            *self._ending(batch, settlement, stay=stay),
            batch.claimed_ms,
        ]
        with broker_errors():
            reply = run_script(self._client, self._settle, (of, words))
        if reply[0] == b"stale":
            raise LeaseLost
        _report(order, settlement, reply[2])
        return _further(order, reply[1])

    def reissue(self, sweep_interval: float = 2.0) -> list[Reissued]:
        """Lease again the slots that were not settled in time; say in which state each was, and whose."""
        return self._reissuing.step(sweep_interval)

    def repair(self, integration_ids: Iterable[str]) -> int:
        """Lease again the slots that damage has taken from `reissue`'s sight; return how many."""
        ids = in_use(self._client, self._in_use, list(integration_ids))
        with broker_errors():
            pipeline = self._client.pipeline(transaction=False)
            for one in ids:
                self._repair(keys=_keys(one), args=_args(one), client=pipeline)
            replies = pipeline.execute(raise_on_error=False) if ids else []
        return sum(reply for reply in replies if isinstance(reply, int))

    def depth(self, integration_id: str) -> int:
        """Count the events that wait for the integration or are on their way to it."""
        with broker_errors():
            found = self._client.hget(keys.state_key(integration_id), "backlog_events")
        return whole(found)

    def hold(self, integration_id: str) -> OpenBreaker | None:
        """Return why nothing is sent to the integration at present, if circuit breaker open."""
        with broker_errors():
            fields = ("breaker", "opened_by", "opened_at", "probe_at")
            found: Any = self._client.hmget(keys.state_key(integration_id), *fields)
        breaker, cause, since, next_try = found
        if breaker != b"open":
            return None
        return OpenBreaker(opened_by(cause), whole(since), whole(next_try))

    def standstill(self, integration_id: str) -> tuple[str, int]:
        """Return why an order got `held`, in words, and how many events wait."""
        return why_not_sending(self._client, integration_id)

    def _ending(self, batch: Batch, settlement: Settlement, *, stay: bool) -> list[Any]:
        retry, lease = settlement.retry, _ms(self._timing.order_lease)
        if retry is None:
            return ["stay" if stay else "done", lease, len(batch.urgent), *batch.urgent, *batch.bulk]
        sweeper_in = retry.seconds + (self._timing.retry_grace if retry.by_celery else 0)
        return [
            *("retry", lease, _ms(retry.seconds), _ms(sweeper_in)),
            *(retry.request_counts, retry.attempts, int(settlement.suspicious)),
        ]

    def _breaker(self, settlement: Settlement) -> list[Any]:
        policy = self._timing.breaker
        return [
            *(settlement.health.value, settlement.cause),
            *(policy.failures, _ms(policy.first_probe), _ms(policy.longest_probe)),
            spread(),
            _ms(settlement.asked),
        ]


def _report(order: WorkOrder, settlement: Settlement, breaker: bytes) -> None:
    integration, slot, epoch = order.integration_id, order.slot, order.epoch
    reason = settlement.cause
    if breaker == b"opened":
        BREAKER_OPENED.log(log, integration=integration, slot=slot, epoch=epoch, reason=reason)
    elif breaker == b"another reason":
        BREAKER_REASON_CHANGED.log(log, integration=integration, slot=slot, epoch=epoch, reason=reason)
    elif breaker == b"closed":
        BREAKER_CLOSED.log(log, integration=integration, slot=slot, epoch=epoch)


def _keys(integration_id: str) -> list[str]:
    return [
        keys.LEASES,
        keys.state_key(integration_id),
        keys.urgent(integration_id),
        keys.bulk(integration_id),
    ]


def _args(integration_id: str) -> list[str]:
    return [integration_id, keys.slot_prefix(integration_id)]


def _further(order: WorkOrder, reply: list[Any] | None) -> WorkOrder | None:
    return WorkOrder.leased(order.integration_id, reply) if reply else None


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
