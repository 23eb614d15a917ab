"""What CEF says of each type of event whatever the single event holds: class, name, severity, a sentence."""

import re
from dataclasses import dataclass, replace

from worker.model.events import Decision, EventType

#: Severities of CEF: 7 and 8 are High, 4 to 6 Medium, 0 to 3 Low (ArcSight CEF standard, `agentSeverity`).
HIGH, MEDIUM, LOW = 8, 5, 2
#: The name of every drift event, as customers are told.
ANOMALY = "behavioral_anomaly"

#: What each decision reads as: `block` is another word for `deny`.
OUTCOMES = {decision.value: decision.value for decision in Decision} | {Decision.BLOCK.value: "deny"}
_SEVERITIES = {
    Decision.DENY: HIGH,
    Decision.BLOCK: HIGH,
    Decision.ALERT: MEDIUM,
    Decision.HOLD: MEDIUM,
    Decision.ALLOW: LOW,
}

_HEAD = "CEF:0|MITRITY|MITRITY Platform|1.0|"
_UNFIT_FOR_A_CLASS = re.compile(r"[^!-~]|[|\\]")
#: Types of ours are shorter.
_LONGEST_STRANGER = 20


@dataclass(frozen=True, slots=True)
class CefEventKind:
    """What all events of one type share.

    `head` and `tail` stand before and behind the name in the header. `name` is for events that name no
    policy, and `outcome` for those that carry no decision. `sentence` sums an event up; its places are
    `policy`, `action`, `agent` and `score`.
    """

    event_class: str
    head: str
    name: str
    severity: int
    tail: str
    category: str
    outcome: str
    sentence: str


def cef_kind(event_type: str, decision: str | None = None) -> CefEventKind:
    """Return what is known of a type; one that is none of ours is described by its own words.

    The severity is the type's, unless the event's own decision weighs more: `policy.alert` that was blocked
    is High.
    """
    return _WEIGHTIER.get((event_type, decision)) or _KINDS.get(event_type) or _unknown_kind(event_type)


def _kind(event_type: str, severity: int, outcome: str, sentence: str, name: str = "") -> CefEventKind:
    return CefEventKind(
        event_class=event_type,
        head=f"{_HEAD}{event_type}|",
        name=name or event_type.replace(".", " ").strip().capitalize() or "Event",
        severity=severity,
        tail=_tail(severity),
        category=event_type.partition(".")[0],
        outcome=outcome,
        sentence=sentence,
    )


def _tail(severity: int) -> str:
    return f"|{severity}|"


def _unknown_kind(event_type: str) -> CefEventKind:
    event_class = _UNFIT_FOR_A_CLASS.sub("_", event_type)[:_LONGEST_STRANGER] or "unknown"
    sentence = f"An event of type {event_class}.".replace("{", "{{").replace("}", "}}")
    return _kind(event_class, LOW, "", sentence)


_KINDS: dict[str, CefEventKind] = {
    kind.event_class: kind
    for kind in (
        _kind(EventType.POLICY_DENY, HIGH, "deny", "{policy} denied {action} by {agent}."),
        _kind(EventType.POLICY_ALERT, MEDIUM, "alert", "{policy} raised an alert about {action} by {agent}."),
        _kind(
            EventType.POLICY_HOLD,
            MEDIUM,
            "hold",
            "{policy} holds {action} by {agent} until a person approves it.",
        ),
        _kind(EventType.POLICY_ALLOW, LOW, "allow", "{policy} allowed {action} by {agent}."),
        _kind(
            EventType.DRIFT_WARNING,
            MEDIUM,
            "alert",
            "The drift of {agent} is above the warning threshold{score}.",
            ANOMALY,
        ),
        _kind(
            EventType.DRIFT_CRITICAL,
            HIGH,
            "alert",
            "The drift of {agent} is above the critical threshold{score}.",
            ANOMALY,
        ),
        _kind(EventType.AGENT_CONNECTED, LOW, "", "The control plane is connected with {agent}."),
        _kind(EventType.AGENT_DISCONNECTED, LOW, "", "The control plane lost its connection with {agent}."),
        _kind(
            EventType.HOLD_APPROVED, LOW, "allow", "{policy} held {action} by {agent}: a person approved it."
        ),
        _kind(
            EventType.HOLD_DENIED, MEDIUM, "deny", "{policy} held {action} by {agent}: a person denied it."
        ),
        _kind(
            EventType.HOLD_EXPIRED,
            MEDIUM,
            "deny",
            "{policy} held {action} by {agent}: nobody decided in time.",
        ),
    )
}

# The decision of a hold is that of the person who was asked, and `hold.denied` says as much.
_WEIGHTIER: dict[tuple[str, str | None], CefEventKind] = {
    (kind.event_class, decision.value): replace(kind, severity=severity, tail=_tail(severity))
    for kind in _KINDS.values()
    for decision, severity in _SEVERITIES.items()
    if severity > kind.severity and kind.category != "hold"
}
