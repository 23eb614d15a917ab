"""Tenants of which so much waits that the API takes no more events of them: written down beside a recorder.

An earlier release neither writes nor reads it. What is written down is true for a short time only: without a
recorder nobody is refused.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from worker.broker import keys
from worker.broker.connection import broker_errors
from worker.broker.overdraft import ask_anyway

if TYPE_CHECKING:
    import redis

#: What is written down is true for so many seconds, unless it is written anew.
LASTS = 30

_decode = msgspec.json.Decoder(dict[str, int]).decode


def note_full_tenants(client: "redis.Redis", waiting: Mapping[str, int]) -> None:
    """Write down these tenants, and how many bytes of each wait. Raises BrokerUnavailable."""
    with broker_errors():
        if waiting:
            ask_anyway(client, "SET", keys.FULL_TENANTS, msgspec.json.encode(waiting), "EX", LASTS)
        else:
            client.delete(keys.FULL_TENANTS)


def crowding(client: "redis.Redis") -> tuple[int, dict[str, int]]:
    """Return how many events wait to be routed, and the full tenants: one round trip.

    Raises BrokerUnavailable.
    """
    with broker_errors():
        pipeline = client.pipeline(transaction=False)
        pipeline.xlen(keys.EVENTS)
        pipeline.get(keys.FULL_TENANTS)
        replies: list[Any] = pipeline.execute()
    return int(replies[0]), _read(replies[1])


def _read(found: bytes | None) -> dict[str, int]:
    try:
        return _decode(found) if found is not None else {}
    except (msgspec.MsgspecError, ValueError):  # somebody has written here
        return {}
