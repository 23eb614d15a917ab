"""How many requests have carried each event of a batch (`Batch.carried`), around one sending. Pure."""

from collections.abc import Sequence

from worker.model.deliveries import SETTLED, Batch, DeliveryResult, Verdict


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
