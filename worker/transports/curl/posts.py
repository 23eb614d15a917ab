"""HTTP/1.1 by libcurl, one request after the other: a URL, headers and a body come in, the reply goes out.

Each request is one attempt with one deadline, which may wait for a slow peer. Each thread has a connection of
its own, and with it the name is followed from request to request, or, in `pinned`, one address kept.
"""

import contextlib
import functools
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar
from urllib.parse import urlsplit

import pycurl
from requests.structures import CaseInsensitiveDict

from worker.integrations import TlsOptions
from worker.model.errors import TransportError
from worker.transports.budget import BUDGET
from worker.transports.curl.answer import CurlResponse
from worker.transports.curl.client import LEFT_OUT, request_options
from worker.transports.curl.endings import Ending
from worker.transports.curl.exchange import Exchange
from worker.transports.curl.flight import Flight
from worker.transports.curl.pool import FlightPool
from worker.transports.curl.route import Dialect, Route
from worker.transports.deadline import Deadline
from worker.transports.guard import Guard
from worker.transports.http import OWN_HEADERS, HttpReply, check_header, host_header, request_target
from worker.transports.http_response import decoded
from worker.transports.probe import TlsInquiry
from worker.transports.unsent import drop_unsent

#: As before HTTP/2 was known: what asks for it is a proxy at most, and requests go one by one.
_SPOKEN = [(pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1), (pycurl.SSL_ENABLE_ALPN, 0)]
#: Past the deadline, what has come by then is read, in so many turns: a peer that drips gains nothing.
_LATE_TURNS = 3


@dataclass(frozen=True, slots=True)
class HeadedResponse(CurlResponse):
    """An answer with the lines of its head, and what broke its body off, if anything did."""

    lines: tuple[bytes, ...] = ()
    cut: TransportError | None = None


class HeadedExchange(Exchange):
    """Keeps the head of an answer, and what came of a body that broke off."""

    def __init__(self, *args: object) -> None:
        """Make the handle, as `Exchange` does."""
        self._lines: list[bytes] = []
        super().__init__(*args)  # type: ignore[arg-type]  # passed on as they are
        self.easy.setopt(pycurl.HEADERFUNCTION, self._lines.append)

    def answer(self) -> HeadedResponse:
        """Return what came back."""
        plain = super().answer()
        return HeadedResponse(plain.status, plain.body, plain.retry_after, tuple(self._lines))

    def cut_answer(self, fault: TransportError) -> HeadedResponse | None:
        """Return the answer as far as it came, if any of its body did."""
        if not self._received:
            return None
        status = self.easy.getinfo(pycurl.RESPONSE_CODE)
        return HeadedResponse(status, bytes(self._body), None, tuple(self._lines), fault)

    def _arm(self, seconds: float) -> None:
        self._lines.clear()
        super()._arm(seconds)


class Line(Flight):
    """One request after the other, over one connection at a time."""

    make_exchange: ClassVar[type[Exchange]] = HeadedExchange
    _stays = False

    def stay(self) -> None:
        """Send all requests to the address that the next one goes to, while it answers, until abandoned."""
        self._stays = True

    def abandon(self) -> None:
        """Break off what is still in flight, and stay with no address."""
        super().abandon()
        self._stays = self._kept.all_stay = False
        self._address = ""

    def goes_on(self, deadline: Deadline) -> bool:
        """Whether the deadline leaves the request under way more time; see `Deadline.goes_on`."""
        for exchange, _ in self._flying.values():
            descriptor = self._kept.descriptor(exchange.ends)
            if deadline.is_patient and descriptor is not None:
                return deadline.has_handed_over(exchange.uploaded, descriptor)
        return deadline.remaining() > 0

    def break_off(self) -> CurlResponse | TransportError:
        """End the request under way, whose time is over, and return what is known of it.

        A peer that has not taken all of it gets no more, so that it cannot take it late.
        """
        if not self._flying:
            return BUDGET.refusal(f"a connection to {self._route.peer}")  # it waits for a place
        (exchange, multi), *_ = self._flying.values()
        exchange.look_whether_reached()
        outcome = self._failed(exchange, Ending.FAILED, (pycurl.E_OPERATION_TIMEDOUT, ""), multi)
        if (descriptor := self._kept.descriptor(exchange.ends)) is not None:
            drop_unsent(descriptor)
        self._take_off(exchange.easy)
        return outcome

    def _take_off(self, easy: Any) -> Exchange:
        exchange = super()._take_off(easy)
        if self._stays and exchange.ends is not None:
            self._address = exchange.ends[0]
            self._kept.all_stay = True
        return exchange


