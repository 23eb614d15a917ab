"""Requests to an endpoint over libcurl, one by one or many at once, as a sender makes them."""

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from worker.integrations import TlsOptions
from worker.model.errors import TransportError
from worker.transports.curl.answer import CurlResponse
from worker.transports.curl.client import ManyHttp
from worker.transports.curl.flight import Flight
from worker.transports.guard import Guard

PATIENCE = 30.0


@contextmanager
def posting(
    guard: Guard,
    url: str,
    options: TlsOptions | None = None,
    headers: Mapping[str, str] | None = None,
    connections: int = 8,
) -> Iterator[ManyHttp]:
    """Give a transport to the url, closed afterwards."""
    with contextlib.closing(
        ManyHttp(guard, options or TlsOptions(), url, headers or {}, connections=connections)
    ) as many:
        yield many


def post(many: ManyHttp, body: bytes = b"x", seconds: float = PATIENCE) -> CurlResponse:
    """Post one body in a flight of its own; raise what keeps it from being answered."""
    with many.flight(seconds) as flight:
        flight.start(None, (), body, seconds)
        [(_, outcome)] = land(flight)
    if isinstance(outcome, TransportError):
        raise outcome
    return outcome


def post_all(many: ManyHttp, bodies: Sequence[bytes]) -> dict[bytes, CurlResponse | TransportError]:
    """Post them all in one flight, as many at once as it has room for; return what came of each."""
    waiting = list(bodies)
    outcomes: dict[bytes, CurlResponse | TransportError] = {}
    with many.flight(PATIENCE) as flight:
        while waiting or not flight.is_empty:
            while waiting and flight.has_room:
                body = waiting.pop(0)
                flight.start(body, (), body, PATIENCE)
            outcomes |= dict(flight.landed(PATIENCE))
    return outcomes


def land(flight: Flight) -> list[tuple[object, CurlResponse | TransportError]]:
    """Wait until everything has landed."""
    landed: list[tuple[object, CurlResponse | TransportError]] = []
    deadline = time.monotonic() + 2 * PATIENCE
    while not flight.is_empty:
        assert time.monotonic() < deadline, "requests are still in flight after their own deadline"
        landed += flight.landed(PATIENCE)
    return landed
