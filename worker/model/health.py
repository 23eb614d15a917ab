"""What a sending says of its destination, and what the circuit breaker makes of it. Pure.

An outage of an hour must not turn an hour of events into dead letters, and a wrong token none at all: while
the breaker is open nothing is claimed, no attempt is spent, and one batch at a time, at growing intervals,
tries whether the destination is well again.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from worker.model.deliveries import GONE, Health, Ruling, Verdict

#: Findings that no waiting mends: a setting of the integration, or of its SIEM, is wrong.
MISCONFIGURATIONS = frozenset(
    {
        *("configuration", "name_unknown", "address_refused", "tls_failed", "redirected", "refused"),
        *("token_disabled", "token_missing", "token_invalid", "query_token", "index_incorrect"),
        *("auth_refused", "url_refused"),
        *("channel_missing", "channel_invalid", "ack_disabled", "ack_missing", "not_splunk", "no_data"),
    }
)


@dataclass(frozen=True, slots=True)
class BreakerPolicy:
    """After how many failed sendings in a row it opens, and how far probes are apart, in seconds."""

    failures: int = 5
    first_probe: float = 15.0
    longest_probe: float = 300.0


def health_of(rulings: Iterable[Ruling]) -> Health:
    """Judge a sending by its rulings; the first failure decides, for those behind it have the same cause."""
    found = Health.UNKNOWN
    for ruling in rulings:
        if not ruling.places:
            continue
        if ruling.verdict is not Verdict.RETRY:
            if ruling.finding is None or ruling.finding.code != GONE:
                return Health.WELL
        elif found is Health.UNKNOWN:
            found = _of_failure(ruling)
    return found


def _of_failure(ruling: Ruling) -> Health:
    if ruling.finding is not None and ruling.finding.code in MISCONFIGURATIONS:
        return Health.MISCONFIGURED
    return Health.FAILED
