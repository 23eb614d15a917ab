"""How many times took how long, in buckets: what Prometheus makes quantiles and shares of. Pure.

A bucket counts what took no longer than its bound, and longer than the one before; the last one has no bound.
They are kept apart, so that one more changes one number, and added up when they are read.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import accumulate
from typing import Self

#: From publication to acceptance, in seconds.
LATENCY_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
#: What took longer than this bound is late: it breaks the objective.
LATE = 60.0
#: How long a work order waits, or a request of the API takes, in seconds.
WAIT_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


@dataclass(frozen=True, slots=True)
class Histogram:
    """The counts of the buckets, the one without a bound last; and how long all took together, in seconds."""

    counts: tuple[int, ...]
    seconds: float

    @classmethod
    def empty(cls, bounds: int) -> Self:
        """Return one of so many bounds in which nothing counts."""
        return cls((0,) * (bounds + 1), 0.0)

    @property
    def count(self) -> int:
        """How many there are in all."""
        return sum(self.counts)

    def cumulative(self) -> Iterable[int]:
        """Yield for each bucket how many took no longer than its bound."""
        return accumulate(self.counts)


def bounds_in_ms(buckets: Iterable[float]) -> tuple[int, ...]:
    """Return the bounds of buckets in milliseconds."""
    return tuple(round(one * 1000) for one in buckets)