@dataclass(frozen=True, slots=True)
class _Target:
    """Where a URL leads: the URL as libcurl wants it, the Host header, and the flights to its origin."""

    url: str
    host: str
    peer: str
    pool: FlightPool[Line]


class _Thread(threading.local):
    #: The flights that the running thread keeps, and what gives them back; None outside of `pinned`.
    flights: dict[FlightPool[Line], Line] | None = None
    stack: contextlib.ExitStack


@dataclass(slots=True)
class _Known:
    """The last headers that were sent, and the same as lines: most requests have those of the one before."""

    headers: Mapping[str, str] = field(default_factory=dict)
    lines: tuple[str, ...] = ()


class CurlTransport:
    """Posts with one set of TLS options; shared by all threads of a process."""

    def __init__(self, guard: Guard, tls: TlsOptions) -> None:
        """Dial nothing yet; the PEMs, too, are read when the first https URL asks for them."""
        self._guard = guard
        self._tls = tls
        self._pools: dict[tuple[str, int, bool], FlightPool[Line]] = {}
        self._lock = threading.Lock()
        self._thread = _Thread()
        self._known = _Known()
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
        lines = self._lines_of(headers, target.host)
        deadline = Deadline(seconds, target.peer, patience=patience)
        if not deadline.remaining():
            deadline.passed("take the whole {cargo}")
        with self._flight(target.pool, deadline.remaining()) as flight:
            limit = seconds if patience is None else min(seconds, patience)
            flight.start(None, lines, body, limit, url=target.url)
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

    @contextlib.contextmanager
    def _flight(self, pool: FlightPool[Line], seconds: float) -> Iterator[Line]:
        kept = self._thread.flights
        if kept is None:
            with pool.flight(seconds) as flight:
                yield flight
        elif (held := kept.get(pool)) is not None:
            held.look_up(seconds)
            yield held
        else:
            kept[pool] = flight = self._thread.stack.enter_context(pool.flight(seconds))
            flight.stay()
            yield flight

    def _lines_of(self, headers: Mapping[str, str], host: str) -> tuple[str, ...]:
        known = self._known
        wanted = {**headers, "Host": host}
        if known.headers == wanted:
            return known.lines
        for name, value in headers.items():
            check_header(name, value)
        own = CaseInsensitiveDict({**OWN_HEADERS, "Host": host})
        own.update(headers)
        lines = (*(f"{name}: {value}" for name, value in own.items()), *LEFT_OUT)
        self._known = _Known(wanted, lines)
        return lines

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
        given = next(value for option, value in options if option == pycurl.URL)
        return _Target(given, host_header(target), peer, pool)


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
    headers = _final_head(answer.lines)
    body = decoded(answer.body, ", ".join(headers.get("content-encoding", ())))
    first = CaseInsensitiveDict({name: values[0] for name, values in headers.items()})
    return HttpReply(answer.status, first, body, headers.get("set-cookie", ()), answer.cut)


def _final_head(lines: tuple[bytes, ...]) -> dict[str, list[str]]:
    """Return the values of each header of the final answer, by its name in lower case."""
    found: dict[str, list[str]] = {}
    for line in lines:
        if line.startswith(b"HTTP/"):
            found.clear()
        name, colon, value = line.decode("latin-1").partition(":")
        if colon:
            found.setdefault(name.strip().lower(), []).append(value.strip(" \t\r\n"))
    return found
