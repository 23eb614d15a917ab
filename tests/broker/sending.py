"""Short ways to put events into a backlog and to settle what was claimed of it."""

import json

import redis

from worker.broker.backlog import Backlog, Claim, Timing
from worker.broker.hand_over import append as append_chunks
from worker.broker.ingress import IngressEntry, RoutedChunk
from worker.broker.packing import damaged_counts
from worker.broker.snapshot import publish_integrations
from worker.ledger.results import IntegrationRecord
from worker.model.batches import Batch, DeliveryAttempt
from worker.model.deliveries import DeliveryResult, Failure, Settlement, Verdict
from worker.model.events import QueuedEvent
from worker.model.failures import FailureCode
from worker.model.settlement import RetryPolicy, settle_results

TIMING = Timing(lease=60, order_lease=30, retry_grace=5)
POLICY = RetryPolicy(max_retries=3, backoff=2.0)


def event(name: str, size: int = 10) -> QueuedEvent:
    """Make an event whose bytes are that many."""
    return QueuedEvent(name, "policy.deny", 1_000, 2_000, b"x" * size)


def arrivals(names: list[str]) -> list[IngressEntry]:
    """Make arrivals that no stream knows of."""
    return [IngressEntry(b"0-1", 2_000, name.encode(), []) for name in names]


def subscribe(
    client: redis.Redis,
    *ids: str,
    slots: int = 4,
    window: int = 4,
    enabled: bool = True,
    batch_events: int = 500,
    revision: int = 1,
) -> None:
    """Make integrations of these ids known to the fleet, grown to so many slots already."""
    records = [_record(one, enabled, batch_events, revision) for one in ids]
    publish_integrations(client, records, slots)
    for one in ids:
        client.hset(f"siem:state:{one}", "window", window)


def append(client: redis.Redis, integration_id: str, chunks: list[list[str]], *, urgent: bool = True) -> None:
    """Hand chunks of events over to one lane of a backlog, as a router does with what it has read."""
    pipeline = client.pipeline(transaction=True)
    for chunk in chunks:
        append_chunks(pipeline, [RoutedChunk([integration_id], urgent, [event(name) for name in chunk])])
    commands = [command for command, _ in pipeline.command_stack]
    with damaged_counts(client, commands):
        pipeline.execute()


def claim(backlog: Backlog, integration_id: str) -> Claim:
    """Wake the integration and claim what its first free slot gets."""
    [order] = backlog.wake([integration_id])
    found = backlog.claim(order)
    assert isinstance(found, Claim), found
    return found


def settle_all(backlog: Backlog, integration_id: str, held: Claim | None = None) -> None:
    """Settle what is held, and then what waits, as delivered."""
    following = None if held is None else backlog.settle(held.batch, delivered(held.batch))
    orders = [following] if following else []
    orders += [order for order, _, _ in backlog.reissue() if order.integration_id == integration_id]
    while orders := orders or backlog.wake([integration_id]):
        found = backlog.claim(orders.pop())
        if isinstance(found, Claim) and (following := backlog.settle(found.batch, delivered(found.batch))):
            orders.append(following)


def delivered(batch: Batch) -> Settlement:
    """Settle all that is open as delivered."""
    attempt = DeliveryAttempt(batch)
    return settle_results(attempt, [DeliveryResult(attempt.open_places(), Verdict.ACCEPTED, 5)], POLICY)


def failed(batch: Batch, *, delivered_places: tuple[int, ...] = ()) -> Settlement:
    """Settle some events as delivered and the rest as to be retried."""
    attempt = DeliveryAttempt(batch)
    attempt.count(attempt.open_places())
    left = [place for place in attempt.open_places() if place not in delivered_places]
    failure = Failure(FailureCode.DESTINATION_BUSY, "HTTP 503", "wait", 503)
    results = [
        DeliveryResult(delivered_places, Verdict.ACCEPTED, 5),
        DeliveryResult(left, Verdict.RETRY, 5, failure),
    ]
    return settle_results(attempt, results, POLICY)


def ids(batch: Batch) -> list[str]:
    """Name the events of a batch."""
    return [one.id for one in batch.events]


def _record(integration_id: str, enabled: bool, batch_events: int, revision: int) -> IntegrationRecord:  # noqa: FBT001 - a test's shorthand
    document = {
        "id": integration_id,
        "enabled": enabled,
        "event_types": ["policy.deny", "policy.allow"],
        "destination": {"type": "splunk_hec", "batch_events": batch_events, "batch_bytes": 900_000},
    }
    return IntegrationRecord(integration_id, "splunk_hec", json.dumps(document), revision, deleted=False)
