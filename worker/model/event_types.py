"""The types that an event can have, and what it may say was decided: closed lists."""

from enum import StrEnum
from typing import Literal


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
