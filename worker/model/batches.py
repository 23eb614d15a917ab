"""A batch of events in hand: what is sent of it, and how many requests have carried each event. Pure.

Which events of a batch are sent now: of one that workers die of, or that tries a destination, not all.

A batch that workers die of is sent in ever smaller parts, until the event that ends them is known. A probe is
one event: a destination that takes it, and whose answer is doubtful, would else get the whole batch
with every probe.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from worker.model.deliveries import DeliveryResult, Verdict
from worker.model.events import QueuedEvent
from worker.model.orders import WorkOrder

#: In `Batch.carried`: this event is delivered or dead already.
SETTLED = 255


@dataclass(frozen=True, slots=True)
class Batch:
    """Events that a worker holds since `claimed_at` (monotonic seconds), `claimed_ms` by Redis's clock.

    `request_counts` says of each event how many requests have carried it so far, or SETTLED; `attempts`
    counts the failed sendings of this batch. `configuration`
    is the integration as JSON with sealed secrets, or empty when it is gone. `urgent` and `bulk` are
    the ids of the stream entries that hold the events. `probing` is whether it tries a destination whose
    breaker is open. After three workers died with it, no more than `suspects` of its events are sent
    together (0: all may be); `lost_alone` counts the workers that died with the first of them alone.
    """

    order: WorkOrder
    events: list[QueuedEvent]
    configuration: bytes
    request_counts: bytearray
    attempts: int
    claimed_ms: int
    claimed_at: float
    urgent: list[bytes]
    bulk: list[bytes]
    probing: bool = False
    suspects: int = 0
    lost_alone: int = 0

    def open_places(self) -> list[int]:
        """Name the events that are neither delivered nor dead yet."""
        return [
            place for place, request_counts in enumerate(self.request_counts) if request_counts != SETTLED
        ]


def count_request(batch: Batch, places: Sequence[int]) -> None:
    """Count a request that carries these events; from just before its first byte may go out."""
    for place in places:
        batch.request_counts[place] = min(batch.request_counts[place] + 1, SETTLED - 1)


def not_sent_places(batch: Batch, before: bytes | None) -> frozenset[int]:
    """Return the places of the open events that no request of this sending has carried.

    `before` is what `batch.carried` was before the sending; without it, nothing is known of any event.
    """
    if before is None:
        return frozenset()
    return frozenset(place for place in batch.open_places() if batch.request_counts[place] == before[place])


def take_back(batch: Batch, results: Sequence[DeliveryResult], before: bytes) -> None:
    """Uncount the requests that certainly were not accepted: they may be repeated without end."""
    for result in results:
        if result.verdict is Verdict.RETRY and result.is_certainly_not_accepted:
            for place in result.places:
                batch.request_counts[place] = before[place]


@contextmanager
def only_part(batch: Batch) -> Iterator[None]:
    """Leave open, while the block runs, only the events of the batch that are to be sent now.

    They are the first `batch.suspects` of its open ones (0 means all). A probe is the first suspect, or else
    the event that the fewest requests have carried.
    """
    places = batch.open_places()
    if batch.probing and not batch.suspects:
        places.sort(key=batch.request_counts.__getitem__)
    most = 1 if batch.probing else batch.suspects or len(places)
    hidden = places[most:]
    counts = [batch.request_counts[place] for place in hidden]
    for place in hidden:
        batch.request_counts[place] = SETTLED
    try:
        yield
    finally:
        for place, count in zip(hidden, counts, strict=True):
            batch.request_counts[place] = count
