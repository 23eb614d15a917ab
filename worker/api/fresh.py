"""One answer for all who ask at the same time, and for a moment after: nobody waits in a thread for it.

Readiness and metrics are open to whoever reaches the API, and ask Redis and the database. While these hang,
each question would hold a thread, and those who ask often would take them all.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from worker.api.pools import FLEET

T = TypeVar("T")

#: Whoever asks again within so many seconds is told the same, and nobody waits for longer than `PATIENCE`.
FRESH, PATIENCE = 1.0, 8.0


class CachedValue(Generic[T]):
    """The last answer of a function that may be slow; for one event loop."""

    def __init__(self, name: str, find: Callable[[], T]) -> None:
        """Take the function, which runs in a thread of `FLEET`; the name is its owner there."""
        self._owner = f"{name} {id(self)}"
        self._find = find
        self._found: tuple[float, T] | None = None
        self._under_way: asyncio.Future[T] | None = None

    async def get(self) -> T:
        """Return the answer, at most a second old. Raises TimeoutError, and whatever the function raises."""
        if self._found is not None and time.monotonic() - self._found[0] < FRESH:
            return self._found[1]
        if self._under_way is None:
            self._under_way = asyncio.wrap_future(FLEET.submit(self._owner, self._find))
            self._under_way.add_done_callback(self._keep)
        under_way = self._under_way
        done, _ = await asyncio.wait([under_way], timeout=PATIENCE)
        if not done:
            raise TimeoutError
        return under_way.result()

    def _keep(self, done: "asyncio.Future[T]") -> None:
        self._under_way = None
        if not done.cancelled() and done.exception() is None:
            self._found = (time.monotonic(), done.result())
