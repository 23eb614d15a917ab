"""Routing out of turn while the ingress is behind, so that no tenant waits behind the flood of another.

The ingress is one stream, read from its head: what stands behind a flood would wait until all of it is
routed. So one router at a time also reads on, from the head to the end and then after what is new, which
costs a twentieth of routing. It routes at once what belongs to small flows (`worker.broker.ingress_pass`)
and leaves the rest to those who read from the head, itself among them.
"""

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from itertools import islice

from worker.broker.ingress import IngressEntry, RoutingResult
from worker.broker.ingress_ahead import IngressAhead, NotLeader
from worker.broker.ingress_pass import IngressPass, ordinal
from worker.broker.snapshot import Subscription
from worker.model.log_events import INGRESS_CAUGHT_UP, INGRESS_FLOODED
from worker.model.untrusted_text import plain

log = logging.getLogger(__name__)

Subscriptions = Mapping[str, Subscription]

#: Entries of one read, and bytes of one that are enough: fewer are read while they are large.
_WINDOW, _HEAVY = 1000, 4 << 20
#: Seconds of reading before what was found is routed, and of routing before it is read on.
_READING, _ROUTING = 0.25, 0.2
#: Seconds after which the head of the stream must have its turn.
_LONGEST = 1.0
#: A new pass sees again what was left behind; it begins after so many seconds, and so many times what the
#: last one took to the end.
_NEXT_PASS, _NEXT_PASS_TIMES = 1.0, 5
#: Seconds between two notes of who floods the ingress.
_NOTE_EVERY = 1.0
#: A flood that lasts so many seconds is logged.
_LOGGED_AFTER = 5.0
#: So many tenants are named in the log.
_NAMED = 5
#: How often a hand-over is tried of which those who read from the head were given entries meanwhile.
_TRIES = 5


class RouteAhead:
    """One router's reading ahead. Of several routers that are behind, one does it."""

    def __init__(
        self,
        ingress: IngressAhead,
        route: Callable[[Sequence[IngressEntry], Subscriptions], Iterable[RoutingResult]],
        subscriptions: Callable[[], Subscriptions],
        wake: Callable[[RoutingResult, Subscriptions], None],
    ) -> None:
        """Route, and wake, as those who read from the head do."""
        self._ingress = ingress
        self._route = route
        self._subscriptions = subscriptions
        self._wake = wake
        self._pass: IngressPass | None = None
        self._turn = ""
        self._began = self._took = 0.0
        self._at_end = False
        self._window = _WINDOW // 10
        self._next_note = 0.0
        self._behind_since: float | None = None
        self._is_logged = False

    def go_on(self, most: int) -> None:
        """Route what belongs to small flows, `most` events at a time, to the end of the ingress.

        Takes little more than a second at the longest. Raises BrokerUnavailable.
        """
        until = time.monotonic() + _LONGEST
        try:
            while self._ingress.is_mine() and (current := self._current_pass()):
                self._read_on(current)
                self._route_found(current, most)
                self._note(current)
                if (self._at_end and not current.has_found()) or time.monotonic() > until:
                    return
        except NotLeader:
            pass
        except BaseException:
            # It is not known what was handed over.
            self._pass = None
            raise
        self._pass = None

    def stop(self) -> None:
        """Nothing is behind any more. Raises BrokerUnavailable."""
        if self._pass is not None:
            self._pass = None
            self._ingress.pass_on()
        self._behind_since = None
        if self._is_logged:
            self._is_logged = False
            INGRESS_CAUGHT_UP.log(log)

    def _note(self, current: IngressPass) -> None:
        """Write down now and then who floods the ingress; log it once, if it lasts."""
        now = time.monotonic()
        if now < self._next_note:
            return
        self._next_note = now + _NOTE_EVERY
        tenants = current.floods()
        self._ingress.note(tenants)
        self._behind_since = self._behind_since or now
        if tenants and not self._is_logged and now - self._behind_since >= _LOGGED_AFTER:
            self._is_logged = True
            named = plain(", ".join(tenants[:_NAMED]))
            more = f" and {len(tenants) - _NAMED} more" if len(tenants) > _NAMED else ""
            INGRESS_FLOODED.log(log, tenant=named + more)

    def _current_pass(self) -> IngressPass | None:
        """Return the pass to go on with, or a new one; None as long as no router has read anything.

        A pass does not outlive its turn: what it found, another router may have handed over since.
        """
        head = self._ingress.head()
        if head is None:
            return None
        if self._turn != self._ingress.turn:
            self._pass, self._turn = None, self._ingress.turn
        if self._pass is not None:
            self._pass.come_past(head)
        if self._pass is None or self._is_over(self._pass):
            self._pass = IngressPass(head)
            self._began, self._took, self._at_end = time.monotonic(), 0.0, False
        return self._pass

    def _is_over(self, current: IngressPass) -> bool:
        waits = max(_NEXT_PASS, _NEXT_PASS_TIMES * self._took)
        may_begin = self._at_end and time.monotonic() - self._began >= waits
        return current.is_crowded() or (may_begin and current.has_small_rest())

    def _read_on(self, current: IngressPass) -> None:
        """Read for a while, or to the end."""
        began = time.monotonic()
        first_time = not self._at_end
        self._at_end = False
        reads = self._ingress.after(current.cursor, lambda: self._window)
        with closing(reads):
            for entries in reads:
                self._suit_window_to(current.add(entries))
                if time.monotonic() - began > _READING:
                    break
            else:
                self._at_end = True
        if first_time:
            self._took += time.monotonic() - began

    def _suit_window_to(self, size: int) -> None:
        if size > _HEAVY:
            self._window = max(_WINDOW // 50, self._window // 4)
        elif size < _HEAVY // 4:
            self._window = min(_WINDOW, self._window * 2)

    def _route_found(self, current: IngressPass, most: int) -> None:
        """Route for a while what was found."""
        found = current.take()
        until = time.monotonic() + _ROUTING
        routed: set[bytes] = set()
        # Read after the events: an integration made before an event was published is never missed.
        subscriptions = self._subscriptions() if current.has_found() else {}
        while time.monotonic() < until and (batch := self._ingress.received(islice(found, most))):
            self._hand_over(batch, subscriptions)
            routed.update(entry.entry_id for entry in batch)
        current.finish(routed)

    def _hand_over(self, batch: Sequence[IngressEntry], subscriptions: Subscriptions) -> None:
        """Hand over those that no router was given meanwhile."""
        for _ in range(_TRIES):
            given, done = self._try(batch, subscriptions)
            if given is None:
                return
            head = ordinal(given)
            batch = [one for one in batch if one.entry_id not in done and ordinal(one.entry_id) > head]
        raise NotLeader

    def _try(
        self, batch: Sequence[IngressEntry], subscriptions: Subscriptions
    ) -> tuple[bytes | None, set[bytes]]:
        """Return None if all were handed over, else the id that stood in the way; and what was done."""
        done: set[bytes] = set()
        for routing_result in self._route(batch, subscriptions):
            given = self._ingress.hand_over(routing_result, min(routing_result.done, key=ordinal))
            if given is not None:
                return given, done
            self._wake(routing_result, subscriptions)
            done.update(routing_result.done)
        return None, done
