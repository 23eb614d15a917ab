"""The governance event: what the control plane publishes, and the only definition of a valid one.

An event is judged once, by `decode_event`, wherever it comes in. Its bytes then travel untouched:
a `QueuedEvent` is those bytes beside the few facts that every later step needs.
"""

import datetime as dt
import re
from enum import StrEnum
from typing import Annotated, Any, Literal

import msgspec

from worker.model.errors import InvalidEvent
from worker.model.printable import shortened

#: The largest event that is accepted, in bytes of JSON.
MAX_EVENT_BYTES = 256 * 1024

#: How deep an event may be nested. Readers differ in what they bear; all of them bear this.
MAX_DEPTH = 500

# A string that never ends is one token as well: else each of its quotes would be tried as a beginning.
_STRING_OR_BRACKET = re.compile(rb'"(?:[^"\\]|\\.)*+"?|[\[\]{}]', re.DOTALL)
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MILLISECOND = dt.timedelta(milliseconds=1)


class EventType(StrEnum):
    """The eleven things that the control plane reports."""

    #: An action was blocked by a deny policy.
    POLICY_DENY = "policy.deny"
    #: An action triggered an alert policy.
    POLICY_ALERT = "policy.alert"
    #: An action was held for human approval.
    POLICY_HOLD = "policy.hold"
    #: An action was permitted (opt-in, high volume).
    POLICY_ALLOW = "policy.allow"
    #: The drift score exceeded the warning threshold.
    DRIFT_WARNING = "drift.warning"
    #: The drift score exceeded the critical threshold.
    DRIFT_CRITICAL = "drift.critical"
    #: An agent connected to the control plane.
    AGENT_CONNECTED = "agent.connected"
    #: An agent lost its connection to the control plane.
    AGENT_DISCONNECTED = "agent.disconnected"
    #: A held action was approved by a human.
    HOLD_APPROVED = "hold.approved"
    #: A held action was denied by a human.
    HOLD_DENIED = "hold.denied"
    #: A held action expired without a decision.
    HOLD_EXPIRED = "hold.expired"


#: The same words as plain strings: hashing an enum's member costs the router a third of a microsecond.
EventTypeName = Literal[
    "policy.deny",
    "policy.alert",
    "policy.hold",
    "policy.allow",
    "drift.warning",
    "drift.critical",
    "agent.connected",
    "agent.disconnected",
    "hold.approved",
    "hold.denied",
    "hold.expired",
]

#: What an integration receives that names no event types.
DEFAULT_EVENT_TYPES = frozenset(EventType) - {EventType.POLICY_ALLOW}

#: Types that may wait: nobody is woken at night for them, and they come in masses.
BULK_EVENT_TYPES: frozenset[str] = frozenset(
    {EventType.POLICY_ALLOW, EventType.AGENT_CONNECTED, EventType.AGENT_DISCONNECTED}
)


class Decision(StrEnum):
    """What the control plane decided; `block` is another word for `deny`."""

    ALLOW = "allow"
    DENY = "deny"
    BLOCK = "block"
    ALERT = "alert"
    HOLD = "hold"


class Policy(msgspec.Struct, frozen=True):
    """The policy that decided."""

    id: str | None = None
    name: str | None = None
    version: str | int | None = None


class GovernanceEvent(msgspec.Struct, frozen=True):
    """One governance event. Fields that are not listed here are kept in its bytes, untouched."""

    id: Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
    type: EventTypeName
    timestamp: Annotated[dt.datetime, msgspec.Meta(tz=True)]
    tenant_id: Annotated[str, msgspec.Meta(min_length=1, max_length=128)] = "default"
    agent_id: str | None = None
    agent_name: str | None = None
    action_type: str | None = None
    policy: Policy | None = None
    decision: Decision | None = None
    drift_score: float | None = None
    behavioral_hash: str | None = None
    behavioral_hash_delta: float | str | None = None
    hold: dict[str, Any] | None = None
    reason: str | None = None
    context: dict[str, Any] | None = None

    @property
    def time_ms(self) -> int:
        """When it happened, in milliseconds since 1970 UTC."""
        return (self.timestamp - _EPOCH) // _MILLISECOND


