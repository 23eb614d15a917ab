"""What a CEF message says of an event beyond its id, type and time, read from the event's bytes."""

from collections.abc import Sequence

import msgspec

from worker.model.events import QueuedEvent
from worker.model.untrusted_json import DAMAGED


class PolicyName(msgspec.Struct, frozen=True, gc=False):
    """What a message says of the policy that decided."""

    id: str | None = None
    name: str | None = None


class EventDetails(msgspec.Struct, gc=False):
    """What a message says of an event beyond its id, type and time."""

    tenant_id: str = "default"
    agent_id: str | None = None
    agent_name: str | None = None
    action_type: str | None = None
    policy: PolicyName | None = None
    decision: str | None = None
    #: A number keeps the digits that it was published with.
    drift_score: msgspec.Raw = msgspec.Raw()
    behavioral_hash: str | None = None
    behavioral_hash_delta: msgspec.Raw = msgspec.Raw()
    hold: msgspec.Raw = msgspec.Raw()
    reason: str | None = None
    context: msgspec.Raw = msgspec.Raw()
    siem_repaired: msgspec.Raw = msgspec.Raw()


_decode = msgspec.json.Decoder(EventDetails).decode
_UNREADABLE = EventDetails(
    tenant_id="", reason="the event could not be read any more: only its id, type and time are known"
)


def details_of(events: Sequence[QueuedEvent]) -> list[EventDetails]:
    """Read the bytes of each event; what cannot be read any more says so as its reason. Never raises."""
    raws = [event.raw for event in events]
    try:
        return list(map(_decode, raws))
    except DAMAGED:
        return list(map(_details, raws))


def _details(raw: bytes) -> EventDetails:
    try:
        return _decode(raw)
    except DAMAGED:
        return _UNREADABLE
