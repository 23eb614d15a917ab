"""The events behind the golden files: one of each type, with the characters that formats stumble over."""

from pathlib import Path

from worker.model.event_decoder import decode_event
from worker.model.events import QueuedEvent

GOLDEN = Path(__file__).parent / "golden"


def golden_event(event_type: str) -> QueuedEvent:
    """Queue the golden event of this type as the router does."""
    return queued((GOLDEN / "events" / f"{event_type}.json").read_bytes())


def queued(raw: bytes) -> QueuedEvent:
    """Queue an event as the router does, having judged it."""
    event = decode_event(raw)
    return QueuedEvent(event.id, event.type, event.time_ms, 0, raw)
