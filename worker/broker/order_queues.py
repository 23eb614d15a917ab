"""Celery's queues of work orders: since when the oldest order waits that no worker has taken.

A worker may live and take nothing: `celery control cancel_consumer` makes it so, and so does a fault of its
consumer. The order that has waited longest tells, for a worker takes each as it comes. Celery itself does not
say when a message was sent, so each order is sent with a header that says so. The release before this one
neither sends nor reads it.
"""

from typing import TYPE_CHECKING, Any

import msgspec

from worker.broker import keys
from worker.broker.clocks import redis_ms_by_own_clock
from worker.broker.connection import broker_errors
from worker.broker.scripting import single_script
from worker.model.fleet_signs import Waiting

if TYPE_CHECKING:
    import redis

#: The header of a work order that says when it was issued, in ms since 1970 UTC by the clock of Redis.
_ISSUED = "siem_issued_ms"
#: So many messages are looked at, of so many bytes at most: some may say nothing, or be no orders.
_LOOKED_AT, _LONGEST = 20, 16_384


class _Headers(msgspec.Struct):
    siem_issued_ms: int | None = None
    redelivered: bool = False


class _Message(msgspec.Struct):
    headers: _Headers


_decode = msgspec.json.Decoder(_Message).decode


def order_headers() -> dict[str, Any]:
    """Return the headers with which a work order is issued now."""
    return {_ISSUED: redis_ms_by_own_clock()}


class OrderQueues:
    """Asks Redis. Every method raises BrokerUnavailable when it is away."""

    def __init__(self, client: "redis.Redis") -> None:
        """Use the client, which may be shared between threads."""
        self._queued = single_script(client, "queued")

    def waiting(self, kind: str) -> Waiting:
        """Return how many orders wait for workers of this type, and since when the oldest does.

        Orders that say nothing of it, or come back from a worker that has ended, do not count for the latter.
        """
        with broker_errors():
            found: Any = self._queued(keys=[keys.CELERY_PREFIX + kind], args=[_LOOKED_AT, _LONGEST])
        count, messages = found
        known = (_issued_ms(message) for message in messages)
        return Waiting(int(count), min((one for one in known if one is not None), default=None))


def _issued_ms(message: bytes) -> int | None:
    try:
        headers = _decode(message).headers
    except (msgspec.MsgspecError, ValueError):
        return None  # the worker that takes it drops it
    return None if headers.redelivered else headers.siem_issued_ms
