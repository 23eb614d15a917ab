"""Many requests in flight from one thread: libcurl's multi interface with the connections that it keeps."""

import time
from collections.abc import Sequence
from typing import Any

import pycurl

from worker.model.errors import TransportError
from worker.transports.curl_exchange import Answer, Exchange, Route
from worker.transports.curl_faults import curl_fault, no_final_answer
from worker.transports.curl_kept import KeptConnections
from worker.transports.guard import Guard

#: The key that a request was started with, and what has become of it.
Landed = tuple[Any, Answer | TransportError]

#: How long to wait, in seconds, before looking again at what `select` cannot see.
_LOOK_AGAIN = 0.005
_FIRST_FINAL = 200  # of the statuses (RFC 9110, section 15)


class Flight:
    """Requests to one route, at most `connections` of them in flight. Belongs to one thread at a time."""

    def __init__(self, route: Route, guard: Guard, connections: int) -> None:
        """Connect when the first request is started."""
        self._route = route
        self._guard = guard
        self._connections = connections
        self._multi = pycurl.CurlMulti()
        self._multi.setopt(pycurl.M_MAXCONNECTS, connections)
        self._idle: list[Exchange] = []
        self._flying: dict[Any, Exchange] = {}
        self._grounded: list[Landed] = []
        self._no_way: TransportError | None = None
        self._kept = KeptConnections()
        self._known_address = ""
        self._new_address = ""

    @property
    def has_room(self) -> bool:
        """Whether another request may be started now; the very first goes alone, to see what is spoken."""
        if self._route.dialect.is_shared is None:
            return self.is_empty
        return len(self._flying) + len(self._grounded) < self._connections

    @property
    def is_empty(self) -> bool:
        """Whether every request that was started has landed."""
        return not self._flying and not self._grounded

    def lead_to(self, found: Sequence[str] | TransportError) -> None:
        """Take the addresses that the name has now, or what keeps requests from being started at all."""
        self._no_way = found if isinstance(found, TransportError) else None
        host = self._route.host
        if not isinstance(found, TransportError) and ":" not in host:
            addresses = ",".join(f"[{ip}]" if ":" in ip else ip for ip in found)
            self._new_address = f"{host}:{self._route.port}:{addresses}"

    def start(self, key: Any, headers: Sequence[str], body: bytes, seconds: float) -> None:
        """Start a request, which lands within so many seconds, by a key of the caller's choice."""
        if self._no_way is not None:
            self._grounded.append((key, self._no_way))
            return
        exchange = self._idle.pop() if self._idle else Exchange(self._route, self._guard, self._kept)
        exchange.load(key, headers, body, seconds)
        if self._new_address != self._known_address:
            exchange.easy.setopt(pycurl.RESOLVE, [self._new_address])
            self._known_address = self._new_address
        self._put_on(exchange)

    def landed(self, seconds: float) -> list[Landed]:
        """Return the requests that have landed; wait for the first of them, but not longer than that.

        May return nothing before the time is over.
        """
        if self._grounded:
            grounded, self._grounded = self._grounded, []
            return grounded
        self._multi.perform()
        landed = self._collect()
        if not landed and self._flying:
            self._wait(seconds)
        return landed

    def abandon(self) -> None:
        """Break off what is still in flight."""
        for exchange in self._flying.values():
            self._multi.remove_handle(exchange.easy)
            exchange.close()
        self._flying.clear()
        self._grounded.clear()
        self._known_address = ""

    def close(self) -> None:
        """Close every connection."""
        self.abandon()
        for exchange in self._idle:
            exchange.close()
        self._idle.clear()
        self._multi.close()

    def _collect(self) -> list[Landed]:
        landed: list[Landed] = []
        queued = 1
        while queued:
            queued, done, failed = self._multi.info_read()
            for easy in done:
                exchange = self._take_off(easy)
                landed.append((exchange.key, _answer(exchange)))
                self._idle.append(exchange)
            for easy, code, words in failed:
                exchange = self._take_off(easy)
                if code == pycurl.E_ABORTED_BY_CALLBACK and exchange.may_go_again():
                    self._put_on(exchange)  # nothing was sent: the connection was dead
                    continue
                landed.append((exchange.key, _outcome(exchange, code, words)))
                self._idle.append(exchange)
        return landed

    def _put_on(self, exchange: Exchange) -> None:
        self._multi.add_handle(exchange.easy)
        self._flying[exchange.easy] = exchange

    def _take_off(self, easy: Any) -> Exchange:
        self._multi.remove_handle(easy)
        return self._flying.pop(easy)

    def _wait(self, seconds: float) -> None:
        due: int = self._multi.timeout()
        limit = seconds if due < 0 else min(seconds, due / 1000)
        if limit <= 0:
            return
        # Without a descriptor to look at, `select` returns at once.
        if self._kept.some_are_unseen or not self._multi.select(limit):
            time.sleep(min(limit, _LOOK_AGAIN))


def _answer(exchange: Exchange) -> Answer | TransportError:
    answer = exchange.answer()
    return answer if answer.status >= _FIRST_FINAL else no_final_answer(exchange, answer.status)


def _outcome(exchange: Exchange, code: int, words: str) -> Answer | TransportError:
    if code == pycurl.E_WRITE_ERROR and exchange.was_cut:
        return _answer(exchange)
    return curl_fault(exchange, code, words)
