"""Accepts most valid events at half of what the judge takes, and leaves all others to it (`event_decoder`).

The judge must find fields that stand twice, and whatever stands in fields that are unknown. Here an event is
decoded and encoded again. Of all JSON that says the same, what is encoded is the shortest: names and texts
have no needless escape, nothing is blank, and each number stands as it came. So if what came is not longer,
it holds each of its fields once, and no others. What differs for another reason is judged.
"""

import datetime as dt
from typing import Annotated, Any

import msgspec

from worker.model.events import DEFAULT_TENANT, Decision, EventHead, EventTypeName, IdText
from worker.model.untrusted_json import may_hold_long_integer

_ABSENT = msgspec.Raw()
#: What is shorter, in bytes, has no number of 300 digits; and a version that is none either.
_LONG, _LARGEST = 300, 2**63
#: By these an event with blanks is known before it is decoded.
_BLANK, _LOOK = b'": ', 32
_FIRST_YEAR, _LAST_YEAR = 1970, 9999


class _Policy(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    id: str | None = None
    name: str | None = None
    version: str | int | float | None = None


class _UsualEvent(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """The fields of GovernanceEvent; those that would not be encoded as they came are not decoded."""

    id: IdText
    type: EventTypeName
    timestamp: msgspec.Raw
    tenant_id: IdText = DEFAULT_TENANT
    agent_id: str | None = None
    agent_name: str | None = None
    action_type: str | None = None
    policy: _Policy | None = None
    decision: Decision | None = None
    drift_score: msgspec.Raw = _ABSENT
    behavioral_hash: str | None = None
    behavioral_hash_delta: msgspec.Raw = _ABSENT
    hold: msgspec.Raw = _ABSENT
    reason: str | None = None
    context: msgspec.Raw = _ABSENT


_event = msgspec.json.Decoder(_UsualEvent).decode
_moment = msgspec.json.Decoder(Annotated[dt.datetime, msgspec.Meta(tz=True)]).decode
_object = msgspec.json.Decoder(dict[str, Any]).decode
_number = msgspec.json.Decoder(float).decode
_delta = msgspec.json.Decoder(float | str).decode
_encode = msgspec.json.Encoder().encode

#: What is raised for what is no event, no UTF-8, or has a whole number that cannot be encoded.
_UNUSUAL = (msgspec.DecodeError, UnicodeDecodeError, OverflowError)


def usual_event(raw: bytes) -> EventHead | None:
    """Return what routing needs of an event that is valid as it stands; None if that is not easily said."""
    if raw.find(_BLANK, 0, _LOOK) > 0:
        return None
    try:
        event = _event(raw)
        if len(_encode(event)) != len(raw):
            return None
        moment = _moment(event.timestamp)
        is_sound = _is_sound(event)
    except _UNUSUAL:
        return None
    if is_sound and event.id.isprintable() and _FIRST_YEAR < moment.year < _LAST_YEAR:
        return EventHead(event.id, event.type, moment, event.tenant_id)
    return None


def _is_sound(event: _UsualEvent) -> bool:
    """Look at what was not decoded. Raises what is in _UNUSUAL for what is not as it should be."""
    context, hold = event.context, event.hold
    if context and not _is_object(context):
        return False
    if hold and not _is_object(hold):
        return False
    if event.drift_score:
        _number(event.drift_score)
    if event.behavioral_hash_delta:
        _delta(event.behavioral_hash_delta)
    return event.policy is None or _is_plain(event.policy.version)


def _is_object(value: msgspec.Raw) -> bool:
    _object(value)
    return len(value) < _LONG or not may_hold_long_integer(bytes(value))


def _is_plain(version: str | float | None) -> bool:
    """Return whether it was encoded as it came: 1e5 becomes 100000.0, which is longer."""
    return (
        version is None or isinstance(version, str) or (isinstance(version, int) and abs(version) < _LARGEST)
    )
