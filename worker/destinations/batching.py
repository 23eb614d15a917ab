"""How a batch is cut into parts, each of which one request carries. Pure.

Two things make a part smaller than the batch. A receiver that does not take or answer a part in time is sent
half as much from then on (`PartSize`). And a part that failed because of one event in it is sent again in
smaller parts, so that this event fails alone within MAX_REQUESTS (`isolating`).
"""

import threading
from collections.abc import Mapping, Sequence
from itertools import groupby
from math import isqrt

from worker.model.deliveries import MAX_REQUESTS

_KILO = 1000.0


class PartSize:
    """How many events and bytes one part may hold. Shared by the threads of a sender.

    `events` and `size` (bytes) are the configured limits. The limit in bytes is halved by each part that was
    too much and grows by a tenth with each part near it that was taken, so that the size that worked is
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
    def limit(self) -> int:
        """The limit in force, in bytes."""
        return self._bytes

    def cut(self, places: Sequence[int], sizes: Mapping[int, int]) -> list[Sequence[int]]:
        """Cut into parts within the limits; `sizes` are the bytes of each event, under its place.

        An event that is larger than the limit goes alone.
        """
        parts: list[Sequence[int]] = []
        start = size = 0
        for at, place in enumerate(places):
            length = sizes[place]
            if at > start and (at - start >= self._events or size + length > self._bytes):
                parts.append(places[start:at])
                start, size = at, 0
            size += length
        return [*parts, places[start:]] if places else []

    def missed(self, size: int, *, rate: float = 0.0) -> None:
        """Remember that a part of so many bytes was too much: the next one is at most half as large.

        `rate` is how many bytes a second the receiver took, where that is known.
        """
        with self._lock:
            self._bytes = max(1, min(self._bytes, size // 2))
            if rate:
                self._rate = rate

    def took(self, size: int, seconds: float = 0.0) -> None:
        """Remember that a part of so many bytes was taken, in `seconds` where that is known.

        A part that filled more than half of the limit raises it, up to what is configured.
        """
        if size <= self._bytes // 2:
            return
        with self._lock:
            worked = max(self._bytes, size)
            self._bytes = min(self._most_bytes, worked + worked // 10 + 1)
            if seconds:
                self._rate = size / seconds

    def words(self, events: int, size: int) -> str:
        """Return what was learned, for the reason of a failure: "it takes about 6 kB/s: batches of 12".

        `events` and `size` (bytes) are those of the part that failed; they tell how many fit the new limit.
        """
        batches = f"batches of {max(1, self._bytes * events // max(1, size))} from now on"
        return f"it takes about {_rate_in_words(self._rate)}: {batches}" if self._rate else batches


def isolating(
    places: Sequence[int], request_counts: Sequence[int], *, whole: int = MAX_REQUESTS
) -> list[Sequence[int]]:
    """Cut into parts by the requests that are left to these events, so that an offender ends alone.

    `request_counts` says of each event, under its place, how many requests have carried it. Parts of
    events that no failed request has carried come first. Events stay together while `whole` requests are
    left to them, go in parts of about the square root of their number while fewer are, and one by one with
    the last.
    """
    ordered = sorted(places, key=request_counts.__getitem__)
    return [
        part
        for count, alike in groupby(ordered, key=request_counts.__getitem__)
        for part in _isolated(list(alike), MAX_REQUESTS - count, whole)
    ]


def _isolated(places: list[int], left: int, whole: int) -> list[Sequence[int]]:
    if left >= whole:
        return [places]
    step = 1 if left <= 1 else isqrt(len(places))
    return [places[at : at + step] for at in range(0, len(places), step)]


def _rate_in_words(rate: float) -> str:
    if rate < _KILO:
        return f"{max(1, round(rate))} B/s"
    return f"{round(rate / _KILO)} kB/s" if rate < _KILO**2 else f"{rate / _KILO**2:.1f} MB/s"


class Portions:
    """Cuts events into requests of so many events and uncompressed bytes. Shared by a process's threads."""

    def __init__(self, *, events: int, size: int) -> None:
        """Begin with the integration's limits."""
        self._events = events
        self._bytes = size
        self._lock = threading.Lock()

    def cut(self, places: Sequence[int], envelopes: Mapping[int, bytes]) -> list[Sequence[int]]:
        """Cut into requests within the limits; an envelope that is too large by itself goes alone."""
        parts: list[Sequence[int]] = []
        start = size = 0
        for at, place in enumerate(places):
            length = len(envelopes[place])
            if at > start and (at - start >= self._events or size + length > self._bytes):
                parts.append(places[start:at])
                start, size = at, 0
            size += length
        return [*parts, places[start:]] if places else []

    def learn_limit(self, refused: int) -> None:
        """Remember that a body of this many bytes was too large, so that the next one is smaller."""
        with self._lock:
            self._bytes = max(1, min(self._bytes, refused // 2))
