"""From the ingress stream into the backlogs of all integrations that want the event.

Any number of routers run side by side. What is not a valid event becomes a dead letter with the reason
and its bytes, a megabyte of them at the most; it blocks nothing and never vanishes.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from worker.broker.backlog import Backlog
from worker.broker.ingress import Ingress, IngressEntry, RoutedChunk, RoutingResult
from worker.broker.ingress_ahead import IngressAhead
from worker.broker.snapshot import Snapshot, Subscription
from worker.broker.volumes import Volume
from worker.broker.waking import Wakes
from worker.model.availability import Dependencies, run_forever
from worker.model.deliveries import Cause, DeadLetter, Failure
from worker.model.errors import BrokerUnavailable, InvalidEvent
from worker.model.event_decoder import accept_event
from worker.model.events import BULK_EVENT_TYPES, MAX_EVENT_BYTES, QueuedEvent
from worker.model.failures import FailureCode
from worker.model.invalid_events import salvage_event
from worker.model.log_events import EVENT_VALIDATION_FAILED
from worker.model.orders import Issue
from worker.pipeline.lookahead import RouteAhead
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
#: Bytes that are kept of what is no valid event: all of one that is only somewhat too large.
MOST_KEPT = 4 * MAX_EVENT_BYTES
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
        """Route what waits, up to a thousand events, and what must not wait behind the rest.

        Returns how many were read from the head of the ingress. Raises BrokerUnavailable.
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

    def _is_behind(self, seconds_an_event: float) -> bool:
        return self._ingress.waiting() * seconds_an_event > BEHIND

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
    sorting = _Sorting(subscriptions)
    for entry in received:
        try:
            event, raw = accept_event(entry.event_bytes())
        except InvalidEvent as error:
            routing_result.dead.append(_dead(entry, error))
            continue
        except Exception:  # noqa: BLE001 - it is logged with its traceback
            # A fault of ours that one event brings to light must not hold up all that stand behind it.
            EVENT_VALIDATION_FAILED.log(log, exc_info=True)
            unjudged = InvalidEvent("event", "could not be judged", "report this with the router's log")
            routing_result.dead.append(_dead(entry, unjudged))
            continue
        queued = QueuedEvent(event.id, event.type, event.time_ms, entry.published_ms, raw)
        routing_result.unwanted += not sorting.add(event.type, event.tenant_id, queued)
        if traces is not None:
            traces.add(queued, entry.fields)
    routing_result.routed_chunks = sorting.routed_chunks()
    routing_result.volumes = sorting.volumes()
    if traces is not None:
        traces.write(routing_result)
    return routing_result


def _dead(entry: IngressEntry, error: InvalidEvent) -> DeadLetter:
    raw = entry.raw if entry.raw is not None else b" ".join(entry.fields)
    kept = raw[:MOST_KEPT]
    cut = f"; of its {len(raw)} bytes the first {len(kept)} are kept" if len(kept) < len(raw) else ""
    failure = Failure(FailureCode.INVALID_EVENT, f"{error.field}: {error.reason}{cut}", error.hint)
    known = salvage_event(raw)
    event = QueuedEvent(known.id, known.type, known.time_ms, entry.published_ms, kept)
    # Not when it was published: health looks at what was judged lately, however long it waited before.
    dead_ms = time.time_ns() // 1_000_000
    return DeadLetter(None, Cause.INVALID.value, failure, dead_ms, [event], [0], known.tenant_id)


@dataclass(frozen=True, slots=True)
class _Audience:
    """The integrations that want the same events in the same lane."""

    integration_ids: tuple[str, ...]
    urgent: bool


class _Sorting:
    """Gathers events by audience; which get an event depends on its type and tenant alone."""

    def __init__(self, subscriptions: Mapping[str, Subscription]) -> None:
        self._subscriptions = subscriptions
        self._by_kind: dict[tuple[str, str], tuple[list[QueuedEvent] | None, Volume]] = {}
        self._by_audience: dict[_Audience, list[QueuedEvent]] = {}

    def add(self, event_type: str, tenant_id: str, event: QueuedEvent) -> bool:
        """Add the event; return whether any integration wants it."""
        kind = (event_type, tenant_id)
        try:
            bundle, volume = self._by_kind[kind]
        except KeyError:
            bundle, volume = self._by_kind[kind] = self._bundle(event_type, tenant_id), Volume()
        volume.events += 1
        volume.size += len(event.raw)
        if bundle is None:
            return False
        bundle.append(event)
        return True

    def volumes(self) -> dict[tuple[str, str], Volume]:
        """Return how much came of each type and tenant."""
        return {kind: volume for kind, (_, volume) in self._by_kind.items()}

    def routed_chunks(self) -> list[RoutedChunk]:
        """Cut what was gathered into chunks of which every one fits into a single request."""
        return [
            RoutedChunk(audience.integration_ids, audience.urgent, chunk)
            for audience, events in self._by_audience.items()
            for chunk in self._chunks(audience, events)
        ]

    def _bundle(self, event_type: str, tenant_id: str) -> list[QueuedEvent] | None:
        ids = tuple(one.id for one in self._subscriptions.values() if one.wants(event_type, tenant_id))
        if not ids:
            return None
        return self._by_audience.setdefault(_Audience(ids, event_type not in BULK_EVENT_TYPES), [])

    def _chunks(self, audience: _Audience, events: list[QueuedEvent]) -> Iterator[list[QueuedEvent]]:
        limits = [self._subscriptions[one].destination for one in audience.integration_ids]
        most_events = min(one.batch_events for one in limits)
        most_bytes = min(one.batch_bytes for one in limits)
        start = size = 0
        for at, event in enumerate(events):
            length = len(event.raw)
            if at > start and (at - start >= most_events or size + length > most_bytes):
                yield events[start:at]
                start, size = at, 0
            size += length
        yield events[start:]
