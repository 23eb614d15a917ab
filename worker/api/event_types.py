"""`GET /event-types`: what an integration may subscribe to."""

from fastapi import APIRouter
from pydantic import BaseModel

from worker.api.callers import Anyone
from worker.api.documentation import problems
from worker.model.events import DEFAULT_EVENT_TYPES, EventType

router = APIRouter(tags=["events"])

DESCRIPTIONS = {
    EventType.POLICY_DENY: "An action was blocked by a deny policy",
    EventType.POLICY_ALERT: "An action triggered an alert policy",
    EventType.POLICY_HOLD: "An action was held for human approval",
    EventType.POLICY_ALLOW: "An action was permitted (opt-in, high volume)",
    EventType.DRIFT_WARNING: "Drift score exceeded the warning threshold",
    EventType.DRIFT_CRITICAL: "Drift score exceeded the critical threshold",
    EventType.AGENT_CONNECTED: "An agent connected to the control plane",
    EventType.AGENT_DISCONNECTED: "An agent lost connection to the control plane",
    EventType.HOLD_APPROVED: "A held action was approved by a human",
    EventType.HOLD_DENIED: "A held action was denied by a human",
    EventType.HOLD_EXPIRED: "A held action expired without a decision",
}


class KnownEventType(BaseModel):
    """A type of event; `default` is whether an integration gets it that names no types."""

    type: EventType
    description: str
    default: bool


class EventTypes(BaseModel):
    """All types there are."""

    items: list[KnownEventType]


@router.get("/event-types", responses=problems(401, 403, 429, 503))
async def list_event_types(_caller: Anyone) -> EventTypes:
    """List the types of events."""
    return EventTypes(
        items=[
            KnownEventType(type=one, description=DESCRIPTIONS[one], default=one in DEFAULT_EVENT_TYPES)
            for one in EventType
        ]
    )
