"""Rulings that are alike and came about the same time, gathered into one.

A record for each would cost more than the request that it is about.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from worker.model.deliveries import DeliveryResult, Failure, Verdict

#: How far apart the first and the last of one ruling may be: so many milliseconds, and a share of their age.
_CLOSE_MS = 5
_CLOSE_SHARE = 0.2


@dataclass(slots=True)
class _Group:
    first_ms: int
    last_ms: int
    places: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class ResultKey:
    """What rulings have in common; see `worker.model.deliveries.DeliveryResult`."""

    verdict: Verdict
    failure: Failure | None = None
    retry_after: float | None = None
    http_status: int | None = None
    not_accepted: bool | None = None


class ResultCollector:
    """Gathers the rulings of one sending."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._open: dict[ResultKey, _Group] = {}
        self._rulings: list[DeliveryResult] = []

    def add(self, places: Sequence[int], reason: ResultKey, elapsed_ms: int) -> None:
        """Rule on these places; `elapsed_ms` never goes back."""
        group = self._open.get(reason)
        if group is None or elapsed_ms > group.first_ms * (1 + _CLOSE_SHARE) + _CLOSE_MS:
            if group is not None:
                self._close(reason, group)
            group = self._open[reason] = _Group(elapsed_ms, elapsed_ms)
        group.places.extend(places)
        group.last_ms = elapsed_ms

    def results(self) -> list[DeliveryResult]:
        """Return them all; the time of each is the middle of its own."""
        for reason, group in self._open.items():
            self._close(reason, group)
        self._open.clear()
        return self._rulings

    def _close(self, reason: ResultKey, group: _Group) -> None:
        middle = (group.first_ms + group.last_ms) // 2
        self._rulings.append(
            DeliveryResult(
                group.places,
                reason.verdict,
                middle,
                failure=reason.failure,
                retry_after=reason.retry_after,
                http_status=reason.http_status,
                not_accepted=reason.not_accepted,
            )
        )
