"""Batches made by hand, how they are sent until all is settled, and what was ruled."""

import json
import random
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import msgspec

from worker.destinations import Sender
from worker.model.batches import Batch, DeliveryAttempt
from worker.model.deliveries import DeliveryResult, Verdict
from worker.model.events import QueuedEvent
from worker.model.orders import WorkOrder
from worker.model.settlement import RetryPolicy, settle_results

MOST_SENDINGS = 60


def attempt_of(count: int, *, padding: int = 0, carried: Sequence[int] | None = None) -> DeliveryAttempt:
    """Attempt to deliver that many events, called e0, e1 and so on, which were `carried` so often before."""
    events = [_event(f"e{number}", padding) for number in range(count)]
    order, counts = WorkOrder("int_1", 0, 1), bytes(carried or count)
    return DeliveryAttempt(Batch(order, events, b"{}", counts, 0, 1_000, time.monotonic(), [], []))


def batch_with(count: int, **fields: Any) -> DeliveryAttempt:
    """Make a batch of events with these fields."""
    attempt = attempt_of(count)
    for place, event in enumerate(attempt.batch.events):
        raw = json.dumps({"id": event.id, **fields}).encode()
        attempt.batch.events[place] = msgspec.structs.replace(event, raw=raw)
    return attempt


def draw_offenders(dice: random.Random) -> tuple[DeliveryAttempt, set[str]]:
    """Draw a batch of up to 120 events, and which of them are bad: none, a few, or nearly all."""
    attempt = attempt_of(dice.randint(1, 120))
    share = dice.choice([0.01, 0.05, 0.3, 0.9, 1.0])
    return attempt, {event.id for event in attempt.batch.events if dice.random() < share}


def next_attempt(attempt: DeliveryAttempt, number: int, claimed_at: float) -> DeliveryAttempt:
    """Attempt once more what is left; `number` attempts have failed by now."""
    counts = bytes(attempt.request_counts)
    batch = replace(attempt.batch, request_counts=counts, attempts=number, claimed_at=claimed_at)
    return DeliveryAttempt(batch)


def _event(event_id: str, padding: int) -> QueuedEvent:
    raw = json.dumps({"id": event_id, "padding": "x" * padding}, separators=(",", ":")).encode()
    return QueuedEvent(event_id, "policy.deny", 1_000, 2_000, raw)


def soon() -> float:
    """Return a deadline that no test reaches."""
    return time.monotonic() + 60


def verdicts(attempt: DeliveryAttempt, results: Sequence[DeliveryResult]) -> dict[str, Verdict]:
    """Say of each event how it was ruled, having checked that each was ruled upon exactly once."""
    places = Counter(place for result in results for place in result.places)
    assert places == Counter(attempt.places)
    return {attempt.batch.events[place].id: result.verdict for result in results for place in result.places}


def failures(attempt: DeliveryAttempt, results: Sequence[DeliveryResult]) -> dict[str, str | None]:
    """Return the failure code of each event."""
    return {
        attempt.batch.events[place].id: result.failure.code if result.failure else None
        for result in results
        for place in result.places
    }


def sendings(sender: Sender, attempt: DeliveryAttempt, seconds: float) -> list[Sequence[DeliveryResult]]:
    """Send a batch, for so long at a time, until all of it is settled; return the results of each sending."""
    results: list[Sequence[DeliveryResult]] = []
    for number in range(MOST_SENDINGS):
        now = time.monotonic()
        attempt = next_attempt(attempt, number, now)
        results.append(sender.send(attempt, now + seconds))
        settlement = settle_results(attempt, results[-1], RetryPolicy(3, 0))
        assert settlement.dead == []
        if settlement.retry is None:
            return results
    raise AssertionError("not settled")


def messages(results: Sequence[Sequence[DeliveryResult]]) -> list[str]:
    """Return the words of all failures."""
    return [one.failure.message for sending in results for one in sending if one.failure is not None]
