"""One request after the other over connections of HTTP/1.1 that libcurl makes, with the head of each answer.

The caller's deadline decides when a request is over: it may wait for a slow peer.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import pycurl

from worker.model.errors import DeadlinePassed, TransportError
from worker.transports.budget import BUDGET
from worker.transports.curl.answer import SMALL, AnswerReader, CurlResponse, Fields, small_whole
from worker.transports.curl.endings import Ending
from worker.transports.curl.http1 import Http1Connection, Outcome
from worker.transports.curl.many import Dial, ManyFlight
from worker.transports.curl.wire import WrittenRequest
from worker.transports.deadline import Deadline

_FIRST_FINAL = 200  # of the statuses (RFC 9110, section 15)


@dataclass(frozen=True, slots=True)
class HeadedResponse(CurlResponse):
    """An answer with the fields of its head, and what broke its body off, if anything did."""

    fields: Fields = ()
    cut: TransportError | None = None


@lru_cache(maxsize=256)
def _small_headed(received: bytes) -> HeadedResponse | None:
    found = small_whole(received)
    return found and HeadedResponse(found[0].status, found[1], None, found[0].fields)


def small_headed(received: bytes) -> HeadedResponse | None:
    """Return the same as `small_answer`, with the fields of its head."""
    return _small_headed(received) if len(received) <= SMALL else None


class HeadedConnection(Http1Connection):
    """Keeps the head of an answer, and what came of a body that broke off."""

    __slots__ = ("ip",)

    #: Where it leads to.
    ip: str

    _small_answer = staticmethod(small_headed)

    def hear(self) -> Outcome | None:
        """Read what has come; return what that makes of the request, or None while more is to come."""
        outcome = super().hear()
        return self._cut(outcome) if isinstance(outcome, TransportError) else outcome

    def expire(self) -> Outcome:
        """End the request, whose time is over."""
        outcome = super().expire()
        return self._cut(outcome) if isinstance(outcome, TransportError) else outcome

    def _answer(self, reader: AnswerReader) -> CurlResponse:
        plain = reader.answer()
        fields = reader.head.fields if reader.head is not None else ()
        return HeadedResponse(plain.status, plain.body, plain.retry_after, fields)

    def _cut(self, fault: TransportError) -> Outcome:
        """Return the answer as far as it came, if any of its body did."""
        reader = self._reader
        if reader is None or reader.head is None or not reader.body or reader.head.status < _FIRST_FINAL:
            return fault
        return HeadedResponse(reader.head.status, reader.body, None, reader.head.fields, fault)


class Line(ManyFlight):
    """One request after the other, over one connection at a time."""

    make_connection: ClassVar[type[Http1Connection]] = HeadedConnection
    _stays = False

    def stay(self) -> None:
        """Send all requests to the address that the next one goes to, while it answers, until abandoned."""
        self._stays = True

    def abandon(self) -> None:
        """Break off what is still in flight, and stay with no address."""
        super().abandon()
        self._stays = self._kept.all_stay = False
        self._address = ""

    def post(self, head: bytes, body: bytes, seconds: float) -> None:
        """Start a request: request line and headers, without the empty line behind them, and the body.

        A connection is made within so many seconds; when else its time is over, `goes_on` says.
        """
        if self._no_way is not None:
            self._grounded.append((None, self._no_way))
            return
        if not self._is_http1:
            self._change_over()
        payload = b"".join((head, b"Content-Length: %d\r\n\r\n" % len(body), body))
        self._send(WrittenRequest(None, payload, math.inf, seconds), seconds, dials=False)

    def goes_on(self, deadline: Deadline) -> bool:
        """Whether the deadline leaves the request under way more time; see `Deadline.goes_on`."""
        connection = self._http1.busy()
        if connection is not None and deadline.is_patient:
            return deadline.has_handed_over(connection.sent, connection.wire.descriptor)
        return deadline.remaining() > 0

    def break_off(self) -> CurlResponse | TransportError:
        """End the request under way, whose time is over, and return what is known of it.

        A peer that has not taken all of it gets no more, so that it cannot take it late.
        """
        if (connection := self._http1.busy()) is not None:
            outcome = connection.expire()
            self._http1.drop(connection)
            self._retire(self._multi)
            return outcome
        if not self._flying:
            return BUDGET.refusal(f"a connection to {self._route.peer}")  # it waits for a place
        (exchange, multi), *_ = self._flying.values()
        exchange.look_whether_reached()
        fault = self._failed(exchange, Ending.FAILED, (pycurl.E_OPERATION_TIMEDOUT, ""), multi)
        self._take_off(exchange.easy)
        return fault

    def _heard(self, landed: list[Any]) -> list[Any]:
        for _, outcome in landed:
            if isinstance(outcome, HeadedResponse) and isinstance(outcome.cut, DeadlinePassed):
                self._retire(self._multi)
        return super()._heard(landed)

    def _fit(self, seconds: float, now: float) -> Http1Connection | None:
        connection = self._http1.take() if self._address else super()._fit(seconds, now)
        if isinstance(connection, HeadedConnection):
            self._stay_at(connection.ip)
        return connection

    def _connection(self, dial: Dial, multi: Any) -> Http1Connection:
        connection = super()._connection(dial, multi)
        if isinstance(connection, HeadedConnection) and dial.ends is not None:
            connection.ip = dial.ends[0]
            self._stay_at(connection.ip)
        return connection

    def _stay_at(self, ip: str) -> None:
        if self._stays:
            self._address = ip
            self._kept.all_stay = True
