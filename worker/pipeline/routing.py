"""What becomes of entries of the ingress: which events go to whom, in results that Redis can swallow. Pure.

Where the events of a frame stand apart (`worker.broker.framed_chunks`), they go on as they stand if all of
them have one audience; those of others are fetched first.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence

from worker.broker.frames import MOST_FRAME_BYTES
from worker.broker.hand_over import FrameOfEntry
from worker.broker.ingress import EVENT_FIELD, IngressEntry, RoutingResult, traceparent_field
from worker.broker.snapshot import Subscription
from worker.pipeline.judging import judged_events
from worker.pipeline.sorting import Audiences, Sorting
from worker.pipeline.traces import TracedEvents

#: Bytes that one read, and one transaction, should not exceed: Redis cuts off who sends a gigabyte, and
#: answers no other client meanwhile.
HEAVIEST = 16 << 20


def routing_results(
    received: Sequence[IngressEntry],
    subscriptions: Mapping[str, Subscription],
    *,
    traced: bool = False,
    shares: Callable[[], bool] = lambda: False,
    with_events: Callable[[list[IngressEntry]], Sequence[IngressEntry]] = list,
    audiences_of: Callable[[Mapping[str, Subscription]], Audiences] = Audiences,
) -> Iterator[RoutingResult]:
    """Sort entries into results of which each is a transaction that Redis can swallow.

    `shares` says whether what several integrations want is sent once. `with_events` fetches events that stand
    apart, and raises BrokerUnavailable. `audiences_of` says who wants what, and may know it from before.
    """
    audiences = audiences_of(subscriptions)
    for part in _parts(received, audiences, traced=traced):
        yield from _results(_fetched(part, with_events), audiences, shares, traced=traced)


#: An entry, and whether its events must be fetched.
_Judged = tuple[IngressEntry, bool]


def _parts(
    received: Sequence[IngressEntry], audiences: Audiences, *, traced: bool
) -> Iterator[list[_Judged]]:
    """Yield the entries in parts, of which none has more to fetch than one transaction should have."""
    part, size = list[_Judged](), 0
    for entry in received:
        is_apart = entry.chunk_id is not None and not _passes(entry, audiences, traced=traced)
        if is_apart and part and size + MOST_FRAME_BYTES > HEAVIEST:
            yield part
            part, size = [], 0
        part.append((entry, is_apart))
        size += MOST_FRAME_BYTES * is_apart
    if part:
        yield part


def _passes(entry: IngressEntry, audiences: Audiences, *, traced: bool) -> bool:
    """Whether the events of an entry, which stand apart, go on as they are, or nowhere."""
    if entry.framed is None or (traced and traceparent_field(entry.fields)):
        return False
    return audiences.of_frame(entry.framed) is not None


def _fetched(
    part: list[_Judged], with_events: Callable[[list[IngressEntry]], Sequence[IngressEntry]]
) -> list[IngressEntry]:
    found = iter(with_events([entry for entry, is_apart in part if is_apart]))
    return [next(found) if is_apart else entry for entry, is_apart in part]


def _results(
    received: Sequence[IngressEntry],
    audiences: Audiences,
    shares: Callable[[], bool],
    *,
    traced: bool,
) -> Iterator[RoutingResult]:
    routing_result = _routed(received, audiences, TracedEvents() if traced else None)
    if len(received) > 1 and _is_heavy(routing_result, shares):
        middle = len(received) // 2
        for part in (received[:middle], received[middle:]):
            yield from _results(part, audiences, shares, traced=traced)
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
    return _routed(received, Audiences(subscriptions), traces)


def _routed(
    received: Sequence[IngressEntry], audiences: Audiences, traces: TracedEvents | None
) -> RoutingResult:
    routing_result = RoutingResult(done=[entry.entry_id for entry in received])
    sorting, dead = Sorting(audiences), routing_result.dead
    for entry in received:
        if entry.framed is not None and entry.packed is None:
            unwanted = sorting.add_frame(FrameOfEntry(entry.framed, entry.published_ms))
            routing_result.unneeded += [entry.framed.chunk_id] if unwanted else []
            routing_result.unwanted += unwanted
            routing_result.joined += entry.framed.events - 1
            continue
        if entry.chunk_id is not None:
            routing_result.unneeded.append(entry.chunk_id)
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
