"""How long work orders waited in Celery's queues until a thread took them, counted by all workers together.

An order says when it was issued, by the clock of Redis. One that is retried later, or comes back from a
worker that has ended, says nothing, and does not count. Nor does what a worker goes on with by itself.

The counts stand in `siem:counters` (`worker.broker.counters`): a field for each bucket, and one for the sum.
"""

import threading
from bisect import bisect_left
from collections import Counter
from typing import TYPE_CHECKING, Any

from worker.broker.clocks import redis_ms_by_own_clock
from worker.broker.counters import SharedCounters
from worker.integrations import destination_types
from worker.model.errors import BrokerUnavailable
from worker.model.histograms import WAIT_BUCKETS, Histogram, bounds_in_ms

if TYPE_CHECKING:
    from collections.abc import Callable

    import redis


#: How often the counts of a process are added to those in Redis, in seconds.
SHARE_EVERY = 2.0
_BOUNDS_MS = bounds_in_ms(WAIT_BUCKETS)
_BUCKETS = (*(f"within_{bound}_ms" for bound in _BOUNDS_MS), "slower")
_SUM = "sum_ms"


class OrderWaits:
    """The waits of orders in each queue; may be shared between threads."""

    def __init__(self) -> None:
        """Begin with none."""
        self._lock = threading.Lock()
        self._new: Counter[str] = Counter()
        names = [f"{kind}:{name}" for kind in destination_types() for name in (*_BUCKETS, _SUM)]
        self._counters = SharedCounters("order_wait", names)

    def note(self, kind: str, issued_ms: Any) -> None:
        """Count an order of this queue that a thread has taken now, if it says when it was issued."""
        if not isinstance(issued_ms, int):
            return
        waited_ms = max(0, redis_ms_by_own_clock() - issued_ms)
        with self._lock:
            self._new[f"{kind}:{_BUCKETS[bisect_left(_BOUNDS_MS, waited_ms)]}"] += 1
            self._new[f"{kind}:{_SUM}"] += waited_ms

    def flush(self, client: "redis.Redis") -> None:
        """Add what is new to the counts in Redis. Raises BrokerUnavailable."""
        with self._lock:
            new, self._new = self._new, Counter()
        for name, number in new.items():
            self._counters.add(name, number)
        self._counters.flush(client)

    def share(self, client: "Callable[[], redis.Redis]", stopping: threading.Event) -> None:
        """Add what is new to the counts in Redis every two seconds, and once more when stopped."""
        is_last = False
        while not is_last:
            is_last = stopping.wait(SHARE_EVERY)
            try:
                self.flush(client())
            except BrokerUnavailable:
                continue  # that Redis is away, others say; what is new is with the next

    def read(self, client: "redis.Redis") -> dict[str, Histogram]:
        """Return what all workers have counted since the beginning, by queue. Raises BrokerUnavailable."""
        found = self._counters.read(client)
        return {
            kind: Histogram(
                tuple(found[f"{kind}:{name}"] for name in _BUCKETS), found[f"{kind}:{_SUM}"] / 1000
            )
            for kind in destination_types()
        }


#: What this process counts and reads.
ORDER_WAITS = OrderWaits()
