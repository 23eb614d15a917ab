"""What a sending says of its destination, and what the circuit breaker makes of it. Pure.

An outage of an hour must not turn an hour of events into dead letters, and a wrong token none at all: while
the breaker is open nothing more is claimed, no attempt is spent, and one event, at growing intervals,
tries whether the destination has recovered.
"""

import random
from collections.abc import Iterable
from dataclasses import dataclass

from worker.model.deliveries import BreakerSignal, DeliveryResult, Verdict
from worker.model.failures import FailureCode


@dataclass(frozen=True, slots=True)
class BreakerPolicy:
    """After how many failed sendings in a row it opens, and how far probes are apart, in seconds."""

    failures: int = 5
    first_probe: float = 15.0
    longest_probe: float = 300.0


def breaker_signal(results: Iterable[DeliveryResult]) -> BreakerSignal:
    """Judge a sending by its results; the first failure decides, for those behind it have the same cause.

    A shortage of our own says nothing of the destination.
    """
    found = BreakerSignal.UNKNOWN
    for result in results:
        if not result.places or result.is_shortage:
            continue
        if result.verdict is not Verdict.RETRY:
            if result.failure is None or result.failure.code != FailureCode.ENDPOINT_GONE:
                return BreakerSignal.WELL
        elif found is BreakerSignal.UNKNOWN:
            found = _of_failure(result)
    return found


def _of_failure(result: DeliveryResult) -> BreakerSignal:
    if result.failure is not None and result.failure.code.is_setting:
        return BreakerSignal.MISCONFIGURED
    return BreakerSignal.FAILED


#: How far a delay may stray from what was calculated, as a share of it.
JITTER = 0.2


def spread() -> float:
    """Return a factor for a delay: 1, give or take JITTER."""
    return random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 - spreads load, guards nothing
