"""Metrics that are read from the ledger: what was settled and replayed, what waits there, what is how old.

What costs more the larger the ledger is, is asked for again when that is due, so that scrapes never take more
than a small share of a process's time.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Generic, TypeVar

from prometheus_client import Metric

from worker.api import integration_metric_definitions as of_integrations
from worker.api import metric_definitions as metrics
from worker.background.health import HealthService
from worker.background.retention import kept_days_of
from worker.ledger.counts import failures_of, latencies_by_type, totals_of
from worker.ledger.dead_letters import waiting_by_integration
from worker.ledger.engine import Ledger
from worker.ledger.parked import ParkedStore
from worker.ledger.pruning import oldest_rows
from worker.ledger.redis_marks import MarkStore
from worker.ledger.replays import replay_counts
from worker.model.deliveries import Status
from worker.model.health import IntegrationHealth, ParkedStats
from worker.model.time import current_ms
from worker.settings import Settings

T = TypeVar("T")

#: What is expensive takes at most this share of a process's time.
_SHARE = 0.05
_QUANTILES = (("0.5", "p50"), ("0.95", "p95"), ("0.99", "p99"))
#: How a label calls what became of an attempt.
_STATUS_LABELS = {Status.RETRYING.value: "retried", Status.DEAD.value: "dead"}
_NO_CODE = "none"

#: The labels of each integration, by its id.
Labels = Mapping[str, dict[str, str]]


class Paced(Generic[T]):
    """The last answer of a function, which is asked again when that is due; for one thread at a time."""

    def __init__(self, find: Callable[[], T]) -> None:
        """Ask when first needed."""
        self._find = find
        self._found: T | None = None
        self._next = 0.0

    def get(self) -> T:
        """Return the answer. Raises what the function raises."""
        began = time.monotonic()
        if self._found is None or began >= self._next:
            self._found = self._find()
            ended = time.monotonic()
            self._next = ended + (ended - began) / _SHARE
        return self._found


class HealthMetrics:
    """The health of all integrations, computed again when that is due; one thread at a time."""

    def __init__(self, health: HealthService) -> None:
        """Compute when first asked."""
        self._health: Paced[Sequence[IntegrationHealth]] = Paced(lambda: health.all(None))

    def collect(self, labels: Labels) -> list[Metric]:
        """Return the metrics of these integrations. Raises BrokerUnavailable, LedgerUnavailable."""
        known = [
            (labels[one.integration_id], one) for one in self._health.get() if one.integration_id in labels
        ]
        return [
            of_integrations.ERRORS.with_samples(
                (own, one.error_rate) for own, one in known if one.error_rate is not None
            ),
            of_integrations.RETRIES.with_samples(
                (own, one.retry_rate) for own, one in known if one.retry_rate is not None
            ),
            of_integrations.LATENCIES.with_samples(
                (own | {"quantile": quantile}, getattr(one.latency, name) / 1000)
                for own, one in known
                if one.latency
                for quantile, name in _QUANTILES
            ),
        ]


class LedgerMetrics:
    """The figures of one ledger; one thread at a time. Every method raises LedgerUnavailable."""

    def __init__(self, engine: Ledger, config: Settings) -> None:
        """Ask this ledger; `config` says how long rows are kept."""
        self._engine = engine
        self._config = config
        self._marks = MarkStore(engine)
        self._waiting = Paced(lambda: waiting_by_integration(engine))
        self._oldest = Paced(lambda: oldest_rows(engine))
        self._replays = Paced(lambda: replay_counts(engine))
        self._latencies = Paced(lambda: latencies_by_type(engine))

    def limits(self) -> list[Metric]:
        """Return how long rows are kept; asks nothing."""
        kept = kept_days_of(self._config).items()
        return [metrics.RETENTION_LIMIT.of({metrics.what_of(one): days * 86_400 for one, days in kept})]

    def of_fleet(self) -> list[Metric]:
        """Return what describes the fleet as a whole."""
        (states, replayed), now_ms = self._replays.get(), current_ms()
        oldest = self._oldest.get().items()
        return [
            metrics.DELIVERY_LATENCY.with_histograms(self._latencies.get()),
            metrics.REDIS_EPOCHS.of(self._marks.changes()),
            metrics.RETENTION_OLDEST.of(
                {metrics.what_of(kind): _age(at_ms, now_ms) for kind, at_ms in oldest}
            ),
            metrics.REPLAYS.of(states),
            metrics.REPLAYED_EVENTS.of(replayed),
        ]

    def of_integrations(self, labels: Labels) -> list[Metric]:
        """Return what describes each of these integrations."""
        return [*self._parked(labels), *self._waiting_letters(labels), *self._totals(labels)]

    def _parked(self, labels: Labels) -> list[Metric]:
        parked, none = ParkedStore(self._engine).counts(), ParkedStats()
        return [
            of_integrations.PARKED.with_samples(
                (own, parked.get(one, none).events) for one, own in labels.items()
            )
        ]

    def _waiting_letters(self, labels: Labels) -> list[Metric]:
        waiting = self._waiting.get()
        return [
            of_integrations.DEAD_LETTERS.with_samples(
                (own, waiting.get(one, 0)) for one, own in labels.items()
            )
        ]

    def _totals(self, labels: Labels) -> list[Metric]:
        ids = list(labels)
        # The failures first: what is recorded between the two questions must not be more than all there is.
        failures, totals = failures_of(self._engine, ids), totals_of(self._engine, ids)
        return [
            *(
                metric.with_samples((own, getattr(totals[one], name)) for one, own in labels.items())
                for name, metric in of_integrations.TOTALS.items()
            ),
            of_integrations.ATTEMPTS.with_samples(
                (own | {"status": status, "code": code}, count)
                for one, own in labels.items()
                for (status, code), count in _attempts(totals[one].delivered, failures[one]).items()
            ),
        ]


def _attempts(delivered: int, failures: Mapping[tuple[str, str], int]) -> dict[tuple[str, str], int]:
    """Return attempts by status and code; each status is there from the beginning, with the code `none`."""
    found = dict.fromkeys(((status, _NO_CODE) for status in of_integrations.ATTEMPTS.values), 0)
    found["delivered", _NO_CODE] = delivered
    return found | {
        (_STATUS_LABELS.get(status, status), code or _NO_CODE): count
        for (status, code), count in failures.items()
    }


def _age(at_ms: int, now_ms: int) -> float:
    return max(0, now_ms - at_ms) / 1000 if at_ms else 0
