"""Clocks: that of Redis, how far each process is from it, and ids of entries that are ahead of it.

Each process says its skew with its heartbeat (`worker.broker.heartbeat`), and so it is forgotten with it.

When Redis took an entry of the ingress, by its id, as far as that can be true.

A publisher may choose the id of an entry (`XADD siem:events 9999999999999-0 …`), and every later one
is greater. A time that the clock of Redis has not reached, or before which there was no such entry, is none:
then the time of reading stands for it.

Brings the ids of `siem:events` back to the clock of Redis, when a publisher has chosen one far ahead of it.

Behind the id 18446744073709551615-18446744073709551615 Redis takes no further entry; behind any other one in
the future, all entries seem to come from then. Redis gives no way back (XSETID refuses to go below an entry
that was deleted, since 7.0). So one script moves the stream aside and begins another one under its name, in
which entries that a reader holds under an id of the clock keep id and reader; the others are added again.

A router of the release before may be handing over entries under false ids in that moment: these are then sent
twice, with the same event ids. Its recorder reports that the stream vanished. Consumer groups of the stream
that are not ours are gone with it.
"""

import logging
import time
from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from worker.broker import keys
from worker.broker.connection import broker_errors, joined_script, script_text, send_command
from worker.broker.fleet import living_processes
from worker.model.ingress_checks import IngressIds
from worker.model.log_events import INGRESS_RENUMBERED
from worker.model.untrusted_text import number_in

if TYPE_CHECKING:
    import redis


#: A reply that took longer than this says too little of a clock, in seconds.
_TOO_SLOW = 1.0
#: By how many seconds this process is ahead of Redis, as it was measured last.
_SKEW = [0.0]


def redis_now_ms(client: "redis.Redis") -> int:
    """Return the time by the clock of Redis, in milliseconds since 1970 UTC. Raises BrokerUnavailable."""
    with broker_errors():
        seconds, microseconds = client.time()
    return int(seconds) * 1000 + int(microseconds) // 1000


def measure_skew(client: "redis.Redis") -> tuple[int, float | None]:
    """Return the time of Redis (ms), and by how many seconds this process is ahead of it.

    The latter is None when Redis answers too slowly for that. Raises BrokerUnavailable.
    """
    began, steady = time.time(), time.monotonic()
    redis_ms = redis_now_ms(client)
    took = time.monotonic() - steady
    if took > _TOO_SLOW:
        return redis_ms, None
    _SKEW[0] = began + took / 2 - redis_ms / 1000
    return redis_ms, _SKEW[0]


def redis_ms_by_own_clock() -> int:
    """Return the time of Redis by this process's clock, less the skew that was measured last; asks no one."""
    return round((time.time() - _SKEW[0]) * 1000)


def skews(client: "redis.Redis") -> dict[str, float]:
    """Return the skew of every living process, in seconds, by `<role>:<host>:<pid>…`."""
    return {
        f"{process.role}:{process.name}": process.skew
        for process in living_processes(client)
        if process.skew is not None
    }


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
    """Whether one of these ids is ahead of this host's clock: it may get another one at any moment."""
    return max(map(_milliseconds, entry_ids), default=0) > _latest_ms()


def earliest_ms(entry_ids: Iterable[bytes], now_ms: int) -> int | None:
    """Return the earliest of these times that can be true at that moment; None without any."""
    times = map(_milliseconds, entry_ids)
    return min((one for one in times if EARLIEST_MS <= one <= now_ms + MOST_AHEAD_MS), default=None)


def _latest_ms() -> int:
    return time.time_ns() // 1_000_000 + MOST_AHEAD_MS


def _milliseconds(entry_id: bytes) -> int:
    return int(entry_id.partition(b"-")[0])


log = logging.getLogger(__name__)

_LAST_ID = script_text("ids") + (
    "local info = redis.pcall('XINFO', 'STREAM', KEYS[1])\n"
    "return info.err and '0-0' or value_of(info, 'last-generated-id')"
)
#: What one call of the script moves, in entries and in bytes: Redis serves no other client meanwhile.
_MOST, _MOST_BYTES = 2000, 8 << 20
#: How long one sweep goes on with it, in seconds.
_LONGEST = 2.0
#: For how long it is reported afterwards, in seconds.
REPORTED_FOR = 3600
#: Seconds between two lines of the log, however often it happens.
_LOG_EVERY = 60.0


class Renumbering:
    """One sweeper's way to do so; several may at once. Runs in one thread. Raises BrokerUnavailable."""

    def __init__(self, client: "redis.Redis") -> None:
        """Use the client."""
        self._client = client
        self._script = joined_script(client, "make_way", "ids", "weighing", "renumber")
        self._next_line = 0.0
        self._times = 0

    def step(self) -> None:
        """Bring the ids back if they are ahead of the clock, and add again what stands aside."""
        until = time.monotonic() + _LONGEST
        while True:
            with broker_errors():
                reply: Any = self._script(
                    keys=[keys.EVENTS, keys.EVENTS_ASIDE, keys.AHEAD_LOCK, keys.COUNTERS, keys.RENUMBERED],
                    args=[keys.ROUTER_GROUP, MOST_AHEAD_MS, _MOST, _MOST_BYTES, REPORTED_FOR],
                )
            ahead, waited, left = reply
            if ahead:
                self._tell(ahead.decode(), int(waited))
            if not left or time.monotonic() > until:
                return

    def _tell(self, last_id: str, waited: int) -> None:
        self._times += 1
        if time.monotonic() < self._next_line:
            return
        self._next_line = time.monotonic() + _LOG_EVERY
        INGRESS_RENUMBERED.log(log, last_id=last_id, entries=waited, times=self._times)


def ingress_ids(client: "redis.Redis") -> IngressIds:
    """Return what the ids of the ingress say. Raises what redis-py raises."""
    # The reply of XINFO STREAM itself holds two whole entries.
    last_id = send_command(client, "EVAL", _LAST_ID, 1, keys.EVENTS).decode()
    found: Any = client.get(keys.RENUMBERED)
    now_ms = redis_now_ms(client)
    at_ms, _, repaired_id = (found or b"").decode(errors="replace").partition(" ")
    is_ahead = int(last_id.partition("-")[0]) > now_ms + MOST_AHEAD_MS
    return IngressIds(last_id, is_ahead, number_in(at_ms), repaired_id)
