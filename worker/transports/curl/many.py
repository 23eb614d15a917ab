"""Many requests in flight from one thread, over HTTP/2 or HTTP/1.1, whichever the other side speaks.

What speaks HTTP/2 is libcurl's alone (`flight`). Where HTTP/1.1 is spoken, and that is known without TLS and
by the first answer with it, libcurl makes the connections, and what goes over them is in `http1`.
"""

import select
from collections.abc import Sequence
from functools import partial
from time import monotonic
from typing import Any, ClassVar

import pycurl

from worker.model.errors import ConnectFailed, DeadlinePassed, KeptConnectionLost
from worker.transports.budget import BUDGET
from worker.transports.curl.answer import CurlResponse
from worker.transports.curl.connections import KeptConnections, Renewing, note_certificate
from worker.transports.curl.exchange import Exchange
from worker.transports.curl.flight import Flight, Landed
from worker.transports.curl.http1 import Http1Connection, Http1Connections
from worker.transports.curl.route import Route
from worker.transports.curl.wire import PlainWire, TlsWire, WrittenRequest
from worker.transports.dialer import failure
from worker.transports.guard import Guard
from worker.transports.shortages import shortage

#: How long to wait, in seconds, before looking again at what `select` cannot see.
_LOOK_AGAIN = 0.005


class Dial(Exchange):
    """Makes a connection of HTTP/1.1, and sends nothing over it."""

    def __init__(self, route: Route, guard: Guard, kept: KeptConnections) -> None:
        """Make the handle, as `Exchange` does."""
        super().__init__(route, guard, kept)
        self.request: WrittenRequest | None = None
        self.easy.setopt(pycurl.CONNECT_ONLY, 1)
        self.easy.setopt(pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1)


