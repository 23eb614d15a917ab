"""The connections of one flight that speak HTTP/1.1: libcurl makes each, requests and answers pass here.

libcurl takes some 25 µs of CPU for a request over a connection that stands, whatever calls it, and ten times
as many steps as the few that HTTP/1.1 needs: to send the bytes, wait, and read an answer. All that has to do
with reaching the other side and trusting it stays with libcurl and the guard. Over a connection goes one
request at a time, and the next one only when the answer before it was whole.
"""

import math
import select
from collections.abc import Mapping
from time import monotonic
from typing import Any

import pycurl

from worker.model.errors import ConnectionLost, KeptConnectionLost, TransportError
from worker.transports.curl.answer import AnswerReader, CurlResponse, NotHttp, small_answer
from worker.transports.curl.connections import Renewing
from worker.transports.curl.faults import connection_lost, no_answer, no_answer_in_time, not_final
from worker.transports.curl.route import Route
from worker.transports.curl.wire import Wire, WrittenRequest
from worker.transports.unsent import drop_unsent

_FIRST_FINAL = 200  # of the statuses (RFC 9110, section 15)
#: What ends a connection shows as something to read.
_READS = select.POLLIN | getattr(select, "POLLRDHUP", 0)
_BOTH = _READS | select.POLLOUT

_NONE: Mapping[int, int] = {}

Outcome = CurlResponse | TransportError


class Http1Connection:
    """One connection, at rest or with one request under way."""

    _small_answer = staticmethod(small_answer)

    __slots__ = ("_is_used", "_reader", "_route", "_unsent", "is_trusted", "renewing", "request", "wire")

    def __init__(self, route: Route, wire: Wire, renewing: Renewing) -> None:
        """Take a connection that stands."""
        self._route = route
        self.wire = wire
        self.renewing = renewing
        self.request: WrittenRequest | None = None
        #: Whether it may carry another request behind this one.
        self.is_trusted = True
        self._is_used = False
        self._unsent: memoryview | None = None
        self._reader: AnswerReader | None = None

    def load(self, request: WrittenRequest) -> None:
        """Take the request that goes next."""
        self.request = request
        self._reader = None

    def begin(self) -> bool:
        """Send the request; return whether all of it went out at once."""
        request = self.request
        assert request is not None  # noqa: S101 - it was loaded
        try:
            sent = self.wire.send(request.payload)
        except BlockingIOError:
            sent = 0
        except (OSError, pycurl.error):
            # What it still has to say, an answer perhaps, is read before its end.
            self.is_trusted = False
            return True
        if sent == len(request.payload):
            return True
        self._unsent = memoryview(request.payload)[sent:]
        return False

    def send_more(self) -> bool:
        """Send what is left; return whether that was all of it."""
        while self._unsent:
            try:
                self._unsent = self._unsent[self.wire.send(self._unsent) :]
            except BlockingIOError:
                return False
            except (OSError, pycurl.error):
                self.is_trusted = False
                break
        self._unsent = None
        return True

    def hear(self) -> Outcome | None:
        """Read what has come; return what that makes of the request, or None while more is to come."""
        try:
            received = self.wire.receive()
        except BlockingIOError:
            return None
        except OSError as error:
            return self._lost(error.errno or 0, "")
        except pycurl.error as error:
            return self._lost(0, str(error.args[-1]))
        if (
            self._reader is None
            and self._unsent is None
            and (answer := self._small_answer(received)) is not None
        ):
            self._is_used = True
            return answer
        return self._read(received)

    @property
    def sent(self) -> int:
        """How many bytes of the request were handed over to our own system."""
        size = len(self.request.payload) if self.request is not None else 0
        return size - len(self._unsent or b"")

    def expire(self) -> Outcome:
        """End the request, whose time is over: a peer that has not taken all of it gets no more of it."""
        assert self.request is not None  # noqa: S101 - its time is over
        self.is_trusted = False
        drop_unsent(self.wire.descriptor)
        peer, seconds = self._route.peer, self.request.seconds
        return no_answer_in_time(peer, seconds, is_sent=self._unsent is None, was_kept=self._is_used)

    def _read(self, received: bytes) -> Outcome | None:
        reader = self._reader = self._reader or AnswerReader()
        if not received and not reader.end():
            return self._lost(0, "")
        try:
            reader.feed(received)
        except NotHttp:
            self.is_trusted = False
            if reader.head is not None:
                return connection_lost(self._route.peer, 0, "", has_begun=True)
            return self._explained(no_answer(self._route.peer))
        if not reader.is_over:
            return None
        self.is_trusted &= reader.keeps and self._unsent is None
        self._is_used = True
        answer = self._answer(reader)
        if answer.status >= _FIRST_FINAL:
            return answer
        self.is_trusted = False
        return not_final(self._route.peer, answer.status)

    def _answer(self, reader: AnswerReader) -> CurlResponse:
        """Return the answer, which is over."""
        return reader.answer()

    def _lost(self, number: int, words: str) -> TransportError:
        self.is_trusted = False
        reader = self._reader
        is_silent = reader is None or not reader.has_begun
        has_head = reader is not None and reader.head is not None
        fault = connection_lost(self._route.peer, number, words, has_begun=has_head)
        if self._is_used and is_silent and type(fault) is ConnectionLost:
            # RFC 9112, section 9.3.1: the other side may have ended it before the request came.
            return KeptConnectionLost(str(fault))
        return self._explained(fault) if is_silent else fault

    def _explained(self, fault: TransportError) -> TransportError:
        """Find out whether TLS is why a new connection ended without a word."""
        tls, request = self._route.tls, self.request
        if tls is None or self._is_used or request is None:
            return fault
        return tls.refusal(max(0.0, request.due - monotonic())) or fault


