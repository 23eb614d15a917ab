"""What a SIEM must read in a CEF message about an event: the customers' documentation, field by field.

In comes an event as it was published and what an independent parser read; out come the differences.
Nothing here knows how a message is made, except for the rules by which text loses what CEF cannot carry.
"""

import datetime as dt
import json
import re
from typing import Any

from tests.formats.cef_parser import CefEvent

_LINE_ENDS = re.compile(r"\r\n|[\n\v\f\r\x85\u2028\u2029]")
_CONTROLS = re.compile(r"[\x00-\x09\x0e-\x1f\x7f-\x84\x86-\x9f]")

HIGH, MEDIUM, LOW = 8, 5, 2
#: "Severity mapping: Deny/Block = High, Alert = Medium, Allow = Low"; the others are ours.
SEVERITIES = {
    "policy.deny": HIGH,
    "policy.alert": MEDIUM,
    "policy.hold": MEDIUM,
    "policy.allow": LOW,
    "drift.warning": MEDIUM,
    "drift.critical": HIGH,
    "agent.connected": LOW,
    "agent.disconnected": LOW,
    "hold.approved": LOW,
    "hold.denied": MEDIUM,
    "hold.expired": MEDIUM,
}
#: What an event without a decision says of it by its type; nothing is decided about an agent's connection.
OUTCOMES = {
    "policy.deny": "deny",
    "policy.alert": "alert",
    "policy.hold": "hold",
    "policy.allow": "allow",
    "drift.warning": "alert",
    "drift.critical": "alert",
    "hold.approved": "allow",
    "hold.denied": "deny",
    "hold.expired": "deny",
}
#: Without these, a message is of no use; they stay in the shortest.
_INDISPENSABLE = {"rt", "act", "outcome", "externalId", "devicePayloadId"}
_NEVER_SHORTENED = {"rt", "outcome"}
_JSON_KEYS = {"cs5": ("hold", 4000), "requestContext": ("context", 2048)}
_MARK = {"flexString1Label": "truncated", "flexString1": "true"}
_LABELS = {
    "cs1Label": ("cs1", "driftScore"),
    "cfp1Label": ("cfp1", "driftScore"),
    "cs2Label": ("cs2", "behavioralHash"),
    "cs3Label": ("cs3", "policyId"),
    "cs4Label": ("cs4", "behavioralHashDelta"),
    "cs5Label": ("cs5", "hold"),
}


def time_ms(event: dict[str, Any]) -> int:
    """Return when it happened, in milliseconds since 1970 UTC."""
    since = dt.datetime.fromisoformat(event["timestamp"]) - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
    return since // dt.timedelta(milliseconds=1)


def is_shortened(read: CefEvent) -> bool:
    """Whether the message says that it does not hold all of the event."""
    return _MARK.items() <= read.extension.items()


def differences(event: dict[str, Any], read: CefEvent) -> list[str]:
    """Say in which fields what was read is not what was published; an empty list is what a test wants."""
    shortened = is_shortened(read)
    header = {
        "vendor": (read.vendor, "MITRITY"),
        "product": (read.product, "MITRITY Platform"),
        "event class": (read.event_class, event["type"]),
        "severity": (str(read.severity), str(SEVERITIES[event["type"]])),
        "name": (read.name, _name(event)),
    }
    wrong = [
        f"{field}: {got!r}, not {right!r}"
        for field, (got, right) in header.items()
        if not _is(got, right, shortened=shortened and field == "name")
    ]
    return wrong + _extension_differences(event, dict(read.extension), shortened=shortened)


def _extension_differences(event: dict[str, Any], got: dict[str, str], *, shortened: bool) -> list[str]:
    sentence = got.pop("msg", None)
    for key in _MARK if shortened else ():
        del got[key]
    right = _plain_values(event)
    required = right.keys() & _INDISPENSABLE if shortened else right.keys()
    wrong = [f"{key}: is missing" for key in required - got.keys()]
    wrong += [] if sentence or shortened else ["msg: is missing"]
    for key, value in got.items():
        if key in _JSON_KEYS:
            wrong += _json_differences(key, value, event)
        elif not _is(value, right.get(key), shortened=shortened and key not in _NEVER_SHORTENED):
            wrong.append(f"{key}: {value!r}, not {right.get(key)!r}")
    objects = [] if shortened else [key for key, (field, _) in _JSON_KEYS.items() if event.get(field)]
    return wrong + [f"{key}: is missing" for key in objects if key not in got]


def _is(got: str, right: str | None, *, shortened: bool) -> bool:
    """Whether a value is right, or the beginning of what would be."""
    return got == right or (shortened and right is not None and right.startswith(got))


def _json_differences(key: str, value: str, event: dict[str, Any]) -> list[str]:
    """Compare an object that is there as JSON: the same, or its beginning where it is too long."""
    field, most = _JSON_KEYS[key]
    try:
        same = json.loads(value) == event.get(field)
    except ValueError:
        return [] if most - 1 <= len(value) <= most else [f"{key}: is no JSON: {value!r}"]
    return [] if same else [f"{key}: {value!r}, not {event.get(field)!r}"]


def _name(event: dict[str, Any]) -> str:
    family, _, rest = event["type"].partition(".")
    if family == "drift":
        return "behavioral_anomaly"
    policy = event.get("policy") or {}
    named = [_on_one_line(policy.get(key) or "") for key in ("name", "id")]
    return next(filter(None, named), f"{family.capitalize()} {rest}")


def _plain_values(event: dict[str, Any]) -> dict[str, str]:
    """Say what each key must be that has a value, but for those that hold objects, and the sentence."""
    score = event.get("drift_score")
    policy = event.get("policy") or {}
    decision = event.get("decision") or OUTCOMES.get(event["type"])
    delta = event.get("behavioral_hash_delta")
    values = {
        "rt": str(time_ms(event)),
        "act": _text(event.get("action_type"), 63),
        "outcome": "deny" if decision == "block" else decision,
        "externalId": _text(event["id"], 40),
        "devicePayloadId": event["id"],
        "suid": _text(event.get("agent_id"), 1023),
        "suser": _text(event.get("agent_name"), 1023),
        "src": _text(event.get("agent_id"), 1023),
        "cat": event["type"].partition(".")[0],
        "deviceExternalId": event["tenant_id"],
        "cs1": None if score is None else str(score),
        "cfp1": None if score is None else str(score),
        "cs2": _text(event.get("behavioral_hash"), 4000),
        "cs3": _text(policy.get("id"), 4000),
        "cs4": None if delta is None else _text(str(delta), 4000),
        "reason": _text(event.get("reason"), 1023),
    }
    held = {key: value for key, value in values.items() if value}
    labelled = held.keys() | ({"cs5"} if event.get("hold") else set())
    return held | {label: text for label, (key, text) in _LABELS.items() if key in labelled}


def _text(text: str | None, most: int) -> str:
    """Return what of a text a value can carry: ends of lines all become one kind, other controls blanks."""
    plain = _LINE_ENDS.sub("\n", _CONTROLS.sub(" ", text or ""))
    return plain.strip()[:most].rstrip()


def _on_one_line(text: str) -> str:
    """Return what of a text a header field can carry."""
    runs = re.sub(rf"(?:{_LINE_ENDS.pattern}|{_CONTROLS.pattern})+", " ", text)
    return runs.strip()[:512].rstrip()
