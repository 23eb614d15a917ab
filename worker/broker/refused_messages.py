"""What is told of messages that were dropped: a count for each fault, and a line in the log now and then.

The counts stand in `siem:counters`, as `refused:<fault>`; the release before this one reads none of them.
"""

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from redis.exceptions import RedisError

from worker.broker import keys
from worker.broker.connection import broker_errors
from worker.broker.numbers import damaged_counts, whole
from worker.broker.oom import ask_when_full
from worker.broker.order_messages import InvalidMessage
from worker.model.errors import BrokerUnavailable
from worker.model.orders import MessageFault

if TYPE_CHECKING:
    import redis

#: A fault is told in the log once, and if it goes on, again after so many seconds.
TOLD_AGAIN = 600.0

log = logging.getLogger(__name__)


class RefusedMessages:
    """Counts and tells what one process drops; may be shared between threads."""

    def __init__(self) -> None:
        """Count without Redis until `count_with` is called."""
        self._client: Callable[[], redis.Redis] | None = None
        self._lock = threading.Lock()
        #: Of each fault, when it was last told (monotonic seconds), and how many came since.
        self._told: dict[MessageFault, float] = {}
        self._untold: Counter[MessageFault] = Counter()
        self._uncounted: Counter[MessageFault] = Counter()

    def count_with(self, client: Callable[[], "redis.Redis"]) -> None:
        """Count in Redis from now on; the client is asked for when there is something to count."""
        self._client = client

    def note(self, error: InvalidMessage, place: str) -> None:
        """Count a message that was dropped, and tell it if that was not done lately; raises nothing."""
        with self._lock:
            self._tell(error, place)
            self._uncounted[error.fault] += 1
            self._count()

    def _tell(self, error: InvalidMessage, place: str) -> None:
        self._untold[error.fault] += 1
        now = time.monotonic()
        if now - self._told.get(error.fault, -TOLD_AGAIN) < TOLD_AGAIN:
            return
        self._told[error.fault] = now
        several = self._untold.pop(error.fault)
        also = f", {several} of this kind since this was last said" if several > 1 else ""
        log.error("dropped a message of %s: it %s%s; see who else may write to Redis", place, error, also)

    def _count(self) -> None:
        """Add to the counts in Redis what they lack; what cannot be added now is with the next message."""
        if self._client is None:
            return
        try:
            client = self._client()
            for fault, number in tuple(self._uncounted.items()):
                command = ("HINCRBY", keys.COUNTERS, _field(fault), number)
                with broker_errors(), damaged_counts(client, [command]):
                    ask_when_full(client, *command)
                del self._uncounted[fault]
        except (BrokerUnavailable, RedisError) as error:
            log.debug("dropped messages are not counted yet: %s", error)


def _field(fault: MessageFault) -> str:
    return f"refused:{fault.value}"


def refused_messages(client: "redis.Redis") -> dict[str, int]:
    """Count messages that were dropped since the beginning, by fault. Raises BrokerUnavailable."""
    with broker_errors():
        found: Any = client.hmget(keys.COUNTERS, [_field(fault) for fault in MessageFault])
    return {fault.value: whole(count) for fault, count in zip(MessageFault, found, strict=True)}