class QueuedEvent(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """An accepted event on its way: its own bytes, and what every step needs to know of it.

    `time_ms` is the event's own timestamp, `published_ms` the moment Redis accepted it; both in
    milliseconds since 1970 UTC.
    """

    id: str
    type: str
    time_ms: int
    published_ms: int
    raw: bytes


_decoder = msgspec.json.Decoder(GovernanceEvent)

_REMEDIES = {
    "id": "give a string of 1 to 128 printable characters",
    "type": "give one of " + ", ".join(EventType),
    "timestamp": "give RFC 3339 with a zone, like 2026-11-22T10:11:12.345Z",
    "tenant_id": "give a string of 1 to 128 characters, or leave it out",
    "policy": "give an object with id, name and version, or leave it out",
    "decision": "give one of allow, deny, alert, hold",
    "drift_score": "give a number",
    "behavioral_hash_delta": "give a number or a string",
    "hold": "give an object, or leave it out",
    "context": "give an object, or leave it out",
}
#: A complaint repeats the value, which may be as long as the event.
_LONGEST_REASON = 200
_WHOLE = "event"
_WHOLE_REMEDY = "give one JSON object in UTF-8, of at most 256 KiB"


def decode_event(raw: bytes) -> GovernanceEvent:
    """Judge the bytes of an event.

    Raises InvalidEvent, which names the field, what is wrong with it and what would be right.
    """
    if len(raw) > MAX_EVENT_BYTES:
        raise InvalidEvent(_WHOLE, f"is {len(raw)} bytes long", _WHOLE_REMEDY)
    if len(raw) > 2 * MAX_DEPTH and _depth(raw) > MAX_DEPTH:  # what is shorter cannot be deeper
        raise InvalidEvent(_WHOLE, "is nested too deeply", f"nest at most {MAX_DEPTH} levels")
    try:
        # msgspec does not look into the strings of fields that it skips.
        raw.isascii() or raw.decode()
        event = _decoder.decode(raw)
    except msgspec.ValidationError as error:
        raise _refused(str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidEvent(_WHOLE, f"is not JSON ({error})", _WHOLE_REMEDY) from None
    _check_beyond_shape(event)
    return event


def _depth(raw: bytes) -> int:
    """Return how deep brackets are nested, strings aside: 0 if there are few, anything if it is no JSON."""
    if raw.count(b"[") + raw.count(b"{") <= MAX_DEPTH:
        return 0
    depth = deepest = 0
    for token in _STRING_OR_BRACKET.findall(raw):
        if token in {b"[", b"{"}:
            depth += 1
            deepest = max(deepest, depth)
        elif token in {b"]", b"}"}:
            depth -= 1
    return deepest


def _check_beyond_shape(event: GovernanceEvent) -> None:
    """Refuse what a type cannot express: unprintable ids, times before 1970."""
    if not event.id.isprintable():
        raise InvalidEvent("id", "has characters that cannot be printed", _REMEDIES["id"])
    if event.timestamp < _EPOCH:
        raise InvalidEvent("timestamp", "lies before 1970", _REMEDIES["timestamp"])


def _refused(complaint: str) -> InvalidEvent:
    """Turn msgspec's complaint ("Expected `str`, got `int` - at `$.id`") into field and reason."""
    reason, at, path = complaint.rpartition(" - at `$.")
    if not at:
        reason, path = complaint, ""
    missing = re.fullmatch(r"Object missing required field `(\w+)`", reason)
    if missing and not path:
        return InvalidEvent(missing[1], "is missing", _REMEDIES[missing[1]])
    if not path:
        return InvalidEvent(_WHOLE, _lower(reason), _WHOLE_REMEDY)
    field = path.rstrip("`")
    remedy = _REMEDIES.get(re.split(r"[.\[]", field)[0], "give a string, or leave it out")
    return InvalidEvent(field, _lower(reason), remedy)


def _lower(reason: str) -> str:
    return shortened(reason[:1].lower() + reason[1:].replace("`", ""), _LONGEST_REASON)
