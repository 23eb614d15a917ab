"""What CEF says of each type of event, and under which keys: class, name, severity, extension."""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from worker.destinations.syslog_cef.values import cut_id, cut_number, cut_object, cut_text
from worker.model.events import Decision, EventType

#: Severities of CEF: 7 and 8 are High, 4 to 6 Medium, 0 to 3 Low (ArcSight CEF standard, `agentSeverity`).
HIGH, MEDIUM, LOW = 8, 5, 2
#: The name of every drift event, as documented for customers.
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


#: The longest name in the header, in characters (ArcSight CEF standard, `name`).
LONGEST_NAME = 512


@dataclass(frozen=True, slots=True)
class Key:
    """One key: `most` is the longest value in characters, as the ArcSight extension dictionary has it.

    A custom key never goes without its `label`: a reader takes a value without one for a mistake. `cut` is
    what makes a longer value fit.
    """

    name: str
    most: int
    label: str = ""
    cut: Callable[[str, int], str] = cut_text

    @property
    def lead(self) -> str:
        """All that stands before the value, the blank that ends the value before included."""
        return f" {self.name}Label={self.label} {self.name}=" if self.label else f" {self.name}="


#: The label of what was repaired in an event (`worker.model.untrusted_json`).
REPAIRED = "repaired"

#: In the order in which they are written. SIEMs deduplicate on `devicePayloadId`: the longest id fits there.
KEYS = (
    Key("rt", 20),
    Key("act", 63),
    Key("outcome", 63),
    Key("externalId", 40, cut=cut_id),
    Key("devicePayloadId", 128, cut=cut_id),
    Key("suid", 1023, cut=cut_id),
    Key("suser", 1023),
    Key("src", 1023, cut=cut_id),
    Key("cat", 1023),
    Key("deviceExternalId", 255, cut=cut_id),
    Key("cs1", 4000, "driftScore"),
    Key("cfp1", 400, "driftScore", cut=cut_number),
    Key("cs2", 4000, "behavioralHash", cut=cut_id),
    Key("cs3", 4000, "policyId", cut=cut_id),
    Key("cs4", 4000, "behavioralHashDelta"),
    Key("cs5", 4000, "hold", cut=cut_object),
    Key("requestContext", 2048, cut=cut_object),
    Key("reason", 1023),
    Key("msg", 1023),
    Key("flexString2", 1023, REPAIRED),
)

#: What leaves a message that is too long, one after the other, until it fits. The id stays in another key.
FIRST_TO_LEAVE = (
    *("msg", "reason", "requestContext", "cs5", "cs4", "cs3", "cfp1", "cs2", "cs1"),
    *("suser", "deviceExternalId", "cat", "src", "flexString2", "externalId"),
)

#: What a message says of itself when something was left out or shortened.
TRUNCATED = " flexString1Label=truncated flexString1=true"
