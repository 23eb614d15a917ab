"""From the ingress stream into the backlogs of all integrations that want the event.

Any number of routers run side by side. What is not a valid event becomes a dead letter
(`worker.pipeline.judging`); it blocks nothing and never vanishes.
"""

import logging
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from worker.broker.backlog import Backlog
from worker.broker.ingress import Ingress, IngressEntry, RoutingResult
from worker.broker.ingress_ahead import IngressAhead
from worker.broker.snapshot import Snapshot, Subscription
from worker.broker.volumes import PendingVolumes
from worker.broker.waking import Wakes
from worker.model.availability import Dependencies, run_forever
from worker.model.errors import BrokerUnavailable
from worker.model.orders import Issue
from worker.pipeline.lookahead import RouteAhead
from worker.pipeline.routing import HEAVIEST, routing_results
from worker.pipeline.sorting import KnownAudiences
from worker.pipeline.traces import trace_routing

if TYPE_CHECKING:
    from worker.tracing.spans import Tracing

log = logging.getLogger(__name__)

#: Entries of one read: large enough to spread the round trips, small enough to hand over in milliseconds.
READ_COUNT = 1000
#: Entries of the first read while much waits, and of one while they are large or take long.
FEWEST = 20
#: How long a read waits for the first event, in milliseconds; also how long a shutdown may take.
READ_BLOCK_MS = 500
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
        self._route = partial(
            routing_results,
            traced=tracing is not None,
            shares=ingress.shares,
            with_events=ingress.with_events,
            audiences_of=KnownAudiences().of,
        )
        self._ahead = RouteAhead(ahead, self._route, self._subscriptions, self._wake)
        self._volumes = PendingVolumes()
        #: None until the first read.
        self._read_count: int | None = None

    def run(self, stopping: threading.Event, dependencies: Dependencies | None = None) -> None:
        """Route until stopped; outlive any absence of Redis."""
        run_forever(self.step, stopping, dependencies or Dependencies(log), log)
        with suppress(BrokerUnavailable):
            self._ingress.count(self._volumes.take())

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
        elif self._volumes.is_due():
            self._ingress.count(self._volumes.take())
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
            own, routing_result.volumes = routing_result.volumes, self._volumes.due()
            if not self._ingress.hand_over(routing_result, wakes):
                self._ingress.read_again()
                return
            self._volumes.written(routing_result.volumes)
            self._volumes.add(own)
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
