"""How much goes into one request: what the integration allows, and what the webhook has shown to bear."""

import threading
from collections.abc import Mapping, Sequence


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
