"""A correction to kombu's Redis transport, without which a worker ends when Redis restarts.

After a lost connection kombu 5.7 closes the old channel, and pool threads acknowledge on it, while the
connection behind it is already gone; it then fails with an AttributeError, which no caller takes for the
connection error that it is, and the worker exits (measured: whenever a delivery was under way).
"""

from typing import Any

import redis
from kombu.transport.redis import Channel, Transport


class PatientChannel(Channel):
    """Reports a connection that is gone as one that was lost."""

    def _connparams(self, asynchronous: bool = False) -> Any:  # noqa: FBT001, FBT002 - kombu's signature
        if self.connection is None or self.connection.client is None:
            raise redis.ConnectionError("the connection behind this channel is closed")
        return super()._connparams(asynchronous)


def install() -> None:
    """Have every Redis connection of Celery in this process use the corrected channel."""
    Transport.Channel = PatientChannel
