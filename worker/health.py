"""How every integration fares, and the fleet itself: asked of Redis and the ledger, and judged.

Comes in: a question. Goes out: an answer in words that help. Nothing here writes.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from worker.broker.alive import worker_role
from worker.broker.clocks import Refusals, skews
from worker.broker.conflicts import Conflict, conflicts, sentences, told_by_kind
from worker.broker.vital_signs import FleetSigns, VitalSigns, Waiting, processes_alive
from worker.ledger.engine import require_readable_schema
from worker.ledger.health_queries import records, subjects
from worker.ledger.parked import ParkedStore
from worker.ledger.revisions import words_of_tables
from worker.model.clocks import clocks_part, retention_part
from worker.model.destinations import DESTINATION_TYPES
from worker.model.errors import (
    BrokerUnavailable,
    LedgerUnavailable,
    NotFoundError,
    OutageError,
    SchemaOutdated,
)
from worker.model.judgement import health_of, span
from worker.model.wellbeing import (
    Facts,
    FleetHealth,
    IntegrationHealth,
    Parked,
    Part,
    Record,
    Subject,
    Thresholds,
    Vitals,
)
from worker.redis_report import RedisReport
from worker.settings import Settings

#: Latencies are of so many settlements, the latest: of one integration, and of each when all are asked for.
OF_ONE, OF_EACH = 2000, 100

_MINUTE_MS = 60_000


class Health:
    """Answers how integrations and the fleet fare."""

    def __init__(self, engine: Any, client: Any, config: Settings) -> None:
        """Ask this ledger and this Redis, both of which may be shared between threads."""
        self._engine = engine
        self._client = client
        self._signs = VitalSigns(client)
        self._redis = RedisReport(engine, client, config)
        self._parked = ParkedStore(engine)
        self._thresholds = thresholds_of(config)
        self._longest_lag = config.health_lag

    def of(self, integration_id: str) -> IntegrationHealth:
        """Say how one integration fares. Raises NotFoundError, BrokerUnavailable, LedgerUnavailable."""
        found = subjects(self._engine, integration_id=integration_id)
        if not found:
            raise NotFoundError(f"there is no integration {integration_id}")
        [health] = self._judged(found, OF_ONE)
        return health

    def all(self, tenant_id: str | None, *, sample: int = OF_EACH) -> list[IntegrationHealth]:
        """Say how the integrations of a tenant fare, or all there are, by tenant and name.

        Takes latencies from `sample` settlements of each. Raises BrokerUnavailable, LedgerUnavailable.
        """
        return self._judged(subjects(self._engine, tenant_id=tenant_id), sample)

    def fleet(self) -> FleetHealth:
        """Say how the fleet itself fares; what does not answer is a part that is not well, never an error."""
        types, database = self._types_in_use()
        try:
            signs = self._signs.of_fleet()
            told = self._redis.parts()
            known = _conflict_parts(conflicts(self._client))
            clocks = self._clock_parts()
        except BrokerUnavailable as error:
            unknown = [Part(name, ok=False, words="not known without Redis") for name in _roles()]
            return FleetHealth([_away("redis", error), database, *unknown])
        redis = Part("redis", ok=True, words="it answers", public="it answers")
        parts = _parts(signs, types, self._longest_lag)
        return FleetHealth([redis, *told, database, *known, *parts, *clocks])

    def _clock_parts(self) -> list[Part]:
        return [clocks_part(skews(self._client)), retention_part(list(Refusals(self._client).all().values()))]

    def _types_in_use(self) -> tuple[set[str], Part]:
        try:
            tables = require_readable_schema(self._engine)
            types = {one.type for one in subjects(self._engine) if one.enabled}
        except (LedgerUnavailable, SchemaOutdated) as error:
            return set(DESTINATION_TYPES), _away("database", error)
        words = f"it answers, and {words_of_tables(tables)}"
        return types, Part("database", ok=True, words=words, public="it answers")

    def _judged(self, asked: Sequence[Subject], sample: int) -> list[IntegrationHealth]:
        return [health_of(facts, self._thresholds) for facts in self._facts(asked, sample)]

    def _facts(self, asked: Sequence[Subject], sample: int) -> Iterator[Facts]:
        # What the ledger holds by then is read after it, and so is all there.
        recorded_until_ms = self._signs.recorded_until_ms()
        vitals = self._signs.of([one.id for one in asked])
        now_ms = self._signs.now_ms()
        alive = processes_alive(self._client)
        parked = self._parked.counts() if asked else {}
        known = records(self._engine, self._since(vitals, now_ms), sample=sample)
        for one in asked:
            resting = parked.get(one.id)
            yield Facts(
                now_ms=now_ms,
                subject=one,
                vitals=vitals[one.id],
                record=known.get(one.id, Record()),
                parked=Parked(resting.events, resting.oldest_ms) if resting else Parked(),
                recorded_until_ms=recorded_until_ms,
                has_worker=alive[worker_role(one.type)] > 0,
            )

    def _since(self, vitals: dict[str, Vitals], now_ms: int) -> dict[str, int]:
        """Say from when on minutes count: the window, but nothing of an outage that is over."""
        window = now_ms - round(self._thresholds.window * 1000) - _MINUTE_MS
        return {one: max(window, found.closed_ms) for one, found in vitals.items()}


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
    )


def _roles() -> list[str]:
    return ["router", "recorder", *map(worker_role, DESTINATION_TYPES)]


def _parts(signs: FleetSigns, types: set[str], longest_lag: float) -> Iterator[Part]:
    def queue(role: str, words: str, waiting: Waiting) -> Part:
        alive, waited = signs.processes[role], waiting.seconds(signs.now_ms)
        since = f", the oldest for {span(waited * 1000)}" if waiting.entries else ""
        return _open_part(role, alive > 0 and waited < longest_lag, f"{_running(alive)}; {words} wait{since}")

    yield queue("router", f"{signs.to_route.entries} events to be routed", signs.to_route)
    recorder = queue("recorder", f"{signs.to_record.entries} batches to be recorded", signs.to_record)
    yield _with_set_aside(recorder, signs.unrecordable)
    for kind in DESTINATION_TYPES:
        alive, orders = signs.processes[worker_role(kind)], signs.queues[kind]
        needed = "" if kind in types else "; no integration needs one"
        words = f"{_running(alive)}; {orders} work orders wait in its queue{needed}"
        yield _open_part(worker_role(kind), alive > 0 or kind not in types, words)


def _open_part(name: str, ok: bool, words: str) -> Part:  # noqa: FBT001 - as in Part
    """Return a part whose words anybody may read."""
    return Part(name, ok=ok, words=words, public=words)


def _away(name: str, error: OutageError) -> Part:
    return Part(name, ok=False, words=str(error), public=error.public)


def _conflict_parts(found: Mapping[str, Conflict]) -> list[Part]:
    """Return a part that is not well while the ledger and Redis disagree on integrations, or nothing."""
    words = "; ".join(sentences(told_by_kind(found)))
    return [_open_part("integrations", ok=False, words=words)] if words else []


def _with_set_aside(recorder: Part, unrecordable: int) -> Part:
    """Return the part as it is while nothing is set aside; else it is not well, and says so."""
    if not unrecordable:
        return recorder
    words = f"{recorder.words}; {unrecordable} could not be recorded: see `siem unrecordable list`"
    return _open_part(recorder.name, ok=False, words=words)


def _running(alive: int) -> str:
    return f"{alive} running" if alive else "none runs"
