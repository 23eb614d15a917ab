"""What Redis knows of clocks: its own, how far each process's is from it, and what retention refused for it.

Each process says its skew with its sign of life (`worker.broker.heartbeat`), and so it is forgotten with it.
"""

import time
from typing import TYPE_CHECKING, Any

from worker.broker import keys
from worker.broker.connection import broker_errors
from worker.broker.fleet import living_processes

if TYPE_CHECKING:
    import redis

#: A reply that took longer than this tells too little of a clock, in seconds.
_TOO_SLOW = 1.0
#: By how many seconds this process is ahead of Redis, as it was measured last.
_SKEW = [0.0]


def redis_now_ms(client: "redis.Redis") -> int:
    """Tell the time by the clock of Redis, in milliseconds since 1970 UTC. Raises BrokerUnavailable."""
    with broker_errors():
        seconds, microseconds = client.time()
    return int(seconds) * 1000 + int(microseconds) // 1000


def measure_skew(client: "redis.Redis") -> tuple[int, float | None]:
    """Return the time of Redis (ms), and by how many seconds this process is ahead of it.

    The latter is None when Redis answers too slowly to tell. Raises BrokerUnavailable.
    """
    began, steady = time.time(), time.monotonic()
    redis_ms = redis_now_ms(client)
    took = time.monotonic() - steady
    if took > _TOO_SLOW:
        return redis_ms, None
    _SKEW[0] = began + took / 2 - redis_ms / 1000
    return redis_ms, _SKEW[0]


def redis_ms_by_own_clock() -> int:
    """Tell the time of Redis by this process's clock, less the skew that was measured last; asks nobody."""
    return round((time.time() - _SKEW[0]) * 1000)


def skews(client: "redis.Redis") -> dict[str, float]:
    """Return the skew of every living process, in seconds, by `<role>:<host>:<pid>…`."""
    return {
        f"{process.role}:{process.name}": process.skew
        for process in living_processes(client)
        if process.skew is not None
    }


class PruningRefusals:
    """What retention does not delete, and why, in words: by kind, or by "" for all kinds.

    Every method raises BrokerUnavailable.
    """

    def __init__(self, client: "redis.Redis") -> None:
        """Use the client, which may be shared between threads."""
        self._client = client

    def all(self) -> dict[str, str]:
        """Return them."""
        with broker_errors():
            found: Any = self._client.hgetall(keys.RETENTION_REFUSED)
        return {
            name.decode(errors="replace"): words.decode(errors="replace") for name, words in found.items()
        }

    def replace(self, refusals: dict[str, str]) -> None:
        """Let these be all."""
        with broker_errors():
            pipeline = self._client.pipeline(transaction=True)
            pipeline.delete(keys.RETENTION_REFUSED)
            if refusals:
                pipeline.hset(keys.RETENTION_REFUSED, mapping=refusals)  # type: ignore[arg-type]  # redis-py's dict is invariant
            pipeline.execute()
