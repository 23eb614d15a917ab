"""Tells Prometheus the error rates and latencies of integrations: the figures of `siem health`."""

import time
from collections.abc import Mapping, Sequence

from worker.api import metric_definitions
from worker.api.exposition import Exposition
from worker.background.health import HealthService
from worker.model.health import IntegrationHealth, Latency

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
