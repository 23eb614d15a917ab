"""HTTP/1.1, one request after the other: a URL, headers and a body come in, the reply goes out.

Each request is one attempt with one deadline, which may wait for a slow peer. Each thread has a connection of
its own, and with it the name is followed from request to request, or, in `pinned`, one address kept.
"""

import contextlib
import functools
import threading
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import pycurl
from requests.structures import CaseInsensitiveDict

from worker.integrations import TlsOptions
from worker.model.errors import TransportError
from worker.transports.curl.answer import SMALL, CurlResponse
from worker.transports.curl.client import request_options
from worker.transports.curl.line import HeadedResponse, Line
from worker.transports.curl.pool import FlightPool
from worker.transports.curl.route import Dialect, Route
from worker.transports.deadline import Deadline
from worker.transports.guard import Guard
from worker.transports.http import HttpReply, request_head, request_target
from worker.transports.http_response import decoded
from worker.transports.probe import TlsInquiry

#: As before HTTP/2 was known: what asks for it is a proxy at most, and requests go one by one.
_SPOKEN = [(pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1), (pycurl.SSL_ENABLE_ALPN, 0)]
#: Past the deadline, what has come by then is read, in so many turns: a peer that drips gains nothing.
_LATE_TURNS = 3
#: How many heads of requests are kept for a URL: one for each thread, whose channel stands in it.
_MOST_HEADS = 64


@dataclass(frozen=True, slots=True)
class _Target:
    """Where a URL leads: the URL as it goes over the wire, and the flights to its origin."""

    url: str
    peer: str
    pool: FlightPool[Line]
    #: The heads that were sent there, by their headers: most requests have those again.
    known: dict[tuple[tuple[str, str], ...], bytes] = field(default_factory=dict)


class _Thread(threading.local):
    #: The flights that the running thread keeps, and what gives them back; None outside of `pinned`.
    flights: dict[FlightPool[Line], Line] | None = None
    stack: contextlib.ExitStack


class CurlTransport:
    """Posts with one set of TLS options; shared by all threads of a process."""

    def __init__(self, guard: Guard, tls: TlsOptions) -> None:
        """Dial nothing yet; the PEMs, too, are read when the first https URL asks for them."""
        self._guard = guard
        self._tls = tls
        self._pools: dict[tuple[str, int, bool], FlightPool[Line]] = {}
        self._lock = threading.Lock()
        self._thread = _Thread()
        self._target = functools.lru_cache(maxsize=64)(self._find_target)

    def post(
        self,
        url: str,
        headers: Mapping[str, str],
        body: bytes,
        seconds: float,
        patience: float | None = None,
    ) -> HttpReply:
        """Post the body. `seconds` is all the time there is, from the look-up of the name to the last byte.

        With `patience`, the other side may be silent for so many seconds only, but is waited for while it
        takes more of the body; a DeadlinePassed then has the `rate` at which it did.

        Raises a leaf of TransportError when there is no reply (KeptConnectionLost where a request over a new
        connection may get one), and InvalidIntegration when the URL, a header or a PEM cannot be used. No
        message repeats a header's value or the URL's path.
        """
        target = self._target(url)
        head = _head_of(target, headers)
        deadline = Deadline(seconds, target.peer, patience=patience)
        if not deadline.remaining():
            deadline.passed("take the whole {cargo}")
        with self._flight(target.pool, deadline.remaining()) as flight:
            limit = seconds if patience is None else min(seconds, patience)
            flight.post(head, body, limit)
            outcome = _landed(flight, deadline)
        if isinstance(outcome, TransportError):
            outcome.rate = deadline.rate
            raise outcome
        assert isinstance(outcome, HeadedResponse)  # noqa: S101 - what a HeadedExchange answers
        return _reply(outcome)

    @contextlib.contextmanager
    def pinned(self) -> Iterator[None]:
        """Let all requests of the running thread go to one address while it answers, over one connection.

        For what only the server knows that took an earlier request. A connection is not renewed meanwhile.
        """
        with contextlib.ExitStack() as stack:
            self._thread.flights, self._thread.stack = {}, stack
            try:
                yield
            finally:
                self._thread.flights = None

    def close(self) -> None:
        """Close the connections that are idle; those in use are closed after their reply."""
        for pool in tuple(self._pools.values()):
            pool.close()

    def _flight(self, pool: FlightPool[Line], seconds: float) -> AbstractContextManager[Line]:
        kept = self._thread.flights
        if kept is None:
            return pool.flight(seconds)
        if (flight := kept.get(pool)) is not None:
            flight.look_up(seconds)
        else:
            kept[pool] = flight = self._thread.stack.enter_context(pool.flight(seconds))
            flight.stay()
        return contextlib.nullcontext(flight)

    def _find_target(self, url: str) -> _Target:
        target, peer = request_target(url)
        options = [*request_options(target, self._tls), *_SPOKEN]
        parts = urlsplit(target)
        encrypts = parts.scheme == "https"
        host, port = parts.hostname or "", parts.port or (443 if encrypts else 80)
        route = Route(
            host=host,
            port=port,
            peer=peer,
            encrypts=encrypts,
            headers=(),
            options=options,
            dialect=Dialect(is_shared=False),
            tls=TlsInquiry(self._guard, self._tls, host, port) if encrypts else None,
            times_out=False,
        )
        with self._lock:
            key = host, port, encrypts
            pool = self._pools.get(key)
            if pool is None:
                pool = self._pools[key] = FlightPool(route, self._guard, 1, Line)
        return _Target(target, peer, pool)


def _head_of(target: _Target, headers: Mapping[str, str]) -> bytes:
    key = tuple(headers.items())
    head = target.known.get(key)
    if head is None:
        head = request_head("POST", target.url, headers, None).removesuffix(b"\r\n")
        if len(target.known) >= _MOST_HEADS:
            target.known.clear()
        target.known[key] = head
    return head


def _landed(flight: Line, deadline: Deadline) -> CurlResponse | TransportError:
    """Wait for the answer, as long as the deadline goes on; then for nothing more than what has come."""
    late = 0
    while True:
        if landed := flight.landed(0.0 if late else deadline.pause()):
            return landed[0][1]
        if late or not flight.goes_on(deadline):
            late += 1
            if late > _LATE_TURNS:
                return flight.break_off()


def _reply(answer: HeadedResponse) -> HttpReply:
    is_small = answer.cut is None and len(answer.body) <= SMALL
    return _known_reply(answer) if is_small else _made_reply(answer)


def _made_reply(answer: HeadedResponse) -> HttpReply:
    headers: dict[str, list[str]] = {}
    for name, value in answer.fields:
        headers.setdefault(name.decode("latin-1"), []).append(value.decode("latin-1"))
    body = decoded(answer.body, ", ".join(headers.get("content-encoding", ())))
    first = CaseInsensitiveDict({name: values[0] for name, values in headers.items()})
    return HttpReply(answer.status, first, body, headers.get("set-cookie", ()), answer.cut)


#: The same answer, but for the second in its date, comes to nearly every request.
_known_reply = functools.lru_cache(maxsize=256)(_made_reply)
