"""Entries of the broker's streams, as the tests need them: short to write, with plain defaults."""

from collections.abc import Sequence

from worker.model.deliveries import Assurance, Cause, DeadLetter, EventTrace, Failure, Outcome, Status
from worker.model.events import QueuedEvent
from worker.model.failures import FailureCode

#: 2026-11-22T22:15:00Z, the first millisecond of a minute.
NOON = 1_795_385_700_000

REFUSAL = Failure(FailureCode.DESTINATION_BUSY, "the server is busy", "wait until it is well", 503)


def outcome(
    events: Sequence[str],
    status: Status = Status.DELIVERED,
    *,
    integration_id: str = "int_a",
    settled_ms: int = NOON,
    attempts: int = 1,
    failure: Failure | None = None,
    assurance: Assurance | None = None,
) -> Outcome:
    """Say what became of the events; each was published ten milliseconds before it was settled."""
    if status is not Status.DELIVERED and failure is None:
        failure = REFUSAL
    traces = [
        EventTrace(event, "policy.deny", settled_ms - 30, settled_ms - 10, attempts) for event in events
    ]
    retry_at_ms = settled_ms + 2000 if status is Status.RETRYING else None
    http_status = failure.http_status if failure else 200
    return Outcome(integration_id, status, settled_ms, failure, retry_at_ms, traces, http_status, assurance)


def letter(
    payloads: dict[str, bytes],
    *,
    integration_id: str | None = "int_a",
    cause: Cause = Cause.EXHAUSTED,
    dead_ms: int = NOON,
    failure: Failure = REFUSAL,
) -> DeadLetter:
    """Make a dead letter of events by id; without an integration they are no valid events."""
    kind = "policy.deny" if integration_id else ""
    events = [QueuedEvent(event, kind, dead_ms - 30, dead_ms - 10, raw) for event, raw in payloads.items()]
    return DeadLetter(integration_id, cause, failure, dead_ms, events, [4] * len(events))
