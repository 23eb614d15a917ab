"""Whose an event is and whether it may wait, found at a fraction of what it costs to judge the event."""

import msgspec

from worker.model.events import BULK_EVENT_TYPES, MAX_EVENT_BYTES
from worker.model.untrusted_json import DAMAGED, levelled

#: A tenant and whether its events are urgent: events of one flow keep their order, flows overtake each other.
Flow = tuple[str, bool]

#: The flow of everything that shows no type or no tenant; it becomes dead letters.
UNREADABLE: Flow = ("", False)

_LONGEST_TENANT_ID = 128


class _Head(msgspec.Struct, frozen=True, gc=False):
    """The two fields that decide."""

    type: str
    tenant_id: str = "default"


_decode = msgspec.json.Decoder(_Head).decode


def flow_of(raw: bytes | None) -> Flow:
    """Return the flow of an event by its bytes; UNREADABLE if they are no event.

    The same reader decodes the whole event later, so that both see the same type and tenant whatever the
    JSON looks like: escapes, any order, halves of characters. What is read here may still be no valid event.
    """
    if raw is None or len(raw) > MAX_EVENT_BYTES:
        return UNREADABLE
    head = _head(raw) or (_head(levelled(raw)) if b"\\u" in raw else None)
    if head is None:
        return UNREADABLE
    if len(head.tenant_id) > _LONGEST_TENANT_ID:
        return UNREADABLE
    return head.tenant_id, head.type not in BULK_EVENT_TYPES


def _head(raw: bytes | None) -> _Head | None:
    if raw is None:
        return None
    try:
        return _decode(raw)
    except DAMAGED:
        return None
