"""Brings the ids of `siem:events` back to the clock of Redis, when somebody has chosen one far ahead of it.

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
from typing import TYPE_CHECKING, Any

from worker.broker import keys
from worker.broker.clocks import redis_now_ms
from worker.broker.connection import broker_errors, send_command
from worker.broker.entry_times import MOST_AHEAD_MS
from worker.broker.scripting import joined_script, script_text
from worker.model.ingress_checks import IngressIds
from worker.model.untrusted_text import number_in

if TYPE_CHECKING:
    import redis

log = logging.getLogger(__name__)

_LAST_ID = script_text("ids") + (
    "local info = redis.pcall('XINFO', 'STREAM', KEYS[1])\n"
    "return info.err and '0-0' or value_of(info, 'last-generated-id')"
)
#: What one call of the script moves, in entries and in bytes: Redis serves nobody else meanwhile.
_MOST, _MOST_BYTES = 2000, 8 << 20
#: How long one sweep goes on with it, in seconds.
_LONGEST = 2.0
#: For how long it is told afterwards, in seconds.
TOLD_FOR = 3600
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
                    args=[keys.ROUTER_GROUP, MOST_AHEAD_MS, _MOST, _MOST_BYTES, TOLD_FOR],
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
        log.error(
            "an entry was added to siem:events with an id ahead of the clock of Redis (%s): the ids are "
            "brought back to the clock, and the %d entries that wait are kept (it is number %d since this "
            "router started); see who may publish with XADD, and have them use the HTTP API instead",
            *(last_id, waited, self._times),
        )


def ingress_ids(client: "redis.Redis") -> IngressIds:
    """Return what the ids of the ingress say. Raises what redis-py raises."""
    # The reply of XINFO STREAM itself holds two whole entries.
    last_id = send_command(client, "EVAL", _LAST_ID, 1, keys.EVENTS).decode()
    found: Any = client.get(keys.RENUMBERED)
    now_ms = redis_now_ms(client)
    at_ms, _, mended_id = (found or b"").decode(errors="replace").partition(" ")
    is_ahead = int(last_id.partition("-")[0]) > now_ms + MOST_AHEAD_MS
    return IngressIds(last_id, is_ahead, number_in(at_ms), mended_id)


def aside_entries(client: "redis.Redis") -> int:
    """Count the entries that wait to be added again. Raises BrokerUnavailable."""
    with broker_errors():
        names: Any = client.lrange(keys.EVENTS_ASIDE, 0, -1)
        return sum(int(client.xlen(name)) for name in names)
