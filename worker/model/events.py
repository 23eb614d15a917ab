"""The governance event: what the control plane publishes, and the only definition of a valid one.

An event is judged once, by `event_decoder`, wherever it comes in. Its bytes then travel untouched:
a `QueuedEvent` is those bytes beside the few facts that every later step needs.
"""

import datetime as dt
from enum import StrEnum
from typing import Annotated, Any, Literal

import msgspec

from worker.model.time import EPOCH


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

#: Types that may wait: they page no one at night, and they come in masses.
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


#: Whose an event is that names no tenant.
DEFAULT_TENANT = "default"

#: The largest event that is accepted, in bytes of JSON.
MAX_EVENT_BYTES = 256 * 1024


#: In seconds.
_DAY = 86_400


class Policy(msgspec.Struct, frozen=True, gc=False):
    """The policy that decided."""

    id: str | None = None
    name: str | None = None
    version: str | int | float | None = None


#: What names an event, or a tenant.
IdText = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]


class EventHead(msgspec.Struct, frozen=True, gc=False):
    """What every step needs to know of an event."""

    id: IdText
    type: EventTypeName
    timestamp: Annotated[dt.datetime, msgspec.Meta(tz=True)]
    tenant_id: IdText = DEFAULT_TENANT

    @property
    def time_ms(self) -> int:
        """When it happened, in milliseconds since 1970 UTC."""
        since = self.timestamp - EPOCH
        return (since.days * _DAY + since.seconds) * 1000 + since.microseconds // 1000


class GovernanceEvent(EventHead, frozen=True, gc=False):
    """One governance event. Fields that are not listed here are kept in its bytes, untouched."""

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
