"""Collects the figures of `/metrics`: of the fleet, Redis, clocks and each integration.

Comes in: Redis and the ledger. Goes out: text. Integrations are told by id, tenant and type, never by name
or address. What does not answer is told as such, and only the figures that come from it are left out
(`worker.api.metric_definitions` says which those are).
"""

import hashlib
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from worker.api import metric_definitions
from worker.api.limits import REFUSED_REQUESTS
from worker.api.metric_definitions import Exposition, labels
from worker.api.resources import Resources
from worker.background.health import HealthService
from worker.background.redis_monitor import RedisReport
from worker.broker.clocks import skews
from worker.broker.conflicts import conflicts, count_by_kind
from worker.broker.fleet import living_processes
from worker.broker.health_events import HealthEvents
from worker.broker.heartbeat import short_processes
from worker.broker.ingress import counters
from worker.broker.notices import PruningRefusals, recorder_stall
from worker.broker.order_queues import REFUSED_MESSAGES
from worker.broker.redis_stats import RedisStats
from worker.ledger.counts import totals_of
from worker.ledger.parked import ParkedStore
from worker.model.health import IntegrationHealth, Latency, Subject
from worker.model.redis_checks import CheckStatus, RedisCheck
from worker.model.redis_marks import Loss
from worker.model.sources import MissingSources, Source

#: Reckoning takes at most this share of a process's time: with a thousand integrations it takes seconds.
_SHARE = 0.05
_QUANTILES = (("0.5", "p50"), ("0.95", "p95"), ("0.99", "p99"))


class HealthFigures:
    """How all integrations fare, reckoned anew when that is due; one thread at a time."""

    def __init__(self, health: HealthService) -> None:
        """Reckon when first asked."""
        self._health = health
        self._found: Sequence[IntegrationHealth] = ()
        self._next = 0.0

    def tell(self, told: Exposition, marks: Mapping[str, str]) -> None:
        """Tell the figures of these integrations, each with its labels.

        Raises BrokerUnavailable, LedgerUnavailable.
        """
        found = [(marks[one.integration_id], one) for one in self._fresh() if one.integration_id in marks]
        metric_definitions.ERRORS.render_samples(
            told, [(mark, one.error_rate) for mark, one in found if one.error_rate is not None]
        )
        metric_definitions.RETRIES.render_samples(
            told, [(mark, one.retry_rate) for mark, one in found if one.retry_rate is not None]
        )
        metric_definitions.LATENCIES.render_samples(
            told, [sample for mark, one in found if one.latency for sample in _quantiles(mark, one.latency)]
        )

    def _fresh(self) -> Sequence[IntegrationHealth]:
        began = time.monotonic()
        if began >= self._next:
            self._found = self._health.all(None)
            ended = time.monotonic()
            self._next = ended + (ended - began) / _SHARE
        return self._found


def _quantiles(mark: str, latency: Latency) -> list[tuple[str, float]]:
    return [
        (f'{mark[:-1]},quantile="{quantile}"}}', getattr(latency, name) / 1000)
        for quantile, name in _QUANTILES
    ]


def redis_config_samples(told: Exposition, checks: Sequence[RedisCheck]) -> None:
    """Tell of each check whether it is well, and whether Redis told enough to know."""
    metric_definitions.REDIS_CONFIG_OK.tell(
        told, {one.name: int(one.standing is CheckStatus.OK) for one in checks}
    )
    metric_definitions.REDIS_CONFIG_UNKNOWN.tell(
        told, {one.name: int(one.standing is CheckStatus.UNKNOWN) for one in checks}
    )


def redis_loss_samples(told: Exposition, losses: Sequence[Loss]) -> None:
    """Tell of the losses that nobody has acknowledged."""
    metric_definitions.REDIS_LOSSES.tell(told, len(losses))
    metric_definitions.REDIS_LOST_EVENTS.tell(told, sum(one.events for one in losses))


def anonymous(process: str) -> str:
    """Return the role of a process and a mark that tells it from others, in place of its host and number."""
    role, _, name = process.partition(":")
    return f"{role}:{hashlib.sha256(name.encode()).hexdigest()[:8]}"


