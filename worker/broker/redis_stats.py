"""What Redis knows of integrations and of the fleet, for health: a few round trips for all of them.

Input: ids. Output: facts, for others to judge. Nothing here writes.
"""

import logging
from collections import Counter
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

import msgspec
from redis.exceptions import ResponseError

from worker.broker import keys
from worker.broker.backlog_looks import vitals_of
from worker.broker.clocks import EARLIEST_MS, earliest_ms, redis_now_ms
from worker.broker.connection import broker_errors, joined_script, require_usable
from worker.broker.fleet import living_processes
from worker.broker.heartbeat import consumes
from worker.broker.ingress_counts import ingress_depth
from worker.broker.integration_documents import Limits
from worker.broker.order_queues import OrderQueues
from worker.broker.outcomes import lag, oldest_ms
from worker.broker.packing import whole
from worker.integrations import destination_types
from worker.model.failures import FailureCode
from worker.model.fleet_health import FleetStats, QueueDepth
from worker.model.health import BacklogStats, Breaker, Subject
from worker.model.log_events import INTEGRATION_STATS_UNREADABLE
from worker.model.untrusted_json import DAMAGED

if TYPE_CHECKING:
    import redis


log = logging.getLogger(__name__)

_STATE = (
    *("backlog_events", "rests_until", "closed_at", "failures"),
    *("breaker", "opened_by", "opened_at", "probe_at", "probe"),
)

#: Of an integration of which Redis knows nothing, or for which nothing waits and nothing happened.
_NOTHING = BacklogStats()


class RedisStats:
    """Asks Redis. Every method raises BrokerUnavailable when it is away."""

    def __init__(self, client: "redis.Redis") -> None:
        """Use the client, which may be shared between threads."""
        self._client = client
        self._vitals = joined_script(client, "payloads", "oldest", "vitals")
        self._queues = OrderQueues(client)

    def now_ms(self) -> int:
        """Return the time by the clock of Redis."""
        return redis_now_ms(self._client)

    def of(self, integration_ids: Collection[str]) -> dict[str, BacklogStats]:
        """Return the vitals of each, in one round trip."""
        found = vitals_of(self._client, self._vitals, list(integration_ids), _STATE)
        return {one: _vitals(one, *found[one]) if one in found else _NOTHING for one in integration_ids}

    def recorded_until_ms(self) -> int:
        """Return up to when what was settled stands in the ledger."""
        # The time first: what is settled after it says nothing against it.
        now_ms = self.now_ms()
        waiting_since = oldest_ms(self._client)
        return now_ms if waiting_since is None else min(now_ms, waiting_since)

    def of_fleet(self) -> FleetStats:
        """Return the figures of the fleet."""
        # Behind the time, an order that was issued meanwhile waits for no time.
        now_ms, living = self.now_ms(), living_processes(self._client)
        return FleetStats(
            now_ms,
            Counter(one.role for one in living),
            self._to_route(),
            QueueDepth(lag(self._client), oldest_ms(self._client)),
            self._length(keys.UNRECORDABLE),
            {kind: self._queues.waiting(kind) for kind in destination_types()},
            Counter(one.role for one in living if not consumes(one)),
        )

    def _to_route(self) -> QueueDepth:
        """Count what waits; what has an id that no clock can have given says nothing of how long."""
        now_ms = self.now_ms()
        with broker_errors():
            first: Any = self._client.xrange(keys.EVENTS, min=f"{EARLIEST_MS}-0", count=1)
        depth = ingress_depth(self._client)
        oldest_ms = earliest_ms([entry_id for entry_id, _ in first], now_ms)
        return QueueDepth(depth.entries, oldest_ms, depth.events)

    def _length(self, stream: str) -> int:
        with broker_errors():
            return int(self._client.xlen(stream))


class _Document(msgspec.Struct, frozen=True):
    """What the copy of an integration says of itself."""

    id: str
    destination: Limits
    tenant_id: str = "default"
    name: str = ""
    enabled: bool = False
    paused: bool = False
    deleted: bool = False


_document = msgspec.json.Decoder(_Document)


def has_integrations(client: "redis.Redis") -> bool:
    """Whether Redis has the integrations, none included; an emptied one has not."""
    with broker_errors():
        return bool(client.exists(keys.INTEGRATIONS_VERSION))


def standing_subjects(client: "redis.Redis") -> list[Subject]:
    """Return the integrations as Redis has them, by tenant and name; for while the database is away.

    What cannot be read is left out, and so is why one was disabled. Raises BrokerUnavailable.
    """
    with broker_errors():
        found: Any = client.hvals(keys.INTEGRATIONS)
    known = [one for value in found if (one := _read_document(value)) and not one.deleted]
    known.sort(key=lambda one: (one.tenant_id, one.name))
    return [
        Subject(one.id, one.tenant_id, one.name, one.destination.type, one.enabled, one.paused)
        for one in known
    ]


