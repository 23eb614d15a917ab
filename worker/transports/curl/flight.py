"""Many requests in flight from one thread: libcurl's multi interface with the connections that it keeps.

A request that was not processed goes again at once. Connections of which one has ended or hangs are
trusted no more: those that are in use carry what they have, and the next request dials.
"""

import contextlib
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

import pycurl

from worker.model.errors import (
    AddressRefused,
    ConnectTimedOut,
    DeadlinePassed,
    OutOfResources,
    TransportError,
)
from worker.transports.budget import BUDGET
from worker.transports.curl.answer import CurlResponse
from worker.transports.curl.connections import KeptConnections, close_multi, in_brackets, open_multi
from worker.transports.curl.endings import Ending, exchange_ending
from worker.transports.curl.exchange import Exchange
from worker.transports.curl.faults import answered, ended
from worker.transports.curl.route import Route
from worker.transports.guard import Guard
from worker.transports.resolver import LOOK_UP_TIMEOUT

#: The key that a request was started with, and what has become of it.
Landed = tuple[Any, CurlResponse | TransportError]

#: How long to wait, in seconds, before looking again at what `select` cannot see.
_LOOK_AGAIN = 0.005
#: A request that was turned away unprocessed so often in a row, with no answer to another one in between,
#: has failed.
MOST_REFUSALS = 5