class ManyFlight(Flight):
    """Requests to one route, at most `connections` of them in flight. Belongs to one thread at a time."""

    make_connection: ClassVar[type[Http1Connection]] = Http1Connection

    def __init__(self, route: Route, guard: Guard, connections: int) -> None:
        """Connect when the first request is started."""
        super().__init__(route, guard, connections)
        self._http1 = Http1Connections()
        self._dials: list[Dial] = []
        self._lifetime = partial(guard.lifetime, route.host, route.port)
        #: What has landed while libcurl was waited for.
        self._heard_waiting: list[Landed] = []
        #: Whether requests go over connections of HTTP/1.1 by now.
        self._is_http1 = False

    @property
    def has_room(self) -> bool:
        """Whether another request may be started now."""
        if not self._is_http1:
            return super().has_room
        under_way = self._http1.under_way + len(self._flying) + len(self._grounded)
        return under_way < self._connections and under_way < BUDGET.share and not self._kept_back

    @property
    def is_empty(self) -> bool:
        """Whether every request that was started has landed."""
        return not self._http1.under_way and super().is_empty

    def look_up(self, seconds: float) -> None:
        """As `Flight.look_up`; drops what has ended meanwhile."""
        self._http1.look_again()
        super().look_up(seconds)

    def start(
        self,
        key: Any,
        headers: Sequence[str],
        body: bytes,
        seconds: float,
        *,
        dials: bool = False,
    ) -> None:
        """As `Flight.start`."""
        if self._no_way is not None or self._route.dialect.is_shared is not False:
            super().start(key, headers, body, seconds, dials=dials)
            return
        if not self._is_http1:
            self._change_over()
        self._send(self._written(key, headers, body, seconds), seconds, dials=dials)

    def _written(self, key: Any, headers: Sequence[str], body: bytes, seconds: float) -> WrittenRequest:
        lines = "\r\n".join((*headers, f"Content-Length: {len(body)}", "", "")).encode("latin-1")
        payload = b"".join((self._route.head, lines, body))
        return WrittenRequest(key, payload, monotonic() + seconds, seconds)

    def _send(self, request: WrittenRequest, seconds: float, *, dials: bool) -> None:
        if not dials and (connection := self._fit(seconds, monotonic())) is not None:
            self._http1.start(connection, request)
        else:
            self._dial(request)

    def landed(self, seconds: float) -> list[Landed]:
        """Return the requests that have landed; wait up to so long for the first, or return none before."""
        if not self._flying and not self._grounded and self._http1.under_way:
            return self._heard(self._http1.look(seconds))
        landed = super().landed(seconds)
        heard, self._heard_waiting = self._heard_waiting, []
        if self._http1.under_way:
            heard += self._http1.look(0.0)
        return landed + self._heard(heard)

    def abandon(self) -> None:
        """Break off what is still in flight."""
        self._http1.abandon()
        self._heard_waiting.clear()
        super().abandon()

    def close(self) -> None:
        """Close every connection."""
        self._http1.abandon()
        self._http1.close_resting()
        super().close()
        for dial in self._dials:
            dial.close()
        self._dials.clear()

    def _change_over(self) -> None:
        """Leave the connection by which it was learned that HTTP/1.1 is spoken: it is libcurl's."""
        self._is_http1 = True
        if self._flying or self._answers:
            super()._retire(self._multi, is_doubtful=False)

    def _fit(self, seconds: float, now: float) -> Http1Connection | None:
        """Return a connection that may carry another request; None if there is none, or no way to any."""
        while self._no_way is None and (connection := self._http1.take()) is not None:
            if not connection.renewing.is_over(now):
                return connection
            self._http1.drop(connection)
            self.look_up(seconds)
        return None

    def _dial(self, request: WrittenRequest) -> None:
        if self._no_way is not None:
            self._grounded.append((request.key, self._no_way))
            return
        if self._http1.count >= self._connections:
            self._http1.close_resting(1)
        dial = self._dials.pop() if self._dials else Dial(self._route, self._guard, self._kept)
        dial.request = request
        dial.load(request.key, (), b"", max(0.001, min(request.due - monotonic(), request.seconds)))
        dial.seconds, dial.length = request.seconds, len(request.payload)
        self._put_on(dial)

    def _heard(self, landed: list[Landed]) -> list[Landed]:
        for _, outcome in landed:
            if isinstance(outcome, CurlResponse):
                self._answers += 1
            elif isinstance(outcome, KeptConnectionLost | DeadlinePassed):
                self._retire(self._multi)
            if self._kept_back:
                self._let_go_on()
        return landed

    @property
    def _is_busy(self) -> bool:
        return bool(self._flying) or self._http1.under_way > 0

    def _completed(self, easy: Any) -> list[Landed]:
        dial, multi = self._flying[easy]
        if not isinstance(dial, Dial):
            return super()._completed(easy)
        del self._flying[easy]
        request, dial.request = dial.request, None
        assert request is not None  # noqa: S101 - what it was dialled for
        try:
            connection = self._connection(dial, multi)
        except OSError as error:
            self._lay_by(dial)
            words = "; ".join(failure(error.errno or 0, address) for address in dial.tried)
            return [(request.key, shortage(error.errno or 0, words) or ConnectFailed(words))]
        self._http1.start(connection, request)
        return []

    def _connection(self, dial: Dial, multi: Any) -> Http1Connection:
        """Take over the connection that was made. Raises OSError where no descriptor is left for that."""
        assert dial.ends is not None  # noqa: S101 - libcurl says where it has connected to
        renewing = Renewing(self._lifetime(dial.ends[0]))
        if self._route.encrypts:
            note_certificate(dial.easy, self._guard)
            connection = self.make_connection(self._route, TlsWire(dial.easy, multi), renewing)
        else:
            connection = self.make_connection(self._route, PlainWire(dial.easy, multi), renewing)
            self._lay_by(dial)
        self._http1.add(connection)
        return connection

    def _lay_by(self, exchange: Exchange) -> None:
        if isinstance(exchange, Dial):
            self._dials.append(exchange)
        else:
            super()._lay_by(exchange)

    def _let_go_on(self) -> None:
        """Put on one that was kept back; over a connection that rests, if there is one."""
        waiting = self._kept_back[-1] if self._kept_back else None
        if not isinstance(waiting, Dial) or waiting.request is None or not waiting.seconds_left():
            super()._let_go_on()
        elif (connection := self._fit(waiting.seconds_left(), monotonic())) is not None:
            self._kept_back.pop()
            self._lay_by(waiting)
            self._http1.start(connection, waiting.request)
        else:
            super()._let_go_on()

    def _retire(self, multi: Any, *, is_doubtful: bool = True) -> None:
        if not self._is_http1:
            super()._retire(multi, is_doubtful=is_doubtful)
            return
        self._http1.distrust()
        self.has_retired |= is_doubtful

    def _wait(self, seconds: float) -> None:
        """Wait for what libcurl is about, which is to connect, and for answers."""
        if not self._http1.under_way:
            super()._wait(seconds)
            return
        due: int = self._multi.timeout()
        limit = seconds if due < 0 else min(seconds, due / 1000)
        others: dict[int, int] = {}
        if self._retired or self._kept.some_are_unseen:
            limit = min(limit, _LOOK_AGAIN)
        else:
            reads, writes, _ = self._multi.fdset()
            for descriptors, event in ((reads, select.POLLIN), (writes, select.POLLOUT)):
                for one in descriptors:
                    others[one] = others.get(one, 0) | event
        self._heard_waiting = self._http1.look(limit, others)
