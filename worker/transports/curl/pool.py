"""The flights to one route that rest between two sendings; a sending borrows the one that landed last.

What one of them learns of a connection that died counts for all: those that rest are closed then.
"""

import contextlib
import threading
import time
from collections.abc import Iterator
from typing import Generic, TypeVar

import pycurl

from worker.transports.budget import BUDGET, LONGEST_IDLE
from worker.transports.curl.flight import Flight
from worker.transports.curl.route import Route
from worker.transports.guard import Guard
from worker.transports.shortages import shortage_behind

SomeFlight = TypeVar("SomeFlight", bound=Flight)


class FlightPool(Generic[SomeFlight]):
    """Lends flights, a flight to a thread at a time; shared by the threads of a process."""

    def __init__(self, route: Route, guard: Guard, connections: int, make_flight: type[SomeFlight]) -> None:
        """Dial nothing yet; each flight has at most `connections` requests under way."""
        self._route = route
        self._guard = guard
        self._connections = connections
        self._make_flight = make_flight
        self._lock = threading.Lock()
        #: With the moments when they landed, in monotonic seconds.
        self._landed: list[tuple[float, SomeFlight]] = []
        self._generation = 0
        self.rests_since = time.monotonic()
        BUDGET.keeps_idle(self)

    @contextlib.contextmanager
    def flight(self, seconds: float) -> Iterator[SomeFlight]:
        """Lend a flight, the one that landed last; the look-up of the name takes no longer than `seconds`.

        What keeps connections from being made at all becomes the answer to every request that is started.
        What is still in flight at the end of the `with` is broken off. Raises OutOfResources where no
        descriptor is left to begin with.
        """
        with self._lock:
            generation = self._generation
            flight = self._landed.pop()[1] if self._landed else None
        if flight is None:
            flight = self._new_flight(seconds)
        try:
            flight.look_up(seconds)
            yield flight
        finally:
            flight.abandon()
            self._take_back(flight, self._distrust(flight, generation))

    def close(self) -> None:
        """Close the connections that are idle; those in use are closed when their flight ends."""
        with self._lock:
            self._generation += 1
        self.close_idle()

    def close_idle(self) -> None:
        """Close the connections that no flight uses; the next flights make new ones."""
        with self._lock:
            landed, self._landed = self._landed, []
        for _, flight in landed:
            flight.close()

    def _new_flight(self, seconds: float) -> SomeFlight:
        BUDGET.wait_for_place(seconds, f"a connection to {self._route.peer}")
        try:
            return self._make_flight(self._route, self._guard, self._connections)
        except pycurl.error as error:
            raise shortage_behind(error) or error from None

    def _distrust(self, flight: SomeFlight, generation: int) -> int:
        """Close what other flights keep open if this one saw a connection die; this one may be kept."""
        if not flight.has_retired:
            return generation
        flight.has_retired = False
        with self._lock:
            is_current = generation == self._generation
        self.close()
        return self._generation if is_current else generation

    def _take_back(self, flight: SomeFlight, generation: int) -> None:
        """Keep it for the next sending, unless its connections are in doubt; close those that rested long."""
        now = time.monotonic()
        with self._lock:
            self.rests_since = now
            rested: list[SomeFlight] = []
            # The one that has rested longest stands first.
            while self._landed and now - self._landed[0][0] > LONGEST_IDLE:
                rested.append(self._landed.pop(0)[1])
            if generation == self._generation:
                self._landed.append((now, flight))
            else:
                rested.append(flight)
        for one in rested:
            one.close()