def standing_document(client: "redis.Redis", integration_id: str) -> bytes | None:
    """Return the sealed document of an integration as Redis has it. Raises BrokerUnavailable."""
    with broker_errors():
        found: bytes | None = client.hget(keys.INTEGRATIONS, integration_id)  # type: ignore[assignment]  # bytes: no decoding is set
    return found


def _read_document(value: bytes) -> _Document | None:
    try:
        return _document.decode(value)
    except DAMAGED:
        return None


def leased_slots(client: "redis.Redis") -> Counter[str]:
    """Count the slots in use of each integration; none if that is damaged. Raises BrokerUnavailable."""
    with broker_errors():
        try:
            found: Any = client.zrange(keys.LEASES, 0, -1)
        except ResponseError as error:
            require_usable(error)
            return Counter()  # a sweeper moves it away, and says so
    return Counter(member.decode(errors="replace").rpartition("/")[0] for member in found)


def processes_at_work(client: "redis.Redis") -> Counter[str]:
    """Count the living processes of each role that do the work of it. Raises BrokerUnavailable."""
    return Counter(process.role for process in living_processes(client) if consumes(process))


def _vitals(integration_id: str, state: Any, oldest: Any) -> BacklogStats:
    for reply in (state, oldest):
        if isinstance(reply, Exception):
            require_usable(reply)
            # One backlog whose keys are not what they should be must not hide the health of the others.
            INTEGRATION_STATS_UNREADABLE.log(log, integration=integration_id, error=str(reply))
            return BacklogStats()
    backlog, rests_until, closed, failures, *breaker = state
    came_ms, published_ms = oldest or (None, None)
    return BacklogStats(
        backlog_events=max(0, whole(backlog)),
        waiting_since_ms=came_ms,
        oldest_published_ms=published_ms,
        breaker=_breaker(*breaker),
        closed_ms=whole(closed),
        rests_until_ms=whole(rests_until),
        failures=whole(failures),
    )


def _breaker(
    breaker: bytes | None,
    cause: bytes | None,
    since: bytes | None,
    next_try: bytes | None,
    probe: bytes | None,
) -> Breaker | None:
    if breaker != b"open":
        return None
    return Breaker(opened_by(cause), whole(since), whole(next_try), probe is not None)


def opened_by(cause: bytes | None) -> str:
    """Return the code of what opened a breaker; an earlier release may have left that empty."""
    return (cause or FailureCode.UNKNOWN.encode()).decode(errors="replace")


def why_not_sending(client: "redis.Redis", integration_id: str) -> tuple[str, int]:
    """Return why nothing is sent, in words, and how many events wait. Raises BrokerUnavailable.

    The reason may have gone since: then it is said to have been temporary.
    """
    with broker_errors():
        fields = ("held", "breaker", "opened_by", "backlog_events")
        found: Any = client.hmget(keys.state_key(integration_id), *fields)
    paused, breaker, cause, waiting = found
    if paused == b"1":
        reason = "paused or disabled"
    elif breaker == b"open":
        reason = f"circuit breaker open ({opened_by(cause).replace('_', ' ')})"
    else:
        reason = "it asked to be left alone for a moment"
    return reason, max(0, whole(waiting))


#: Of so many integrations the tenant is remembered; it never changes.
_MOST = 100_000
#: Stands for the tenant where Redis has no document, or none that can be read.
UNKNOWN = ""


class _Owned(msgspec.Struct):
    tenant_id: str = "default"


_decode_owned = msgspec.json.Decoder(_Owned).decode


class Tenants:
    """The tenants of integrations, each asked for once; shared by threads."""

    def __init__(self, client: "redis.Redis") -> None:
        """Use the client, which may be shared between threads."""
        self._client = client
        self._known: dict[str, str] = {}

    def of(self, integration_id: str) -> str:
        """Return the tenant of an integration, or UNKNOWN. Raises BrokerUnavailable."""
        known = self._known.get(integration_id)
        return self._ask(integration_id) if known is None else known

    def _ask(self, integration_id: str) -> str:
        document = standing_document(self._client, integration_id)
        try:
            found = _decode_owned(document or b"")
        except DAMAGED:
            return UNKNOWN
        if len(self._known) >= _MOST:
            self._known.clear()
        self._known[integration_id] = found.tenant_id
        return found.tenant_id