class Metrics:
    """The figures of one process; one thread at a time asks for them."""

    def __init__(self, resources: Resources) -> None:
        """Ask what the doors share."""
        self._resources = resources
        self._client = resources.client
        self._signs = RedisStats(resources.client)
        self._redis = RedisReport(resources.engine, resources.client, resources.config)
        self._health = HealthService(resources.engine, resources.client, resources.config)
        self._health_figures = HealthFigures(self._health)

    def scrape(self) -> str:
        """Return the figures: asked one after another, each told only once it has all of its answers."""
        told, gaps = Exposition(), MissingSources()
        known = self._health.known_subjects(gaps)
        marks = {one.id: labels(integration=one.id, tenant=one.tenant_id, type=one.type) for one in known}
        steps: tuple[tuple[Source, Callable[[], None]], ...] = (
            (Source.REDIS, lambda: self._tell_fleet(told)),
            (Source.REDIS, lambda: redis_config_samples(told, self._redis.checks())),
            (Source.REDIS, lambda: self._tell_conflicts(told)),
            (Source.REDIS, lambda: self._tell_clocks(told)),
            (Source.DATABASE, lambda: redis_loss_samples(told, self._redis.losses())),
            (Source.REDIS, lambda: self._tell_counters(told)),
            (Source.REDIS, lambda: self._add_backlog_figures(told, known, marks)),
            (Source.DATABASE, lambda: self._tell_parked(told, marks)),
            (Source.DATABASE, lambda: self._tell_totals(told, marks)),
            (Source.DATABASE, lambda: self._tell_health(told, marks, gaps)),
        )
        for source, step in steps:
            gaps.ask(source, step)
        metric_definitions.REDIS_UP.tell(told, int(Source.REDIS not in gaps.errors))
        metric_definitions.DATABASE_UP.tell(told, int(Source.DATABASE not in gaps.errors))
        for error in gaps.errors.values():
            self._resources.outages.note(error)
        return told.text()

    def _tell_fleet(self, told: Exposition) -> None:
        signs, stall = self._signs.of_fleet(), recorder_stall(self._client)
        metric_definitions.INGRESS_ENTRIES.tell(told, signs.to_route.entries)
        metric_definitions.INGRESS_OLDEST.tell(told, signs.to_route.seconds(signs.now_ms))
        metric_definitions.RECORDER_ENTRIES.tell(told, signs.to_record.entries)
        metric_definitions.RECORDER_OLDEST.tell(told, signs.to_record.seconds(signs.now_ms))
        metric_definitions.UNRECORDABLE.tell(told, signs.unrecordable)
        metric_definitions.PROCESSES.tell(told, signs.processes)
        metric_definitions.PROCESSES_SHORT.tell(
            told, Counter(resource for _, resource in short_processes(living_processes(self._client)))
        )
        metric_definitions.QUEUE_ORDERS.tell(told, {kind: one.entries for kind, one in signs.queues.items()})
        waited = {kind: one.seconds(signs.now_ms) for kind, one in signs.queues.items()}
        metric_definitions.QUEUE_OLDEST.tell(told, waited)
        metric_definitions.NOT_CONSUMING.tell(told, signs.not_consuming)
        metric_definitions.DATABASE_WRITABLE.tell(told, int(stall is None))

    def _tell_counters(self, told: Exposition) -> None:
        for name, count in counters(self._client).items():
            metric_definitions.EVENTS[name].tell(told, count)
        metric_definitions.MESSAGES_REFUSED.tell(told, REFUSED_MESSAGES.read(self._client))
        metric_definitions.API_REFUSED.tell(told, REFUSED_REQUESTS.read(self._client))

    def _tell_clocks(self, told: Exposition) -> None:
        found, refused = skews(self._client), PruningRefusals(self._client).all()
        if not self._resources.config.metrics_token.get_secret_value():
            # Whoever reaches the API may read this: names of hosts are nobody's business.
            found = {anonymous(name): skew for name, skew in found.items()}
        metric_definitions.CLOCK_SKEW.tell(told, found)
        metric_definitions.RETENTION_REFUSED.tell(told, int(bool(refused)))

    def _tell_conflicts(self, told: Exposition) -> None:
        counts = count_by_kind(conflicts(self._client))
        metric_definitions.CONFLICTS.tell(told, {kind.value: count for kind, count in counts.items()})

    def _add_backlog_figures(
        self, told: Exposition, known: Sequence[Subject], marks: Mapping[str, str]
    ) -> None:
        backlog_stats = self._signs.of([one.id for one in known])
        now_ms = self._signs.now_ms()
        changes = HealthEvents(self._client).known()
        each = {one: (mark, backlog_stats[one]) for one, mark in marks.items()}
        metric_definitions.BACKLOG.render_samples(
            told, [(mark, found.backlog_events) for mark, found in each.values()]
        )
        metric_definitions.OLDEST.render_samples(
            told, [(mark, _waited(found.waiting_since_ms, now_ms)) for mark, found in each.values()]
        )
        metric_definitions.BREAKER.render_samples(
            told, [(mark, int(found.breaker is not None)) for mark, found in each.values()]
        )
        states = {one: change.state.value for one, change in changes.items()}
        metric_definitions.STATE.render_samples(
            told,
            [
                (f'{mark[:-1]},state="{state}"}}', int(states.get(one) == state))
                for one, mark in marks.items()
                for state in metric_definitions.STATE.values
            ],
        )

    def _tell_parked(self, told: Exposition, marks: Mapping[str, str]) -> None:
        parked = ParkedStore(self._resources.engine).counts()
        samples = [(mark, parked[one].events if one in parked else 0) for one, mark in marks.items()]
        metric_definitions.PARKED.render_samples(told, samples)

    def _tell_totals(self, told: Exposition, marks: Mapping[str, str]) -> None:
        totals = totals_of(self._resources.engine, list(marks))
        for name, figure in metric_definitions.TOTALS.items():
            figure.render_samples(told, [(mark, getattr(totals[one], name)) for one, mark in marks.items()])

    def _tell_health(self, told: Exposition, marks: Mapping[str, str], gaps: MissingSources) -> None:
        # They are remembered for longer than it takes to lose one of their sources.
        gaps.ask(Source.REDIS, lambda: self._health_figures.tell(told, marks))


def _waited(since_ms: int | None, now_ms: int) -> float:
    return 0 if since_ms is None else max(0, now_ms - since_ms) / 1000
