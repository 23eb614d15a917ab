"""Texts of one tenant that are kept in Redis for a while, no more bytes of them than its share.

Beyond the share, the oldest are forgotten first. What stands in Redis without being in the index, as an
earlier release put it there, counts towards no share, and expires.
"""

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from worker.broker.connection import broker_errors
from worker.broker.scripting import script_text

if TYPE_CHECKING:
    import redis

#: Bytes of Redis that a text takes beside itself: its key, and its place in the index.
BESIDE = 300
_REMEMBER = script_text("remember")


@dataclass(frozen=True, slots=True)
class BoundedStore:
    """Where the texts of one tenant are kept: for so many seconds, and so many bytes of them.

    `index` and `total` name what stands there, and how many bytes that takes. Every method raises
    BrokerUnavailable.
    """

    client: "redis.Redis"
    index: str
    total: str
    share: int
    seconds: int

    def put(self, place: str, text: bytes, before: int | None = None) -> None:
        """Keep the text under this key; `before` is the length of the one that stands there."""
        now_ms = time.time_ns() // 1_000_000
        sizes = (len(text) + BESIDE, 0 if before is None else before + BESIDE)
        with broker_errors():
            self.client.register_script(_REMEMBER)(
                keys=[place, self.index, self.total], args=[text, self.seconds, now_ms, self.share, *sizes]
            )

    def drop(self, place: str, length: int) -> None:
        """Keep the text, which is of this length, no longer."""
        size = length + BESIDE
        pipeline = self.client.pipeline(transaction=True)
        pipeline.delete(place)
        pipeline.zrem(self.index, f"{size}:{place}")
        with broker_errors():
            if pipeline.execute()[1]:
                self.client.decrby(self.total, size)
