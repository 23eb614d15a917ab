"""How many events of each type a tenant publishes, wanted or not: counted by the hour, for a day.

Input: what a hand-over has seen. Output: events and bytes of the last 24 hours, by type.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from worker.broker import keys
from worker.broker.connection import broker_errors
from worker.broker.packing import whole

if TYPE_CHECKING:
    import redis


_HOUR = 3600
HOURS = 24
#: An hour's figures are kept until they cannot be asked for any more, in seconds.
_KEPT = (HOURS + 2) * _HOUR
_BYTES = ":bytes"
#: How often a router writes them, in seconds.
_EVERY = 1.0


@dataclass(slots=True)
class Volume:
    """Events, and the bytes of their JSON as it was published."""

    events: int = 0
    size: int = 0


#: Of each type and tenant, in this order.
Volumes = dict[tuple[str, str], Volume]


class PendingVolumes:
    """What one router has not written yet: it writes once a second, for each count is a command of Redis.

    With a router that is killed, the counts of its last second are lost; no event is.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin with nothing; the first is due at once."""
        self._clock = clock
        self._counts: Volumes = {}
        self._next = 0.0

    def add(self, volumes: Volumes) -> None:
        """Add what was handed over."""
        for kind, volume in volumes.items():
            found = self._counts.setdefault(kind, Volume())
            found.events += volume.events
            found.size += volume.size

    def is_due(self) -> bool:
        """Whether there is anything, and the last was written a second ago."""
        return bool(self._counts) and self._clock() >= self._next

    def due(self) -> Volumes:
        """Return what is to be written now; nothing, most of the time."""
        return self._counts if self.is_due() else {}

    def written(self, volumes: Volumes) -> None:
        """Forget these: they were written."""
        if volumes:
            self.take()

    def take(self) -> Volumes:
        """Return all, and forget it."""
        found, self._counts = self._counts, {}
        self._next = self._clock() + _EVERY
        return found


def count_volumes(
    pipeline: "redis.client.Pipeline", volumes: Iterable[tuple[tuple[str, str], Volume]]
) -> None:
    """Add to a transaction what counts these, by event type and tenant."""
    hour = int(time.time()) // _HOUR
    tenants = set()
    for (event_type, tenant_id), volume in volumes:
        key = keys.volume(hour, tenant_id)
        pipeline.hincrby(key, event_type, volume.events)
        pipeline.hincrby(key, event_type + _BYTES, volume.size)
        tenants.add(key)
    for key in tenants:
        pipeline.expire(key, _KEPT)


def volumes_of(client: "redis.Redis", tenant_id: str) -> dict[str, Volume]:
    """Return what the tenant published in the last 24 hours, by event type. Raises BrokerUnavailable."""
    hour = int(time.time()) // _HOUR
    pipeline = client.pipeline(transaction=False)
    for back in range(HOURS):
        pipeline.hgetall(keys.volume(hour - back, tenant_id))
    found: defaultdict[str, Volume] = defaultdict(Volume)
    with broker_errors():
        for counts in pipeline.execute():
            for name, number in counts.items():
                event_type, is_size, _ = name.decode(errors="replace").partition(_BYTES)
                if is_size:
                    found[event_type].size += whole(number)
                else:
                    found[event_type].events += whole(number)
    return dict(found)
