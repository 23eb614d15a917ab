"""Collects the metrics of the fleet, Redis, clocks and each integration for Prometheus.

Integrations are named by id, tenant and type, never by name or address. A source that does not answer has a
metric that says so, and only what comes from it is left out (`worker.api.metric_definitions`).
"""

import hashlib
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from prometheus_client import Metric, generate_latest
from prometheus_client.registry import Collector

from worker.api import metric_definitions as metrics
from worker.api.limits import REFUSED_REQUESTS
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
from worker.model.health import IntegrationHealth, ParkedStats, Subject
from worker.model.redis_checks import CheckStatus, RedisCheck
from worker.model.redis_marks import Loss
from worker.model.sources import MissingSources, Source

#: Health takes at most this share of a process's time: of a thousand integrations it takes seconds.
_SHARE = 0.05
_QUANTILES = (("0.5", "p50"), ("0.95", "p95"), ("0.99", "p99"))

#: The labels of each integration, by its id.
Labels = Mapping[str, dict[str, str]]


class HealthMetrics:
    """The health of all integrations, computed again when that is due; one thread at a time."""

    def __init__(self, health: HealthService) -> None:
        """Compute when first asked."""
        self._health = health
        self._found: Sequence[IntegrationHealth] = ()
        self._next = 0.0

    def collect(self, labels: Labels) -> list[Metric]:
        """Return the metrics of these integrations. Raises BrokerUnavailable, LedgerUnavailable."""
        known = [(labels[one.integration_id], one) for one in self._fresh() if one.integration_id in labels]
        return [
            metrics.ERRORS.with_samples(
                (own, one.error_rate) for own, one in known if one.error_rate is not None
            ),
            metrics.RETRIES.with_samples(
                (own, one.retry_rate) for own, one in known if one.retry_rate is not None
            ),
            metrics.LATENCIES.with_samples(
                (own | {"quantile": quantile}, getattr(one.latency, name) / 1000)
                for own, one in known
                if one.latency
                for quantile, name in _QUANTILES
            ),
        ]

    def _fresh(self) -> Sequence[IntegrationHealth]:
        began = time.monotonic()
        if began >= self._next:
            self._found = self._health.all(None)
            ended = time.monotonic()
            self._next = ended + (ended - began) / _SHARE
        return self._found


def redis_config_metrics(checks: Sequence[RedisCheck]) -> list[Metric]:
    """Return for each check whether it passes, and whether Redis says enough to know."""
    return [
        metrics.REDIS_CONFIG_OK.of({one.name: int(one.standing is CheckStatus.OK) for one in checks}),
        metrics.REDIS_CONFIG_UNKNOWN.of(
            {one.name: int(one.standing is CheckStatus.UNKNOWN) for one in checks}
        ),
    ]


def redis_loss_metrics(losses: Sequence[Loss]) -> list[Metric]:
    """Return what the losses amount to that are not acknowledged."""
    return [
        metrics.REDIS_LOSSES.of(len(losses)),
        metrics.REDIS_LOST_EVENTS.of(sum(one.events for one in losses)),
    ]


def anonymous(process: str) -> str:
    """Return the role of a process and a digest of its host and number."""
    role, _, name = process.partition(":")
    return f"{role}:{hashlib.sha256(name.encode()).hexdigest()[:8]}"


