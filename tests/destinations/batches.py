"""Batches made by hand, and senders that may dial loopback."""

import json
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from ipaddress import ip_network
from typing import Any

from worker.destinations.splunk_hec.sender import SplunkHecSender
from worker.integrations.splunk_hec import SplunkHec
from worker.model.batches import Batch, DeliveryAttempt
from worker.model.deliveries import DeliveryResult, Verdict
from worker.model.events import QueuedEvent
from worker.model.orders import WorkOrder
from worker.transports.guard import Guard

TOKEN = "hunter2-hunter2"
GUARD = Guard([ip_network("127.0.0.0/8")])


def attempt_of(count: int, *, padding: int = 0, carried: Sequence[int] | None = None) -> DeliveryAttempt:
    """Attempt to deliver that many events, called e0, e1 and so on, which were `carried` so often before."""
    events = [_event(f"e{number}", padding) for number in range(count)]
    order, counts = WorkOrder("int_1", 0, 1), bytes(carried or count)
    return DeliveryAttempt(Batch(order, events, b"{}", counts, 0, 1_000, time.monotonic(), [], []))


def next_attempt(attempt: DeliveryAttempt, number: int, claimed_at: float) -> DeliveryAttempt:
    """Attempt once more what is left; `number` attempts have failed by now."""
    counts = bytes(attempt.request_counts)
    batch = replace(attempt.batch, request_counts=counts, attempts=number, claimed_at=claimed_at)
    return DeliveryAttempt(batch)


def _event(event_id: str, padding: int) -> QueuedEvent:
    raw = json.dumps({"id": event_id, "padding": "x" * padding}, separators=(",", ":")).encode()
    return QueuedEvent(event_id, "policy.deny", 1_000, 2_000, raw)


@contextmanager
def sender_to(url: str, **options: Any) -> Iterator[SplunkHecSender]:
    """Give a sender to the URL, with these options of its destination."""
    config = SplunkHec.model_validate({"url": url, "token": TOKEN} | options)
    sender = SplunkHecSender(config, GUARD, connections=2)
    try:
        yield sender
    finally:
        sender.close()


def soon() -> float:
    """Return a deadline that no test reaches."""
    return time.monotonic() + 60


def verdicts(attempt: DeliveryAttempt, results: Sequence[DeliveryResult]) -> dict[str, Verdict]:
    """Say of each event how it was ruled, having checked that each was ruled upon exactly once."""
    places = Counter(place for result in results for place in result.places)
    assert places == Counter(attempt.places)
    return {attempt.batch.events[place].id: result.verdict for result in results for place in result.places}
