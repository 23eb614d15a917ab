"""What a sending says of its destination, and what the circuit breaker makes of it. Pure.

An outage of an hour must not turn an hour of events into dead letters, and a wrong token none at all: while
the breaker is open nothing more is claimed, no attempt is spent, and one event, at growing intervals,
tries whether the destination is well again.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from worker.model.deliveries import Health, Ruling, Verdict
from worker.model.failures import FailureCode


@dataclass(frozen=True, slots=True)
class BreakerPolicy:
    """After how many failed sendings in a row it opens, and how far probes are apart, in seconds."""

    failures: int = 5
    first_probe: float = 15.0
    longest_probe: float = 300.0


def health_of(rulings: Iterable[Ruling]) -> Health:
    """Judge a sending by its rulings; the first failure decides, for those behind it have the same cause.

    A shortage of our own says nothing of the destination.
    """
    found = Health.UNKNOWN
    for ruling in rulings:
        if not ruling.places or ruling.is_shortage:
            continue
        if ruling.verdict is not Verdict.RETRY:
            if ruling.finding is None or ruling.finding.code != FailureCode.ENDPOINT_GONE:
                return Health.WELL
        elif found is Health.UNKNOWN:
            found = _of_failure(ruling)
    return found


def _of_failure(ruling: Ruling) -> Health:
    if ruling.finding is not None and ruling.finding.code.is_setting:
        return Health.MISCONFIGURED
    return Health.FAILED
