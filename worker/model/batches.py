"""A batch of events in hand: what is sent of it, and how many requests have carried each event.

A batch that workers die of is sent in ever smaller parts, until the event that ends them is known. A probe is
one event: a destination that takes it, and whose answer is doubtful, would else get the whole batch
with every probe.
"""

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from worker.model.deliveries import DeliveryResult, Verdict
from worker.model.event_runs import EventRun
from worker.model.events import QueuedEvent
from worker.model.orders import WorkOrder

#: In `DeliveryAttempt.request_counts`: each count with one more request; none becomes SETTLED by that.
_ONE_MORE = bytes(min(count + 1, 254) for count in range(255)) + b"\xff"
#: The counts that one more request changes.
_COUNTABLE = bytes(range(254))
_NONE: frozenset[int] = frozenset()
#: In `Batch.request_counts`: this event is delivered or dead already.
SETTLED = 255
_SETTLED = bytes([SETTLED])


@dataclass(frozen=True, slots=True)
class Batch:
    """Events that a worker holds since `claimed_at` (monotonic seconds), `claimed_ms` by Redis's clock.

    `request_counts` says of each event how many requests have carried it so far, or SETTLED; `attempts`
    counts the failed sendings of this batch. `configuration` is the integration as JSON with sealed secrets,
    or empty when it is gone. `urgent` and `bulk` are the ids of the stream entries that hold the events.
    `probing` is whether it tries a destination whose breaker is open. After three workers died with it, no
    more than `suspects` of its events are sent together (0: all may be); `lost_alone` counts the workers that
    died with the first of them alone. `traces` has for each chunk with traced events the place of its first
    event, how many it has, and their spans, packed (`worker.broker.chunk_traces`). `runs` are the events in
    runs, some of which other batches have as well; without any, they are one.
    """

    order: WorkOrder
    events: list[QueuedEvent]
    configuration: bytes
    request_counts: bytes
    attempts: int
    claimed_ms: int
    claimed_at: float
    urgent: list[bytes]
    bulk: list[bytes]
    probing: bool = False
    suspects: int = 0
    lost_alone: int = 0
    traces: Sequence[tuple[int, int, bytes]] = ()
    runs: Sequence[EventRun] = ()

    def in_runs(self) -> Sequence[EventRun]:
        """Return the events in runs, in their order."""
        return self.runs or (EventRun(self.events),)

    def elapsed_ms(self) -> int:
        """Return how long ago it was claimed."""
        return round((time.monotonic() - self.claimed_at) * 1000)


class DeliveryAttempt:
    """One attempt to deliver what is open of a batch: what is sent, and how many requests carry each event.

    `request_counts` begins as the batch's own and is counted up; the batch stays as it was claimed. `places`
    are the events to be sent now: the first `batch.suspects` of the open ones (0 means all). A probe is the
    first suspect, or else the event that the fewest requests have carried.
    """

    __slots__ = ("batch", "places", "request_counts")

    def __init__(self, batch: Batch) -> None:
        """Begin with nothing sent."""
        self.batch = batch
        self.request_counts = bytearray(batch.request_counts)
        places = self.open_places()
        if batch.probing and not batch.suspects:
            places.sort(key=self.request_counts.__getitem__)
        self.places = places[: 1 if batch.probing else batch.suspects or len(places)]

    def open_places(self) -> list[int]:
        """Return the places of the events that are neither delivered nor dead yet, sent now or not."""
        counts = self.request_counts
        if SETTLED not in counts:
            return list(range(len(counts)))
        return [place for place, count in enumerate(counts) if count != SETTLED]

    def has_open_places(self) -> bool:
        """Whether any event is neither delivered nor dead yet."""
        return self.request_counts.count(SETTLED) < len(self.request_counts)

    def count(self, places: Collection[int]) -> None:
        """Count a request that carries these events, from just before its first byte may go out.

        No place may stand there twice.
        """
        counts = self.request_counts
        if len(places) == len(counts):  # as a rule a request carries the whole batch
            counts[:] = counts.translate(_ONE_MORE)
            return
        for place in places:
            counts[place] = _ONE_MORE[counts[place]]

    def count_resent(self, places: Collection[int]) -> int:
        """Return how many of these events more than one request has carried."""
        counts = self.request_counts
        if len(places) == len(counts):
            return len(counts.translate(None, b"\0\1"))
        return sum(counts[place] > 1 for place in places)

    def count_unsent(self) -> None:
        """Count a request for what none has carried: one may have been sent."""
        self.count(self.unsent_places().intersection(self.places))

    def unsent_places(self) -> frozenset[int]:
        """Return the places of the open events that no request of this attempt has carried."""
        before = self.batch.request_counts
        if self.request_counts == before.translate(_ONE_MORE) and not before.translate(None, _COUNTABLE):
            return _NONE  # as a rule a request has carried them all
        return frozenset(place for place in self.open_places() if self.request_counts[place] == before[place])

    def take_back(self, results: Sequence[DeliveryResult]) -> None:
        """Uncount the requests that certainly were not accepted: they may be repeated without end."""
        for result in results:
            if result.verdict is Verdict.RETRY and result.is_certainly_not_accepted:
                for place in result.places:
                    self.request_counts[place] = self.batch.request_counts[place]

    def settle(self, places: Sequence[int]) -> None:
        """Mark events as delivered or dead."""
        counts = self.request_counts
        if len(places) == len(counts):
            counts[:] = _SETTLED * len(counts)
            return
        for place in places:
            counts[place] = SETTLED
