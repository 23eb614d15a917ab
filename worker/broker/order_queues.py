"""Celery's queues of work orders: what waits there, and which messages were dropped.

A worker may live and take nothing: `celery control cancel_consumer` makes it so, and so does a fault of its
consumer. The order that has waited longest counts, for a worker takes each as it comes. Celery itself does
not say when a message was sent, so each order is sent with a header that says so. The release before this one
neither sends nor reads it.

Another header says that the order is for a slow destination. When many slow ones answer in one moment, their
orders would stand before those of a healthy neighbour, and each costs the worker milliseconds. So an order
passes those of slow destinations at the end of the queue (as a priority would do, but in the one list that
workers of the release before read too). None is passed for longer than PASSED_FOR, so that it is taken in
the end.

Messages that were dropped: a count for each fault, and a line in the log now and then.

The counts stand in `siem:counters` (`worker.broker.counters`).
"""

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from redis.exceptions import RedisError

from worker.broker import keys
from worker.broker.clocks import redis_ms_by_own_clock
from worker.broker.connection import broker_errors, script_text, single_script
from worker.broker.counters import SharedCounters
from worker.broker.order_messages import InvalidMessage
from worker.model.errors import BrokerUnavailable
from worker.model.fleet_health import QueueDepth
from worker.model.log_events import MESSAGE_DROPPED, MESSAGE_NOT_COUNTED
from worker.model.orders import MessageFault
from worker.model.untrusted_json import DAMAGED

if TYPE_CHECKING:
    import redis


#: The header of a work order that says when it was issued, in ms since 1970 UTC by the clock of Redis.
_ISSUED = "siem_issued_ms"
#: The header of an order for a slow destination.
_SLOW = "siem_slow"
#: How many orders another one may pass, and for how many seconds since it was issued each may be passed.
MOST_PASSED, PASSED_FOR = 512, 2.0
_PUT = script_text("put_order")
#: So many messages are looked at, of so many bytes at most: some may say nothing, or be no orders.
_LOOKED_AT, _LONGEST = 20, 16_384


class _Headers(msgspec.Struct):
    # Beyond what a float holds exactly, it is no time, and a wait calculated from it may overflow.
    siem_issued_ms: Annotated[int, msgspec.Meta(ge=0, le=2**53)] | None = None
    redelivered: bool = False


class _Message(msgspec.Struct):
    headers: _Headers


_decode = msgspec.json.Decoder(_Message).decode


def order_headers(*, slow: bool = False) -> dict[str, Any]:
    """Return the headers with which a work order is issued now."""
    return {_ISSUED: redis_ms_by_own_clock()} | ({_SLOW: True} if slow else {})


def is_slow(message: Mapping[str, Any]) -> bool:
    """Whether a message that is to be published is an order for a slow destination."""
    return bool(message["headers"].get(_SLOW))


def put_before_slow(client: "redis.Redis", queue: str, message: str) -> None:
    """Put the message of an order into its queue, before the orders of slow destinations at its end."""
    script = client.register_script(_PUT)
    script(keys=[queue], args=[message, MOST_PASSED, round(PASSED_FOR * 1000)])


class OrderQueues:
    """Asks Redis. Every method raises BrokerUnavailable when it is away."""

    def __init__(self, client: "redis.Redis") -> None:
        """Use the client, which may be shared between threads."""
        self._queued = single_script(client, "queued")

    def waiting(self, kind: str) -> QueueDepth:
        """Return how many orders wait for workers of this type, and since when the oldest does.

        Orders that say nothing of it, or come back from a worker that has ended, do not count for the latter.
        """
        with broker_errors():
            found: Any = self._queued(keys=[keys.CELERY_PREFIX + kind], args=[_LOOKED_AT, _LONGEST])
        count, messages = found
        known = (_issued_ms(message) for message in messages)
        return QueueDepth(int(count), min((one for one in known if one is not None), default=None))


def _issued_ms(message: bytes) -> int | None:
    try:
        headers = _decode(message).headers
    except DAMAGED:
        return None  # the worker that takes it drops it
    return None if headers.redelivered else headers.siem_issued_ms


#: A fault is logged once, and if it goes on, again after so many seconds.
LOGGED_AGAIN = 600.0

log = logging.getLogger(__name__)


#: Messages that were dropped, by fault.
REFUSED_MESSAGES = SharedCounters("refused", [fault.value for fault in MessageFault])


class RefusedMessages:
    """Counts and logs what one process drops; may be shared between threads."""

    def __init__(self) -> None:
        """Count without Redis until `count_with` is called."""
        self._client: Callable[[], redis.Redis] | None = None
        self._lock = threading.Lock()
        #: Of each fault, when it was last logged (monotonic seconds), and how many came since.
        self._logged_at: dict[MessageFault, float] = {}
        self._unlogged: Counter[MessageFault] = Counter()

    def count_with(self, client: Callable[[], "redis.Redis"]) -> None:
        """Count in Redis from now on; the client is asked for when there is something to count."""
        self._client = client

    def note(self, error: InvalidMessage, place: str) -> None:
        """Count a message that was dropped, and log it if that was not done recently; raises nothing."""
        with self._lock:
            self._tell(error, place)
            REFUSED_MESSAGES.add(error.fault.value)
            self._count()

    def _tell(self, error: InvalidMessage, place: str) -> None:
        self._unlogged[error.fault] += 1
        now = time.monotonic()
        if now - self._logged_at.get(error.fault, -LOGGED_AGAIN) < LOGGED_AGAIN:
            return
        self._logged_at[error.fault] = now
        count = self._unlogged.pop(error.fault)
        MESSAGE_DROPPED.log(log, queue=place, details=str(error), count=count, reason=error.fault)

    def _count(self) -> None:
        """Add to the counts in Redis what they lack; what cannot be added now is with the next message."""
        if self._client is None:
            return
        try:
            REFUSED_MESSAGES.flush(self._client())
        except (BrokerUnavailable, RedisError) as error:
            MESSAGE_NOT_COUNTED.log(log, error=str(error))
