"""Collects the metrics of the fleet, Redis, clocks and each integration for Prometheus.

Integrations are named by id, tenant and type, never by name or address. A source that does not answer has a
metric that says so, and only what comes from it is left out (`worker.api.metric_definitions`).
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from prometheus_client import Metric, generate_latest
from prometheus_client.registry import Collector

from worker import __version__
from worker.api import integration_metric_definitions as of_integrations
from worker.api import metric_definitions as metrics
from worker.api import process_metric_definitions as of_processes
from worker.api.ledger_metrics import HealthMetrics, Labels, LedgerMetrics
from worker.api.limits import REFUSED_REQUESTS
from worker.api.request_counts import RequestCounts
from worker.api.resources import Resources
from worker.background.health import HealthService
from worker.background.redis_monitor import RedisReport
from worker.broker.certificates import certificate_ends
from worker.broker.clocks import skews
from worker.broker.conflicts import conflicts, count_by_kind
from worker.broker.fleet import LivingProcess, living_processes
from worker.broker.health_events import HealthEvents
from worker.broker.heartbeat import ROLES, short_processes, threads_by_queue
from worker.broker.ingress import counters
from worker.broker.notices import PruningRefusals, recorder_stall
from worker.broker.order_queues import REFUSED_MESSAGES
from worker.broker.order_waits import ORDER_WAITS
from worker.broker.redis_server import redis_info
from worker.broker.redis_stats import RedisStats, leased_slots
from worker.integrations import destination_types
from worker.model.fleet_health import worker_role
from worker.model.health import Subject
from worker.model.redis_checks import CheckStatus, RedisCheck
from worker.model.redis_marks import Loss
from worker.model.sources import MissingSources, Source

#: Stands for the release where all who reach the API may read this.
_HIDDEN = "hidden"


def request_metrics(requests: RequestCounts) -> list[Metric]:
    """Return what this process has answered."""
    names = (of_processes.API_REQUESTS.label, *of_processes.API_REQUESTS.others)
    return [
        of_processes.API_REQUESTS.with_samples(
            (dict(zip(names, answer, strict=True)), count)
            for answer, count in sorted(requests.answers().items())
        ),
        of_processes.API_SECONDS.with_histograms(requests.times()),
    ]


def redis_config_metrics(checks: Sequence[RedisCheck]) -> list[Metric]:
    """Return for each check whether it passes, and whether Redis says enough to know."""
    return [
        metrics.REDIS_CONFIG_OK.of({one.name: int(one.standing is CheckStatus.OK) for one in checks}),
        metrics.REDIS_CONFIG_UNKNOWN.of(
            {one.name: int(one.standing is CheckStatus.UNKNOWN) for one in checks}
        ),
    ]


def redis_memory_metrics(info: Mapping[str, Any] | None) -> list[Metric]:
    """Return what Redis says of its memory in INFO; without samples where it does not say."""
    fields = info or {}
    return [
        metric.with_samples([({}, fields[name])] if name in fields else ())
        for metric, name in (
            (metrics.REDIS_MEMORY, "used_memory"),
            (metrics.REDIS_MEMORY_LIMIT, "maxmemory"),
            (metrics.REDIS_EVICTED, "evicted_keys"),
        )
    ]


def processes_needed(known: Collection[Subject]) -> dict[str, int]:
    """Return for each role whether events need it: of workers, those for what is enabled."""
    types = {one.type for one in known if one.enabled}
    workers = {worker_role(kind): int(kind in types) for kind in destination_types()}
    return dict.fromkeys(ROLES, 1) | workers


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

    def __init__(self, resources: Resources, requests: RequestCounts) -> None:
        """Ask what the doors share; `requests` are those of this process."""
        self._resources = resources
        self._requests = requests
        self._client = resources.client
        self._signs = RedisStats(resources.client)
        self._redis = RedisReport(resources.engine, resources.client, resources.config)
        self._health = HealthService(resources.engine, resources.client, resources.config)
        self._health_metrics = HealthMetrics(self._health)
        self._ledger = LedgerMetrics(resources.engine, resources.config)

    def scrape(self) -> bytes:
        """Return the text of one scrape."""
        return generate_latest(self)

    def collect(self) -> list[Metric]:
        """Return all metrics whose sources answer; each group whole, or not at all."""
        found, gaps = list[Metric](), MissingSources()
        known = self._health.known_subjects(gaps)
        labels = {one.id: {"integration": one.id, "tenant": one.tenant_id, "type": one.type} for one in known}
        groups: tuple[tuple[Source, Callable[[], list[Metric]]], ...] = (
            (Source.REDIS, lambda: self._fleet(known)),
            (Source.REDIS, lambda: redis_config_metrics(self._redis.checks())),
            (Source.REDIS, lambda: redis_memory_metrics(redis_info(self._client))),
            (Source.REDIS, self._conflicts),
            (Source.REDIS, self._clocks),
            (Source.DATABASE, lambda: redis_loss_metrics(self._redis.losses())),
            (Source.REDIS, self._counters),
            (Source.REDIS, lambda: self._backlogs(known, labels)),
            (Source.REDIS, lambda: self._slots(labels)),
            (Source.DATABASE, self._ledger.of_fleet),
            (Source.DATABASE, lambda: self._ledger.of_integrations(labels)),
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
            *self._ledger.limits(),
            *request_metrics(self._requests),
            *found,
        ]

    def _fleet(self, known: Sequence[Subject]) -> list[Metric]:
        signs, stall, living = (
            self._signs.of_fleet(),
            recorder_stall(self._client),
            living_processes(self._client),
        )
        threads, busy = threads_by_queue(living)
        short = Counter(resource.value for _, resource in short_processes(living))
        return [
            of_processes.PROCESSES_NEEDED.of(processes_needed(known)),
            of_processes.BUILD_INFO.of(dict.fromkeys(self._releases(living), 1)),
            metrics.INGRESS_ENTRIES.of(signs.to_route.entries),
            metrics.INGRESS_EVENTS.of(signs.to_route.held),
            metrics.INGRESS_OLDEST.of(signs.to_route.seconds(signs.now_ms)),
            metrics.RECORDER_ENTRIES.of(signs.to_record.entries),
            metrics.RECORDER_OLDEST.of(signs.to_record.seconds(signs.now_ms)),
            metrics.UNRECORDABLE.of(signs.unrecordable),
            of_processes.PROCESSES.of(signs.processes),
            of_processes.PROCESSES_SHORT.of(short),
            of_processes.QUEUE_ORDERS.of({kind: one.entries for kind, one in signs.queues.items()}),
            of_processes.QUEUE_OLDEST.of(
                {kind: one.seconds(signs.now_ms) for kind, one in signs.queues.items()}
            ),
            of_processes.NOT_CONSUMING.of(signs.not_consuming),
            of_processes.WORKER_THREADS.of(threads),
            of_processes.WORKER_THREADS_BUSY.of(busy),
            metrics.DATABASE_WRITABLE.of(int(stall is None)),
        ]

    def _counters(self) -> list[Metric]:
        return [
            *(metrics.EVENTS[name].of(count) for name, count in counters(self._client).items()),
            of_processes.MESSAGES_REFUSED.of(REFUSED_MESSAGES.read(self._client)),
            of_processes.ORDER_WAIT.with_histograms(ORDER_WAITS.read(self._client)),
            of_processes.API_REFUSED.of(REFUSED_REQUESTS.read(self._client)),
        ]

    def _releases(self, living: Collection[LivingProcess]) -> set[str]:
        if self._is_open:
            return {_HIDDEN}
        return {__version__, *(one.report.release for one in living if one.report and one.report.release)}

    def _slots(self, labels: Labels) -> list[Metric]:
        leased = leased_slots(self._client)
        ends = certificate_ends(self._client)
        return [
            of_integrations.CERTIFICATE_EXPIRY.with_samples(
                (own, ends[one]) for one, own in labels.items() if one in ends
            ),
            of_integrations.SLOTS.with_samples((own, leased[one]) for one, own in labels.items()),
        ]

    @property
    def _is_open(self) -> bool:
        return not self._resources.config.metrics_token.get_secret_value()

    def _clocks(self) -> list[Metric]:
        found, refused = skews(self._client), PruningRefusals(self._client).all()
        if self._is_open:
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
            of_integrations.BACKLOG.with_samples((own, one.backlog_events) for own, one in each),
            of_integrations.OLDEST.with_samples(
                (own, _waited(one.waiting_since_ms, now_ms)) for own, one in each
            ),
            of_integrations.BREAKER.with_samples((own, int(one.breaker is not None)) for own, one in each),
            of_integrations.STATE.with_samples(
                (own | {"state": state}, int(states.get(one) == state))
                for one, own in labels.items()
                for state in of_integrations.STATE.values
            ),
        ]


def _waited(since_ms: int | None, now_ms: int) -> float:
    return 0 if since_ms is None else max(0, now_ms - since_ms) / 1000