class Flight:
    """Requests to one route, at most `connections` of them in flight. Belongs to one thread at a time."""

    def __init__(self, route: Route, guard: Guard, connections: int) -> None:
        """Connect when the first request is started."""
        self._route = route
        self._guard = guard
        self._connections = connections
        self._multi = open_multi(self._connections)
        #: Those whose connections are trusted no more, while requests are under way over them.
        self._retired: list[Any] = []
        self._idle: list[Exchange] = []
        self._flying: dict[Any, tuple[Exchange, Any]] = {}
        self._grounded: list[Landed] = []
        #: Those that wait until another one's connection is free: this process has no place for more.
        self._kept_back: list[Exchange] = []
        self._no_way: TransportError | None = None
        self._kept = KeptConnections(partial(guard.lifetime, route.host, route.port))
        self._known_address = ""
        self._new_address = ""
        #: The address that it stays with, or none.
        self._address = ""
        self._answers = 0
        #: Whether one has ended or hangs: connections of other flights to the place are as doubtful.
        self.has_retired = False

    @property
    def has_room(self) -> bool:
        """Whether another request may be started now; the very first goes alone, to see what is spoken."""
        if self._route.dialect.is_shared is None:
            return self.is_empty
        under_way = len(self._flying) + len(self._grounded)
        if self._route.dialect.is_shared:
            return under_way < self._connections
        return under_way < min(self._connections, BUDGET.share) and not self._kept_back

    @property
    def is_empty(self) -> bool:
        """Whether every request that was started has landed."""
        return not self._flying and not self._grounded and not self._kept_back

    def look_up(self, seconds: float) -> None:
        """Find where the name leads now, or what keeps requests from being started at all.

        Takes no longer than that. By our own guard: a resolver that hangs would stop libcurl.
        """
        route, timeout = self._route, min(seconds, LOOK_UP_TIMEOUT)
        self._kept.recheck_addresses()
        self._no_way = None
        try:
            found = self._guard.known_addresses(route.host, route.port, timeout)
        except TransportError as error:
            if self._address:
                return  # what was begun there is ended there
            self._no_way = error
            if isinstance(error, AddressRefused):
                self._retire(self._multi)  # whatever they lead to, it is no open address of the name
            return
        if self._address:
            found.sort(key=lambda one: one.ip != self._address)
        if ":" not in route.host:
            self._new_address = f"{route.host}:{route.port}:{in_brackets(found)}"

    def start(
        self,
        key: Any,
        headers: Sequence[str],
        body: bytes,
        seconds: float,
        *,
        dials: bool = False,
    ) -> None:
        """Start a request, which lands within so many seconds, by a key of the caller's choice.

        `dials` is as in `Exchange.load`.
        """
        if self._no_way is not None:
            self._grounded.append((key, self._no_way))
            return
        idle = self._idle
        exchange = idle.pop() if idle else Exchange(self._route, self._guard, self._kept)
        exchange.load(key, headers, body, seconds, dials=dials)
        self._put_on(exchange)

    def landed(self, seconds: float) -> list[Landed]:
        """Return the requests that have landed; wait up to so long for the first, or return none before."""
        if self._grounded:
            grounded, self._grounded = self._grounded, []
            return grounded
        landed: list[Landed] = []
        for multi in (self._multi, *self._retired):
            multi.perform()
            landed += self._collect(multi)
        if self._retired:
            self._close_retired()
        if not landed and self._flying:
            self._wait(seconds)
        return landed

    def abandon(self) -> None:
        """Break off what is still in flight."""
        for exchange, multi in self._flying.values():
            multi.remove_handle(exchange.easy)
            exchange.close()
        self._flying.clear()
        self._close_retired()
        self._grounded.clear()
        for exchange in self._kept_back:
            self._lay_by(exchange)
        self._kept_back.clear()
        self._known_address = ""

    def close(self) -> None:
        """Close every connection."""
        self.abandon()
        for exchange in self._idle:
            exchange.close()
        self._idle.clear()
        close_multi(self._multi)

    def _collect(self, multi: Any) -> list[Landed]:
        landed: list[Landed] = []
        queued = 1
        while queued:
            queued, done, failed = multi.info_read()
            for easy in done:
                landed += self._completed(easy)
            for easy, code, words in failed:
                exchange = self._take_off(easy)
                ending = exchange_ending(exchange, code, words)
                if not self._finds_place(exchange) and not self._goes_again(exchange, ending, multi):
                    landed.append((exchange.key, self._failed(exchange, ending, (code, words), multi)))
        for _ in landed if self._is_busy else self._kept_back[:1]:
            self._let_go_on()
        return landed

    @property
    def _is_busy(self) -> bool:
        return bool(self._flying)

    def _completed(self, easy: Any) -> list[Landed]:
        exchange = self._take_off(easy)
        return [(exchange.key, self._answered(exchange))]

    def _lay_by(self, exchange: Exchange) -> None:
        self._idle.append(exchange)

    def _finds_place(self, exchange: Exchange) -> bool:
        """Keep back a request for which this process has no connection, while others of this flight have."""
        if not exchange.lacks_place or exchange.tried:
            return False
        if self._is_busy:
            self._kept_back.append(exchange)
            return True
        with contextlib.suppress(OutOfResources):
            BUDGET.wait_for_place(exchange.seconds_left(), self._route.peer)
            if exchange.reload():
                self._put_on(exchange)
                return True
        return False

    def _let_go_on(self) -> None:
        """Put on one that was kept back, if there is one: a connection may be free now."""
        if not self._kept_back:
            return
        exchange = self._kept_back.pop()
        if exchange.reload():
            self._put_on(exchange)
        else:
            self._grounded.append((exchange.key, BUDGET.refusal(f"a connection to {self._route.peer}")))
            self._lay_by(exchange)

    def _goes_again(self, exchange: Exchange, ending: Ending, multi: Any) -> bool:
        """Send the request once more if it was not processed, and there is time."""
        if ending is Ending.NOT_SENT:
            # libcurl drops a dead connection by itself, but one that is shared it would offer for ever.
            if self._route.dialect.is_shared is not False:
                self._retire(multi, is_doubtful=not exchange.is_renewing)
            if exchange.is_renewing:
                self.look_up(exchange.seconds_left())
            if self._no_way is not None:
                return False
        elif ending is not Ending.NOT_PROCESSED or not self._has_hope(exchange):
            return False
        if goes := exchange.reload():
            self._put_on(exchange)
        return goes

    def _has_hope(self, exchange: Exchange) -> bool:
        moved = self._answers > exchange.answers_before
        exchange.refusals = 1 if moved else exchange.refusals + 1
        return exchange.refusals < MOST_REFUSALS

    def _answered(self, exchange: Exchange) -> CurlResponse | TransportError:
        self._answers += 1
        self._lay_by(exchange)
        return answered(exchange)

    def _failed(
        self, exchange: Exchange, ending: Ending, why: tuple[int, str], multi: Any
    ) -> CurlResponse | TransportError:
        code, words = why
        if ending is Ending.NOT_SENT and self._no_way is not None:
            self._lay_by(exchange)
            return self._no_way
        if code == pycurl.E_WRITE_ERROR and exchange.was_cut:
            return self._answered(exchange)
        fault = ended(exchange, ending, code, words)
        if isinstance(fault, ConnectTimedOut):
            # Not another address now: the time is over. But the next attempt begins with another one.
            for address in exchange.tried:
                self._guard.note_silent(address.ip, self._route.port)
        if ending is Ending.CUT_OFF or (isinstance(fault, DeadlinePassed) and exchange.ends is not None):
            self._retire(multi)
        self._lay_by(exchange)
        return fault

    def _retire(self, multi: Any, *, is_doubtful: bool = True) -> None:
        """Let no further request go over the connections of this one."""
        if multi is self._multi:
            self._retired.append(multi)
            self._multi = open_multi(self._connections)
            self._known_address = ""
            self.has_retired |= is_doubtful

    def _close_retired(self) -> None:
        busy = [multi for _, multi in self._flying.values()]
        for multi in self._retired:
            if multi not in busy:
                close_multi(multi)
        self._retired = [multi for multi in self._retired if multi in busy]

    def _put_on(self, exchange: Exchange) -> None:
        exchange.answers_before = self._answers
        if self._new_address != self._known_address:
            exchange.easy.setopt(pycurl.RESOLVE, [self._new_address])
            self._known_address = self._new_address
        self._multi.add_handle(exchange.easy)
        self._flying[exchange.easy] = (exchange, self._multi)

    def _take_off(self, easy: Any) -> Exchange:
        exchange, multi = self._flying.pop(easy)
        multi.remove_handle(easy)
        return exchange

    def _wait(self, seconds: float) -> None:
        due: int = self._multi.timeout()
        limit = seconds if due < 0 else min(seconds, due / 1000)
        if limit <= 0:
            return
        # Without a descriptor to look at, `select` returns at once.
        if self._retired or self._kept.some_are_unseen or not self._multi.select(limit):
            time.sleep(min(limit, _LOOK_AGAIN))
