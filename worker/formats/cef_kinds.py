"""What CEF says of each type of event whatever the single event holds: class, name, severity, a sentence."""

import re
from dataclasses import dataclass

from worker.model.events import Decision, EventType

#: Severities of CEF: 7 and 8 are High, 4 to 6 Medium, 0 to 3 Low (ArcSight CEF standard, `agentSeverity`).
HIGH, MEDIUM, LOW = 8, 5, 2

_HEAD = "CEF:0|MITRITY|MITRITY Platform|1.0|"
_UNFIT_FOR_A_CLASS = re.compile(r"[^!-~]|[|\\]")
_OUTCOMES = frozenset(Decision)
#: Types of ours are shorter.
_LONGEST_STRANGER = 20


@dataclass(frozen=True, slots=True)
class Kind:
    """What all events of one type share.

    `head` and `tail` stand before and behind the name in the header. `outcome` is for events that carry no
    decision. `sentence` sums an event up; its places are `policy`, `action`, `agent` and `score`.
    """

    event_class: str
    head: str
    name: str
    is_named_by_policy: bool
    severity: int
    tail: str
    category: str
    outcome: str
    sentence: str


def kind_of(event_type: str) -> Kind:
    """Return what is known of a type; one that is none of ours is described by its own words."""
    return _KINDS.get(event_type) or _stranger(event_type)


def _kind(event_type: str, severity: int, sentence: str, name: str = "") -> Kind:
    category, _, rest = event_type.partition(".")
    return Kind(
        event_class=event_type,
        head=f"{_HEAD}{event_type}|",
        name=name or event_type.replace(".", " ").strip().capitalize() or "Event",
        is_named_by_policy=category == "policy",
        severity=severity,
        tail=f"|{severity}|",
        category=category,
        outcome=rest if category == "policy" and rest in _OUTCOMES else "",
        sentence=sentence,
    )


def _stranger(event_type: str) -> Kind:
    event_class = _UNFIT_FOR_A_CLASS.sub("_", event_type)[:_LONGEST_STRANGER] or "unknown"
    return _kind(event_class, LOW, f"An event of type {event_class}.".replace("{", "{{").replace("}", "}}"))


_KINDS: dict[str, Kind] = {
    kind.event_class: kind
    for kind in (
        _kind(EventType.POLICY_DENY, HIGH, "{policy} denied {action} by {agent}."),
        _kind(EventType.POLICY_ALERT, MEDIUM, "{policy} raised an alert about {action} by {agent}."),
        _kind(
            EventType.POLICY_HOLD, MEDIUM, "{policy} holds {action} by {agent} until a person approves it."
        ),
        _kind(EventType.POLICY_ALLOW, LOW, "{policy} allowed {action} by {agent}."),
        _kind(
            EventType.DRIFT_WARNING,
            MEDIUM,
            "The drift of {agent} is above the warning threshold{score}.",
            "behavioral_anomaly",
        ),
        _kind(
            EventType.DRIFT_CRITICAL,
            HIGH,
            "The drift of {agent} is above the critical threshold{score}.",
            "behavioral_anomaly",
        ),
        _kind(EventType.AGENT_CONNECTED, LOW, "The control plane is connected with {agent}."),
        _kind(EventType.AGENT_DISCONNECTED, LOW, "The control plane lost its connection with {agent}."),
        _kind(EventType.HOLD_APPROVED, LOW, "{policy} held {action} by {agent}: a person approved it."),
        _kind(EventType.HOLD_DENIED, MEDIUM, "{policy} held {action} by {agent}: a person denied it."),
        _kind(EventType.HOLD_EXPIRED, MEDIUM, "{policy} held {action} by {agent}: nobody decided in time."),
    )
}
