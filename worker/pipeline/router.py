"""From the ingress stream into the backlogs of all integrations that want the event.

Any number of routers run side by side. What is not a valid event becomes a dead letter
(`worker.pipeline.judging`); it blocks nothing and never vanishes.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from worker.broker.backlog import Backlog
from worker.broker.ingress import EVENT_FIELD, Ingress, IngressEntry, RoutingResult
from worker.broker.ingress_ahead import IngressAhead
from worker.broker.snapshot import Snapshot, Subscription
from worker.broker.waking import Wakes
from worker.model.availability import Dependencies, run_forever
from worker.model.errors import BrokerUnavailable
from worker.model.orders import Issue
from worker.pipeline.judging import judged_events
from worker.pipeline.lookahead import RouteAhead
from worker.pipeline.sorting import Sorting
from worker.pipeline.traces import TracedEvents, trace_routing

if TYPE_CHECKING:
    from worker.tracing.spans import Tracing

log = logging.getLogger(__name__)

#: Entries of one read: large enough to spread the round trips, small enough to hand over in milliseconds.
READ_COUNT = 1000
#: Entries of the first read while much waits, and of one while they are large or take long.
FEWEST = 20
#: How long a read waits for the first event, in milliseconds; also how long a shutdown may take.
READ_BLOCK_MS = 500
#: Bytes that one read, and one transaction, should not exceed: Redis cuts off who sends a gigabyte, and
#: answers no other client meanwhile.
HEAVIEST = 16 << 20
#: Seconds that one step should take while more waits: what is urgent must have its turn between two.
LONGEST_STEP = 0.15
#: The ingress is behind if what waits there will take longer than this, in seconds.
BEHIND = 0.25

_UNREADABLE = (
    "what Redis holds of these integrations is damaged, and nothing is routed until a recorder has brought "
    "it back from the ledger: {}"
)
_NO_INTEGRATIONS = (
    "Redis does not say which integrations there are (it is new, or was emptied), and nothing is routed "
    "until a recorder has copied them"
)


class Router:
    """One router; runs in one thread."""

    def __init__(
        self,
        ingress: Ingress,
        backlog: Backlog,
        snapshot: Snapshot,
        issue: Issue,
        ahead: IngressAhead,
        tracing: "Tracing | None" = None,
    ) -> None:
        """Read from the ingress and ahead in it, append to the backlog, issue work orders.

        With `tracing` it tells workers which events are traced.
        """
        self._ingress = ingress
        self._backlog = backlog
        self._snapshot = snapshot
        self._issue = issue
        self._tracing = tracing
        self._route = partial(routing_results, traced=tracing is not None, shares=ingress.shares)
        self._ahead = RouteAhead(ahead, self._route, self._subscriptions, self._wake)
        #: None until the first read.
        self._read_count: int | None = None

    def run(self, stopping: threading.Event, dependencies: Dependencies | None = None) -> None:
        """Route until stopped; outlive any absence of Redis."""
        run_forever(self.step, stopping, dependencies or Dependencies(log), log)

    def step(self) -> int:
        """Route what waits, up to a thousand entries, and what must not wait behind the rest.

        Returns how many entries were read from the head of the ingress. Raises BrokerUnavailable.
        """
        asked = self._read_count or self._first_count()
        received = self._ingress.read(asked, READ_BLOCK_MS)
        began = time.monotonic()
        if received:
            try:
                # Read after the events: an integration made before an event was published is never missed.
                self._hand_over(received, self._subscriptions(self._ingress.version))
            except BaseException:
                self._ingress.read_again()
                raise
        seconds = time.monotonic() - began
        size = sum(len(entry.raw or b"") for entry in received)
        self._read_count = _suited(asked, size, seconds)
        if len(received) == asked and self._is_behind(seconds / asked):
            self._ahead.go_on(self._read_count)
        else:
            self._ahead.stop()
        return len(received)

    def _first_count(self) -> int:
        """Return how many to read first: few while much waits, of which the size is not known."""
        return FEWEST if self._ingress.waiting() > FEWEST else READ_COUNT

    def _is_behind(self, seconds_an_entry: float) -> bool:
        return self._ingress.waiting() * seconds_an_entry > BEHIND

    def _subscriptions(self, known: bytes | None = None) -> Mapping[str, Subscription]:
        """Return what every integration wants; `known` is the version. Raises BrokerUnavailable."""
        subscriptions = self._snapshot.subscriptions(known)
        if not self._snapshot.is_complete:
            # No integration seems to want anything: to route now would be to drop what was accepted.
            raise BrokerUnavailable(_NO_INTEGRATIONS)
        if self._snapshot.unreadable:
            # To route past it would be to lose its events.
            raise BrokerUnavailable(_UNREADABLE.format(", ".join(sorted(self._snapshot.unreadable))))
        return subscriptions

    def _hand_over(self, received: Sequence[IngressEntry], subscriptions: Mapping[str, Subscription]) -> None:
        for routing_result in self._route(received, subscriptions):
            wakes = self._backlog.wakes(routing_result.integration_ids())
            if not self._ingress.hand_over(routing_result, wakes):
                self._ingress.read_again()
                return
            self._issue_orders(wakes, routing_result, subscriptions)

    def _wake(self, routing_result: RoutingResult, subscriptions: Mapping[str, Subscription]) -> None:
        self._issue_orders(
            self._backlog.wakes(routing_result.integration_ids()), routing_result, subscriptions
        )

    def _issue_orders(
        self, wakes: Wakes, routing_result: RoutingResult, subscriptions: Mapping[str, Subscription]
    ) -> None:
        for order in wakes.orders():
            self._issue(order, subscriptions[order.integration_id].destination.type)
        if self._tracing is not None and routing_result.contexts:
            trace_routing(self._tracing, routing_result)


def _suited(asked: int, size: int, seconds: float) -> int:
    """Return how many to read next: fewer while they are large or take long, and more again afterwards."""
    if size > HEAVIEST:
        return max(FEWEST, asked // 4)
    if seconds > LONGEST_STEP and size:
        return max(FEWEST, asked // 2)
    if size < HEAVIEST // 4:
        return min(READ_COUNT, asked * 2)
    return asked


def routing_results(
    received: Sequence[IngressEntry],
    subscriptions: Mapping[str, Subscription],
    *,
    traced: bool = False,
    shares: Callable[[], bool] = lambda: False,
) -> Iterator[RoutingResult]:
    """Sort entries into results of which each is a transaction that Redis can swallow.

    `shares` says whether what several integrations want is sent once.
    """
    routing_result = route_entries(received, subscriptions, TracedEvents() if traced else None)
    if len(received) > 1 and _is_heavy(routing_result, shares):
        middle = len(received) // 2
        for part in (received[:middle], received[middle:]):
            yield from routing_results(part, subscriptions, traced=traced, shares=shares)
    else:
        yield routing_result


def _is_heavy(routing_result: RoutingResult, shares: Callable[[], bool]) -> bool:
    is_heavy = routing_result.weight() > HEAVIEST
    return is_heavy and not (shares() and routing_result.weight(share=True) <= HEAVIEST)


def route_entries(
    received: Sequence[IngressEntry],
    subscriptions: Mapping[str, Subscription],
    traces: TracedEvents | None = None,
) -> RoutingResult:
    """Sort entries into chunks by who wants them; pure, but that what is not valid is dead now.

    `traces`, if given, gathers which of them are traced.
    """
    routing_result = RoutingResult(done=[entry.entry_id for entry in received])
    sorting, dead = Sorting(subscriptions), routing_result.dead
    for entry in received:
        count, dead_before = 0, len(dead)
        for tenant_id, events in judged_events(entry, dead):
            count += len(events)
            routing_result.unwanted += sorting.add_all(tenant_id, events)
            if traces is not None:
                traces.add(events, entry.fields)
        if entry.form != EVENT_FIELD:
            count += sum(len(letter.events) for letter in dead[dead_before:])
            routing_result.joined += max(0, count - 1)
    routing_result.routed_chunks = sorting.routed_chunks()
    routing_result.volumes = sorting.volumes()
    if traces is not None:
        traces.write(routing_result)
    return routing_result
