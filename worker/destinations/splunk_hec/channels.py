"""The channels on which Splunk counts requests for their acknowledgement.

A sending borrows one channel for as long as it lasts. Splunk numbers the requests of each channel from 0,
every indexer by itself, so a channel is never shared, and is not used again once anything on it stayed
without its confirmation: a late one could be taken for that of a request with the same number.
"""

import contextlib
import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field

from worker.transports.cookies import CookieJar


@dataclass(slots=True)
class Channel:
    """One client in the eyes of Splunk: `id` is a GUID, `unconfirmed` counts requests; `spent` takes no more.

    `cookies` are those by which a load balancer leads every request of the channel to the same indexer, the
    only one that knows its numbers.
    """

    id: str = field(default_factory=lambda: str(uuid.uuid4()).upper())
    cookies: CookieJar = field(default_factory=CookieJar)
    unconfirmed: int = 0
    spent: bool = False


class Channels:
    """The channels of one sender: as many as it had sendings at once. Shared by a process's threads."""

    def __init__(self) -> None:
        """Begin without any; the first is made when it is needed."""
        self._lock = threading.Lock()
        self._free: list[Channel] = []

    @contextlib.contextmanager
    def borrow(self) -> Iterator[Channel]:
        """Lend a channel that nobody else uses meanwhile."""
        with self._lock:
            channel = self._free.pop() if self._free else Channel()
        yield channel
        if not channel.spent and not channel.unconfirmed:
            with self._lock:
                self._free.append(channel)
