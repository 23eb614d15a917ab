"""The health of every integration and of the fleet, from what Redis and the ledger say.

Input: a question. Output: an answer in words that help. Nothing here writes.
"""

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from worker.background.redis_monitor import RedisReport
from worker.broker.clocks import skews
from worker.broker.conflicts import Conflict, conflicts, count_by_kind, sentences
from worker.broker.connection import Client
from worker.broker.fleet import living_processes
from worker.broker.heartbeat import short_processes
from worker.broker.notices import PruningRefusals, Stall, recorder_stall
from worker.broker.redis_stats import RedisStats, has_integrations, processes_at_work, standing_subjects
from worker.integrations import destination_types
from worker.ledger.dead_letters import invalid_since
from worker.ledger.engine import Ledger
from worker.ledger.health import latencies, records, subjects, types_in_use
from worker.ledger.migrations.revisions import words_of_tables
from worker.ledger.migrations.runner import require_readable_schema
from worker.ledger.parked import ParkedStore
from worker.ledger.parked import ParkedTotals as LedgerParked
from worker.model.clocks import clocks_part, retention_part
from worker.model.errors import (
    BrokerUnavailable,
    LedgerUnavailable,
    NotFoundError,
    OutageError,
    SchemaOutdated,
)
from worker.model.fleet_health import (
    FleetHealth,
    Part,
    invalid_part,
    open_part,
    parts,
    resources_parts,
    roles,
    worker_role,
)
from worker.model.health import (
    LATENCY_OF,
    BacklogStats,
    DeliveryStats,
    HealthInputs,
    IntegrationHealth,
    Latency,
    ParkedStats,
    Subject,
    Thresholds,
)
from worker.model.health_rules import integration_health
from worker.model.sources import MissingSources, Source
from worker.settings import Settings

_MINUTE_MS = 60_000


class HealthService:
    """Reads the health of integrations and of the fleet."""

    def __init__(self, engine: Ledger, client: Client, config: Settings) -> None:
        """Ask this ledger and this Redis, both of which may be shared between threads."""
        self._engine = engine
        self._client = client
        self._signs = RedisStats(client)
        self._redis = RedisReport(engine, client, config)
        self._parked = ParkedStore(engine)
        self._thresholds = thresholds_of(config)
        self._longest_lag = config.health_lag

    def of(self, integration_id: str) -> IntegrationHealth:
        """Return the health of one. Raises NotFoundError, BrokerUnavailable, LedgerUnavailable."""
        found = subjects(self._engine, integration_id=integration_id)
        if not found:
            raise NotFoundError(f"there is no integration {integration_id}")
        [health] = self._judged(found, LATENCY_OF)
        return health

    def all(self, tenant_id: str | None, *, with_latencies: bool = True) -> list[IntegrationHealth]:
        """Return the health of the integrations of a tenant, or of all, by tenant and name.

        Latencies cost most of the time, so that a caller that needs none leaves them out. Raises
        BrokerUnavailable, LedgerUnavailable.
        """
        sample = LATENCY_OF if with_latencies else 0
        return self._judged(subjects(self._engine, tenant_id=tenant_id), sample)

    def latencies(self, integration_ids: Sequence[str]) -> dict[str, Latency | None]:
        """Return the latencies of some, as `all` has them. Raises LedgerUnavailable."""
        return latencies(self._engine, integration_ids, sample=LATENCY_OF)

    def known_subjects(self, gaps: MissingSources, tenant_id: str | None = None) -> list[Subject]:
        """Return the integrations of a tenant, or all; while the database is away, as Redis has them."""
        found = gaps.ask(Source.DATABASE, lambda: subjects(self._engine, tenant_id=tenant_id))
        if found is not None:
            return found
        standing = gaps.ask(Source.REDIS, lambda: standing_subjects(self._client)) or []
        return [one for one in standing if tenant_id in {None, one.tenant_id}]

    def survey(
        self, asked: Sequence[Subject], gaps: MissingSources, *, with_latencies: bool = True
    ) -> list[IntegrationHealth]:
        """Return their health, as far as it is known; `gaps` takes what could not be asked."""
        ids, sample = [one.id for one in asked], LATENCY_OF if with_latencies else 0
        redis = gaps.ask(Source.REDIS, lambda: self._ask_redis(ids))
        ledger = gaps.ask(Source.DATABASE, lambda: self._ask_ledger(ids, redis or _RedisFacts(), sample))
        missing = frozenset(gaps.errors)
        return [
            integration_health(replace(facts, missing=missing), self._thresholds)
            for facts in _facts(asked, redis or _RedisFacts(), ledger or _Records())
        ]

    def fleet(self) -> FleetHealth:
        """Return the health of the fleet; what does not answer is a part that is not ok, never an error."""
        types, database = self._types_in_use()
        try:
            signs = self._signs.of_fleet()
            checks = self._redis.parts()
            known = _conflict_parts(conflicts(self._client))
            clocks = [
                *self._clock_parts(),
                *_invalid_parts(self._engine, signs.now_ms, self._thresholds.window),
            ]
            types = self._standing_types() if types is None else types
            database = _writable(database, recorder_stall(self._client))
        except BrokerUnavailable as error:
            unknown = [
                open_part(name, ok=False, words="not known without Redis")
                for name in roles(destination_types())
            ]
            return FleetHealth([_away("redis", error), database, *unknown])
        redis = Part("redis", ok=True, words="it answers", public="it answers")
        found = parts(signs, types, self._longest_lag)
        return FleetHealth([redis, *checks, database, *known, *found, *clocks])

    def _clock_parts(self) -> list[Part]:
        short = short_processes(living_processes(self._client))
        return [
            clocks_part(skews(self._client)),
            retention_part(list(PruningRefusals(self._client).all().values())),
            *resources_parts((f"{one.role} on {one.host}", resource) for one, resource in short),
        ]

    def _standing_types(self) -> set[str]:
        """Return the types in use as Redis has them; all, if Redis does not say."""
        if not has_integrations(self._client):
            return set(destination_types())
        return {one.type for one in standing_subjects(self._client) if one.enabled}

    def _types_in_use(self) -> tuple[set[str] | None, Part]:
        """Return the types of destinations in use, and the part of the database; None while it is away."""
        try:
            tables = require_readable_schema(self._engine)
            types = types_in_use(self._engine)
        except (LedgerUnavailable, SchemaOutdated) as error:
            return None, _away("database", error)
        words = f"it answers, and {words_of_tables(tables)}"
        return types, Part("database", ok=True, words=words, public="it answers")

    def _judged(self, asked: Sequence[Subject], sample: int) -> list[IntegrationHealth]:
        ids = [one.id for one in asked]
        signs = self._ask_redis(ids)
        known = self._ask_ledger(ids, signs, sample)
        return [integration_health(facts, self._thresholds) for facts in _facts(asked, signs, known)]

    def _ask_redis(self, ids: Sequence[str]) -> "_RedisFacts":
        # What the ledger holds by then is read after it, and so is all there.
        recorded_until_ms = self._signs.recorded_until_ms()
        backlog_stats = self._signs.of(ids)
        return _RedisFacts(
            self._signs.now_ms(), recorded_until_ms, backlog_stats, processes_at_work(self._client)
        )

    def _ask_ledger(self, ids: Sequence[str], signs: "_RedisFacts", sample: int) -> "_Records":
        if not ids:
            return _Records()
        parked = self._parked.counts()
        recent_ms = signs.now_ms - signs.now_ms % _MINUTE_MS - _MINUTE_MS
        found = records(self._engine, self._since(ids, signs), recent_ms=recent_ms, sample=sample)
        return _Records(found, parked)

    def _since(self, ids: Sequence[str], signs: "_RedisFacts") -> dict[str, int]:
        """Return from when on minutes count: the window, but nothing of an outage that is over."""
        window = signs.now_ms - round(self._thresholds.window * 1000) - _MINUTE_MS
        return {one: max(window, signs.of(one).closed_ms) for one in ids}


