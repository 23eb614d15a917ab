"""When Redis took an entry of the ingress, by its id, as far as that can be true.

Whoever may publish may choose the id of an entry (`XADD siem:events 9999999999999-0 …`), and every later one
is greater. A time that the clock of Redis has not reached, or before which there was no such entry, is none:
then the time of reading stands for it.
"""

import time
from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING

from worker.broker.clocks import redis_now_ms

if TYPE_CHECKING:
    import redis

#: How far clocks may be apart before an id counts as ahead of them, in milliseconds.
MOST_AHEAD_MS = 60_000
#: No entry is older: the beginning of the year 2020, in milliseconds since 1970 UTC.
EARLIEST_MS = 1_577_836_800_000


def received_ms(client: "redis.Redis", entry_ids: Sequence[bytes]) -> list[int]:
    """Return when Redis took each of these, in milliseconds since 1970 UTC. Raises BrokerUnavailable."""
    times = [_milliseconds(one) for one in entry_ids]
    if not times or (min(times) >= EARLIEST_MS and max(times) <= _latest_ms()):
        return times
    # This host's clock may be the one that is wrong.
    now_ms = redis_now_ms(client)
    return [one if EARLIEST_MS <= one <= now_ms + MOST_AHEAD_MS else now_ms for one in times]


def any_ahead(entry_ids: Collection[bytes]) -> bool:
    """Say whether one of these ids is ahead of this host's clock: it may get another one at any moment."""
    return max(map(_milliseconds, entry_ids), default=0) > _latest_ms()


def earliest_ms(entry_ids: Iterable[bytes], now_ms: int) -> int | None:
    """Return the earliest of these times that can be true at that moment; None without any."""
    times = map(_milliseconds, entry_ids)
    return min((one for one in times if EARLIEST_MS <= one <= now_ms + MOST_AHEAD_MS), default=None)


def _latest_ms() -> int:
    return time.time_ns() // 1_000_000 + MOST_AHEAD_MS


def _milliseconds(entry_id: bytes) -> int:
    return int(entry_id.partition(b"-")[0])
