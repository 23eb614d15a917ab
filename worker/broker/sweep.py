"""The chores of the one sweeper: its lock, readers that will never come back, keys that were moved away."""

import time
import uuid

import redis

from worker.broker import keys, outcomes
from worker.broker.connection import broker_errors, send_command
from worker.broker.oom import ask_when_full, report_displaced
from worker.broker.renumbering import Renumbering
from worker.broker.scripting import script_text
from worker.broker.streams import forget_idle_consumers

#: A reader that held nothing and was silent for this long is gone, in seconds.
GONE_AFTER = 3600.0
#: How often to look for such readers, in seconds.
LOOK_EVERY = 300.0
#: How many keys that were moved away are reported at a time.
_MOST_REPORTED = 1000
#: The set of their names may be of a wrong type itself.
_DISPLACED = script_text("make_way") + (
    "local moved = make_way(KEYS[1], true, 'set')\n"
    "local names = redis.call('SPOP', KEYS[1], ARGV[1])\n"
    "return moved and {KEYS[1]} or names"
)


class Housekeeping:
    """One sweeper's right to sweep. Raises BrokerUnavailable."""

    def __init__(self, client: redis.Redis) -> None:
        """Sweep under a name of its own."""
        self._client = client
        self._name = uuid.uuid4().hex
        self._next_look = 0.0
        self._renumbering = Renumbering(client)

    def may_sweep(self, interval: float) -> bool:
        """Take the lock, or keep it; another may have it once this one was silent for three intervals."""
        expires_ms = max(1, round(interval * 3000))
        with broker_errors():
            if ask_when_full(self._client, "SET", keys.SWEEPER_LOCK, self._name, "NX", "PX", expires_ms):
                return True
            if self._client.get(keys.SWEEPER_LOCK) != self._name.encode():
                return False
            return bool(self._client.pexpire(keys.SWEEPER_LOCK, expires_ms))

    def renumber(self) -> None:
        """Bring the ids of the ingress back to the clock, if somebody has chosen one ahead of it."""
        self._renumbering.step()

    def report_displaced(self) -> None:
        """Log which keys scripts have moved away since it was last called."""
        with broker_errors():
            report_displaced(
                send_command(self._client, "EVAL", _DISPLACED, 1, keys.DISPLACED, _MOST_REPORTED)
            )

    def forget_dead_consumers(self) -> None:
        """Now and then, remove readers that hold nothing and have long been silent."""
        if time.monotonic() < self._next_look:
            return
        self._next_look = time.monotonic() + LOOK_EVERY
        forget_idle_consumers(self._client, keys.EVENTS, keys.ROUTER_GROUP, GONE_AFTER)
        for stream in outcomes.STREAMS:
            forget_idle_consumers(self._client, stream, keys.RECORDER_GROUP, GONE_AFTER)