class Http1Connections:
    """Those of one flight. Belongs to one thread at a time."""

    def __init__(self) -> None:
        """Begin with none."""
        self._poll = select.poll()
        self._all: dict[int, Http1Connection] = {}
        self._resting: list[Http1Connection] = []
        #: Those whose request goes out next.
        self._loaded: list[Http1Connection] = []
        self._next_due = math.inf

    @property
    def count(self) -> int:
        """How many there are, at rest or not."""
        return len(self._all)

    @property
    def under_way(self) -> int:
        """How many have a request under way."""
        return len(self._all) - len(self._resting)

    def add(self, connection: Http1Connection) -> None:
        """Take one more, over which a request is about to go."""
        self._all[connection.wire.descriptor] = connection
        self._poll.register(connection.wire.descriptor, _READS)

    def take(self) -> Http1Connection | None:
        """Return the one that came to rest last, or None; it counts as under way."""
        return self._resting.pop() if self._resting else None

    def busy(self) -> Http1Connection | None:
        """Return one that has a request under way, or None."""
        return next((one for one in self._all.values() if one.request is not None), None)

    def start(self, connection: Http1Connection, request: WrittenRequest) -> None:
        """Have the request sent by the next `look`, over a connection that was taken or added."""
        connection.load(request)
        self._loaded.append(connection)
        self._next_due = min(self._next_due, request.due)

    def look(self, seconds: float, others: Mapping[int, int] = _NONE) -> list[tuple[Any, Outcome]]:
        """Send what was started, wait up to so long, and return the requests that have landed, by their keys.

        `others` are descriptors, with the events that end the wait as well.
        """
        if self._loaded:
            self._begin()
        for descriptor, events in others.items():
            self._poll.register(descriptor, events)
        due = self._next_due - monotonic()
        happened = self._poll.poll(max(0, math.ceil(min(seconds, due) * 1000)))
        for descriptor in others:
            self._poll.unregister(descriptor)
        landed: list[tuple[Any, Outcome]] = []
        for descriptor, events in happened:
            connection = self._all.get(descriptor)
            if connection is not None:
                self._go_on(connection, events, landed)
        if due <= 0.0 or (not happened and monotonic() >= self._next_due):
            self._expire(landed)
        return landed

    def _begin(self) -> None:
        loaded, self._loaded = self._loaded, []
        for connection in loaded:
            if not connection.begin():
                self._poll.modify(connection.wire.descriptor, _BOTH)

    def look_again(self) -> None:
        """Look at the lifetime of each when it is used next, and drop those that have ended meanwhile."""
        for connection in self._resting:
            connection.renewing.next_look = 0.0
        if self._resting and self._poll.poll(0):
            self.look(0.0)

    def distrust(self) -> None:
        """Let no further request go over those that there are; what is under way is heard."""
        self.close_resting()
        for connection in self._all.values():
            connection.is_trusted = False

    def drop(self, connection: Http1Connection) -> None:
        """Close one that was taken, or has a request under way."""
        descriptor = connection.wire.descriptor
        self._poll.unregister(descriptor)
        del self._all[descriptor]
        connection.wire.close()

    def close_resting(self, most: int | None = None) -> None:
        """Close those that rest, the longest rest first, or so many of them."""
        closing = self._resting[:most]
        del self._resting[:most]
        for connection in closing:
            self.drop(connection)

    def abandon(self) -> None:
        """Close those that have a request under way."""
        self._loaded.clear()
        resting = set(map(id, self._resting))
        for connection in [one for one in self._all.values() if id(one) not in resting]:
            self.drop(connection)
        self._next_due = math.inf

    def _go_on(self, connection: Http1Connection, events: int, landed: list[tuple[Any, Outcome]]) -> None:
        request = connection.request
        if request is None:
            # It has ended, or answers what was not asked.
            self._resting.remove(connection)
            self.drop(connection)
            return
        if events & select.POLLOUT and connection.send_more():
            self._poll.modify(connection.wire.descriptor, _READS)
        if events & ~select.POLLOUT and (outcome := connection.hear()) is not None:
            landed.append((request.key, outcome))
            self._end(connection)

    def _end(self, connection: Http1Connection) -> None:
        connection.request = None
        if connection.is_trusted:
            self._resting.append(connection)
        else:
            self.drop(connection)

    def _expire(self, landed: list[tuple[Any, Outcome]]) -> None:
        now, self._next_due = monotonic(), math.inf
        for connection in tuple(self._all.values()):
            request = connection.request
            if request is None:
                continue
            if request.due > now:
                self._next_due = min(self._next_due, request.due)
            else:
                landed.append((request.key, connection.expire()))
                self._end(connection)