class MetricsCollector(Collector):
    """The metrics of the fleet, as one process finds them; one thread at a time asks for them."""

    def __init__(self, resources: Resources) -> None:
        """Ask what the doors share."""
        self._resources = resources
        self._client = resources.client
        self._signs = RedisStats(resources.client)
        self._redis = RedisReport(resources.engine, resources.client, resources.config)
        self._health = HealthService(resources.engine, resources.client, resources.config)
        self._health_metrics = HealthMetrics(self._health)

    def scrape(self) -> bytes:
        """Return the text of one scrape."""
        return generate_latest(self)

    def collect(self) -> list[Metric]:
        """Return all metrics whose sources answer; each group whole, or not at all."""
        found, gaps = list[Metric](), MissingSources()
        known = self._health.known_subjects(gaps)
        labels = {one.id: {"integration": one.id, "tenant": one.tenant_id, "type": one.type} for one in known}
        groups: tuple[tuple[Source, Callable[[], list[Metric]]], ...] = (
            (Source.REDIS, self._fleet),
            (Source.REDIS, lambda: redis_config_metrics(self._redis.checks())),
            (Source.REDIS, self._conflicts),
            (Source.REDIS, self._clocks),
            (Source.DATABASE, lambda: redis_loss_metrics(self._redis.losses())),
            (Source.REDIS, self._counters),
            (Source.REDIS, lambda: self._backlogs(known, labels)),
            (Source.DATABASE, lambda: self._parked(labels)),
            (Source.DATABASE, lambda: self._totals(labels)),
            # Remembered for longer than it takes to lose one of its sources.
            (
                Source.DATABASE,
                lambda: gaps.ask(Source.REDIS, lambda: self._health_metrics.collect(labels)) or [],
            ),
        )
        for source, collect in groups:
            found += gaps.ask(source, collect) or ()
        for error in gaps.errors.values():
            self._resources.outages.note(error)
        return [
            metrics.REDIS_UP.of(int(Source.REDIS not in gaps.errors)),
            metrics.DATABASE_UP.of(int(Source.DATABASE not in gaps.errors)),
            *found,
        ]

    def _fleet(self) -> list[Metric]:
        signs, stall = self._signs.of_fleet(), recorder_stall(self._client)
        short = Counter(resource.value for _, resource in short_processes(living_processes(self._client)))
        return [
            metrics.INGRESS_ENTRIES.of(signs.to_route.entries),
            metrics.INGRESS_OLDEST.of(signs.to_route.seconds(signs.now_ms)),
            metrics.RECORDER_ENTRIES.of(signs.to_record.entries),
            metrics.RECORDER_OLDEST.of(signs.to_record.seconds(signs.now_ms)),
            metrics.UNRECORDABLE.of(signs.unrecordable),
            metrics.PROCESSES.of(signs.processes),
            metrics.PROCESSES_SHORT.of(short),
            metrics.QUEUE_ORDERS.of({kind: one.entries for kind, one in signs.queues.items()}),
            metrics.QUEUE_OLDEST.of({kind: one.seconds(signs.now_ms) for kind, one in signs.queues.items()}),
            metrics.NOT_CONSUMING.of(signs.not_consuming),
            metrics.DATABASE_WRITABLE.of(int(stall is None)),
        ]

    def _counters(self) -> list[Metric]:
        return [
            *(metrics.EVENTS[name].of(count) for name, count in counters(self._client).items()),
            metrics.MESSAGES_REFUSED.of(REFUSED_MESSAGES.read(self._client)),
            metrics.API_REFUSED.of(REFUSED_REQUESTS.read(self._client)),
        ]

    def _clocks(self) -> list[Metric]:
        found, refused = skews(self._client), PruningRefusals(self._client).all()
        if not self._resources.config.metrics_token.get_secret_value():
            # Every client of the API may read this: it must not learn the names of hosts.
            found = {anonymous(name): skew for name, skew in found.items()}
        return [metrics.CLOCK_SKEW.of(found), metrics.RETENTION_REFUSED.of(int(bool(refused)))]

    def _conflicts(self) -> list[Metric]:
        counts = count_by_kind(conflicts(self._client))
        return [metrics.CONFLICTS.of({kind.value: count for kind, count in counts.items()})]

    def _backlogs(self, known: Sequence[Subject], labels: Labels) -> list[Metric]:
        stats, now_ms = self._signs.of([one.id for one in known]), self._signs.now_ms()
        each = [(own, stats[one]) for one, own in labels.items()]
        states = {one: change.state.value for one, change in HealthEvents(self._client).known().items()}
        return [
            metrics.BACKLOG.with_samples((own, one.backlog_events) for own, one in each),
            metrics.OLDEST.with_samples((own, _waited(one.waiting_since_ms, now_ms)) for own, one in each),
            metrics.BREAKER.with_samples((own, int(one.breaker is not None)) for own, one in each),
            metrics.STATE.with_samples(
                (own | {"state": state}, int(states.get(one) == state))
                for one, own in labels.items()
                for state in metrics.STATE.values
            ),
        ]

    def _parked(self, labels: Labels) -> list[Metric]:
        parked, none = ParkedStore(self._resources.engine).counts(), ParkedStats()
        return [
            metrics.PARKED.with_samples((own, parked.get(one, none).events) for one, own in labels.items())
        ]

    def _totals(self, labels: Labels) -> list[Metric]:
        totals = totals_of(self._resources.engine, list(labels))
        return [
            metric.with_samples((own, getattr(totals[one], name)) for one, own in labels.items())
            for name, metric in metrics.TOTALS.items()
        ]


def _waited(since_ms: int | None, now_ms: int) -> float:
    return 0 if since_ms is None else max(0, now_ms - since_ms) / 1000
