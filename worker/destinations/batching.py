"""How a batch is cut into parts, each of which one request carries. Pure.

Two things make a part smaller than the batch. A receiver that does not take or answer a part in time is sent
half as much from then on (`RequestLimit`). And a part that failed because of one event in it is sent again in
smaller parts, so that this event fails alone within MAX_REQUESTS (`BatchPlan`).
"""

import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from math import isqrt

from worker.model.batches import DeliveryAttempt
from worker.model.deliveries import MAX_REQUESTS

#: For `whole`: only events that no request has carried stay together.
IF_UNSENT = MAX_REQUESTS
#: For `whole`: two requests are kept to find an offender with.
WITH_THREE_LEFT = 3
#: For `whole`: nothing says that there is an offender.
TO_THE_LAST = 1
_KILO = 1000.0

#: The bytes of each event, under its place.
Sizes = Mapping[int, int] | Sequence[int]


class RequestLimit:
    """How many events and bytes one request may carry. Shared by the threads of a sender.

    `events` and `size` (bytes) are the configured limits. The limit in bytes is halved by each request that
    was too much and grows by a tenth with each one near it that was taken, so that the size that worked is
    remembered for all batches that follow.
    """

    def __init__(self, *, events: int, size: int) -> None:
        """Begin with the configured limits."""
        self._events = events
        self._most_bytes = size
        self._bytes = size
        self._rate = 0.0
        self._lock = threading.Lock()

    @property
    def size(self) -> int:
        """The limit in force, in bytes."""
        return self._bytes

    def cut(self, places: Sequence[int], sizes: Sizes) -> list[Sequence[int]]:
        """Cut into parts within the limits; `sizes` are the bytes of each event, under its place.

        An event that is larger than the limit goes alone.
        """
        if 0 < len(places) <= self._events and sum(map(sizes.__getitem__, places)) <= self._bytes:
            return [places]
        parts: list[Sequence[int]] = []
        start = size = 0
        for at, place in enumerate(places):
            length = sizes[place]
            if at > start and (at - start >= self._events or size + length > self._bytes):
                parts.append(places[start:at])
                start, size = at, 0
            size += length
        return [*parts, places[start:]] if places else []

    def shrink(self, size: int, *, rate: float = 0.0) -> None:
        """Remember that a request of so many bytes was too much: the next one is at most half as large.

        `rate` is how many bytes a second the receiver took, where that is known.
        """
        with self._lock:
            self._bytes = max(1, min(self._bytes, size // 2))
            if rate:
                self._rate = rate

    def grow(self, size: int, seconds: float = 0.0) -> None:
        """Remember that a request of so many bytes was taken, in `seconds` where that is known.

        One that filled more than half of the limit raises it, up to what is configured.
        """
        if size <= self._bytes // 2:
            return
        with self._lock:
            worked = max(self._bytes, size)
            self._bytes = min(self._most_bytes, worked + worked // 10 + 1)
            if seconds:
                self._rate = size / seconds

    def description(self, events: int, size: int) -> str:
        """Return what was learned, for the reason of a failure: "it takes about 6 kB/s: batches of 12".

        `events` and `size` (bytes) are those of the request that failed: how many fit the new limit follows.
        """
        batches = f"batches of {max(1, self._bytes * events // max(1, size))} from now on"
        return f"it takes about {_rate_in_words(self._rate)}: {batches}" if self._rate else batches


class BatchPlan:
    """Which events of a batch each request carries, and how many requests each event has left.

    A part is what one request carries, as places in the batch. `whole` says when parts stay whole: while
    that many requests are left to their events. With fewer they are cut into parts of about the square root
    of their number, and one by one with the last, so that an offender fails alone.
    """

    def __init__(self, attempt: DeliveryAttempt, limit: RequestLimit, sizes: Sizes) -> None:
        """Begin with nothing to send; `sizes` are the bytes of each event, under its place."""
        self._attempt = attempt
        self._limit = limit
        self._sizes = sizes
        self._parts: deque[Sequence[int]] = deque()
        #: What has gone out before in this sending: the destination may have it.
        self._repeated: set[int] = set()

    def __bool__(self) -> bool:
        """Whether a part waits."""
        return bool(self._parts)

    def add(self, places: Sequence[int], *, whole: int) -> None:
        """Send these behind all that waits, within the limit.

        Neighbours that the same number of requests have carried go together; with TO_THE_LAST, all do.
        """
        for run in [places] if whole == TO_THE_LAST else self._runs(places):
            for part in self._isolated(run, whole):
                self._parts.extend(self._limit.cut(part, self._sizes))

    def add_first(self, places: Sequence[int], *, whole: int) -> list[int]:
        """Send these next, before all that waits; return those that have no request left."""
        counts = self._attempt.request_counts
        able = [place for place in places if counts[place] < MAX_REQUESTS]
        self._parts.extendleft(reversed(self._isolated(able, whole)))
        return [place for place in places if counts[place] >= MAX_REQUESTS]

    def put_first(self, part: Sequence[int]) -> None:
        """Send exactly these with the next request."""
        self._parts.appendleft(part)

    def next_part(self) -> Sequence[int]:
        """Take the part that is sent next. Raises IndexError where none waits."""
        return self._parts.popleft()

    def count(self, places: Sequence[int]) -> None:
        """Count a request that carries these events; from just before its first byte may go out."""
        self._attempt.count(places)

    def repeat(self, part: Sequence[int]) -> bool:
        """Send once more, next, what met a connection that just ended; only once, and with a request left."""
        counts = self._attempt.request_counts
        if any(place in self._repeated or counts[place] >= MAX_REQUESTS for place in part):
            return False
        self._repeated.update(part)
        self.add_first(part, whole=WITH_THREE_LEFT)
        return True

    def mark_repeated(self, places: Sequence[int]) -> None:
        """Remember that these may have arrived, whatever the next answer to them says."""
        self._repeated.update(places)

    def is_repeated(self, places: Sequence[int]) -> bool:
        """Whether any of these may have arrived with an earlier request of this sending."""
        return bool(self._repeated) and not self._repeated.isdisjoint(places)

    def by_repeated(self, places: Sequence[int]) -> tuple[list[int], list[int]]:
        """Return which of these may have arrived with an earlier request, and the others."""
        repeated = [place for place in places if place in self._repeated]
        return repeated, [place for place in places if place not in self._repeated]

    def size_of(self, part: Sequence[int]) -> int:
        """Return how many bytes these events have."""
        return sum(map(self._sizes.__getitem__, part))

    def stop(self) -> list[Sequence[int]]:
        """Send nothing more; return what waited."""
        waiting = list(self._parts)
        self._parts.clear()
        return waiting

    def _runs(self, places: Sequence[int]) -> Iterator[Sequence[int]]:
        count_of = self._attempt.request_counts.__getitem__
        if len(set(map(count_of, places))) == 1:
            yield places
            return
        for _, run in groupby(places, key=count_of):
            yield list(run)

    def _isolated(self, places: Sequence[int], whole: int) -> list[Sequence[int]]:
        if not places:
            return []
        left = MAX_REQUESTS - max(map(self._attempt.request_counts.__getitem__, places))
        if left >= whole:
            return [places]
        # One that is sent although no request is left has ended its workers: alone, it shows that it did.
        step = 1 if left <= 1 else isqrt(len(places))
        return [places[at : at + step] for at in range(0, len(places), step)]


def _rate_in_words(rate: float) -> str:
    if rate < _KILO:
        return f"{max(1, round(rate))} B/s"
    return f"{round(rate / _KILO)} kB/s" if rate < _KILO**2 else f"{rate / _KILO**2:.1f} MB/s"