def _this_hosts_ms() -> int:
    return time.time_ns() // 1_000_000


@dataclass(frozen=True, slots=True)
class _RedisFacts:
    """What Redis says; by default, what is left without it, by the clock of this host."""

    now_ms: int = field(default_factory=_this_hosts_ms)
    recorded_until_ms: int = 0
    backlog_stats: Mapping[str, BacklogStats] = field(default_factory=dict)
    alive: Mapping[str, int] = field(default_factory=Counter)

    def of(self, integration_id: str) -> BacklogStats:
        return self.backlog_stats.get(integration_id, BacklogStats())


@dataclass(frozen=True, slots=True)
class _Records:
    """What the ledger says."""

    records: Mapping[str, DeliveryStats] = field(default_factory=dict)
    parked: Mapping[str, LedgerParked] = field(default_factory=dict)

    def parked_of(self, integration_id: str) -> ParkedStats:
        found = self.parked.get(integration_id)
        return ParkedStats(found.events, found.oldest_ms) if found else ParkedStats()


def _facts(asked: Sequence[Subject], signs: _RedisFacts, known: _Records) -> Iterator[HealthInputs]:
    for one in asked:
        yield HealthInputs(
            now_ms=signs.now_ms,
            subject=one,
            backlog_stats=signs.of(one.id),
            record=known.records.get(one.id, DeliveryStats()),
            parked=known.parked_of(one.id),
            recorded_until_ms=signs.recorded_until_ms,
            has_recorder=signs.alive.get("recorder", 0) > 0,
            has_worker=signs.alive.get(worker_role(one.type), 0) > 0,
        )


def thresholds_of(config: Settings) -> Thresholds:
    """Pick the thresholds; a batch may be under way for a lease, which is no silence."""
    return Thresholds(
        window=config.health_window,
        degraded_rate=config.health_degraded_rate,
        failing_rate=config.health_failing_rate,
        fewest_failures=config.health_fewest_failures,
        oldest=config.health_oldest,
        silence=max(config.health_silence, config.lease),
        idle=config.health_idle,
        lag=config.health_lag,
    )


def _writable(database: Part, stall: Stall | None) -> Part:
    """Return the part as it is, unless it is only by writing that the database fails."""
    if stall is None or not database.ok:
        return database
    words = f"it answers, but takes nothing from a recorder: {stall.words}"
    return Part(database.name, ok=False, words=words, public=stall.public)


def _away(name: str, error: OutageError) -> Part:
    return Part(name, ok=False, words=str(error), public=error.public)


def _conflict_parts(found: Mapping[str, Conflict]) -> list[Part]:
    """Return a part that is not ok while the ledger and Redis disagree on integrations, or nothing."""
    words = "; ".join(sentences(count_by_kind(found)))
    return [open_part("integrations", ok=False, words=words)] if words else []


def _invalid_parts(engine: Ledger, now_ms: int, seconds: float) -> list[Part]:
    """Return the part of the fleet that shows invalid events of the last seconds.

    Nothing while the database is away, which is a part of its own.
    """
    try:
        return [invalid_part(invalid_since(engine, now_ms - round(seconds * 1000)), seconds)]
    except (LedgerUnavailable, SchemaOutdated):
        return []
