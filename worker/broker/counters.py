"""Counters that all processes of a kind share, as fields `<kind>:<name>` of `siem:counters`.

A process counts in memory and adds what is new to Redis from time to time, so that each reads the sum of all.
While Redis is away nothing is lost; what a killed process had not added yet is. Other releases skip fields
that they do not know.
"""

import threading
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from worker.broker import keys
from worker.broker.connection import broker_errors
from worker.broker.oom import ask_when_full
from worker.broker.packing import damaged_counts, whole

if TYPE_CHECKING:
    import redis


class SharedCounters:
    """Counters of one kind; may be shared between threads."""

    def __init__(self, kind: str, names: Iterable[str]) -> None:
        """Name the counters."""
        self._fields = {name: f"{kind}:{name}" for name in names}
        self._lock, self._flushing = threading.Lock(), threading.Lock()
        self._new: Counter[str] = Counter()

    def add(self, name: str, number: int = 1) -> None:
        """Count one more, or so many, without asking Redis."""
        with self._lock:
            self._new[name] += number

    def flush(self, client: "redis.Redis") -> None:
        """Add what is new to the counts in Redis, full or not. Raises BrokerUnavailable, RedisError."""
        with self._flushing:
            with self._lock:
                found = +self._new
            for name, number in found.items():
                command = ("HINCRBY", keys.COUNTERS, self._fields[name], number)
                with broker_errors(), damaged_counts(client, [command]):
                    ask_when_full(client, *command)
                with self._lock:
                    self._new[name] -= number

    def read(self, client: "redis.Redis") -> dict[str, int]:
        """Return the counts of all processes since the beginning, by name. Raises BrokerUnavailable."""
        with broker_errors():
            found: Any = client.hmget(keys.COUNTERS, list(self._fields.values()))
        return dict(zip(self._fields, map(whole, found), strict=True))
