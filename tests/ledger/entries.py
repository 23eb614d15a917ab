"""Entries of the broker's streams, as the tests need them: short to write, with plain defaults."""

from collections.abc import Sequence

from worker.model.deliveries import Assurance, Cause, DeadLetter, EventTrace, Finding, Outcome, Status
from worker.model.events import QueuedEvent
from worker.model.failures import FailureCode

#: 2026-11-22T22:15:00Z, the first millisecond of a minute.
NOON = 1_795_385_700_000

REFUSAL = Finding(FailureCode.DESTINATION_BUSY, "the server is busy", "wait until it is well", 503)


def outcome(
    events: Sequence[str],
    status: Status = Status.DELIVERED,
    *,
    integration_id: str = "int_a",
    settled_ms: int = NOON,
    attempts: int = 1,
    finding: Finding | None = None,
    assurance: Assurance | None = None,
) -> Outcome:
    """Say what became of the events; each was published ten milliseconds before it was settled."""
    if status is not Status.DELIVERED and finding is None:
        finding = REFUSAL
    traces = [
        EventTrace(event, "policy.deny", settled_ms - 30, settled_ms - 10, attempts) for event in events
    ]
    retry_at_ms = settled_ms + 2000 if status is Status.RETRYING else None
    http_status = finding.http_status if finding else 200
    return Outcome(integration_id, status, settled_ms, finding, retry_at_ms, traces, http_status, assurance)


def letter(
    payloads: dict[str, bytes],
    *,
    integration_id: str | None = "int_a",
    cause: Cause = Cause.EXHAUSTED,
    dead_ms: int = NOON,
    finding: Finding = REFUSAL,
) -> DeadLetter:
    """Make a dead letter of events by id; without an integration they are no valid events."""
    kind = "policy.deny" if integration_id else ""
    events = [QueuedEvent(event, kind, dead_ms - 30, dead_ms - 10, raw) for event, raw in payloads.items()]
    return DeadLetter(integration_id, cause, finding, dead_ms, events, [4] * len(events))
