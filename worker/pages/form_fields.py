"""What can be filled in for each type of destination: the fields of its form, in the order of the page.

They are those of its configuration. A field's `name` is its path in the API's document, such as `auth.token`;
so is that of a complaint, which is how each finds its place.
"""

from worker.integrations import CONFIGS
from worker.integrations.fields import ConfigField, fields_of
from worker.integrations.integration import Integration
from worker.model.events import EventType

#: Of every type.
COMMON_FIELDS = fields_of(Integration, ("max_retries", "redrive"))

#: The types of events, in words for people.
EVENT_TYPES = {
    EventType.POLICY_DENY: "An action was blocked by a deny policy",
    EventType.POLICY_ALERT: "An action triggered an alert policy",
    EventType.POLICY_HOLD: "An action was held for human approval",
    EventType.POLICY_ALLOW: "An action was permitted",
    EventType.DRIFT_WARNING: "Drift score exceeded the warning threshold",
    EventType.DRIFT_CRITICAL: "Drift score exceeded the critical threshold",
    EventType.AGENT_CONNECTED: "An agent connected to the control plane",
    EventType.AGENT_DISCONNECTED: "An agent lost connection to the control plane",
    EventType.HOLD_APPROVED: "A held action was approved by a human",
    EventType.HOLD_DENIED: "A held action was denied by a human",
    EventType.HOLD_EXPIRED: "A held action expired without a decision",
}


def main_fields(kind: str) -> tuple[ConfigField, ...]:
    """Return what every user fills in."""
    return tuple(field for field in fields_of(CONFIGS[kind]) if not field.about.advanced)


def advanced_fields(kind: str) -> tuple[ConfigField, ...]:
    """Return what few need; folded away."""
    return tuple(field for field in fields_of(CONFIGS[kind]) if field.about.advanced)


def all_fields(kind: str) -> tuple[ConfigField, ...]:
    """Return every field of a type's form."""
    return (*main_fields(kind), *COMMON_FIELDS, *advanced_fields(kind))
