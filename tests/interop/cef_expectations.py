"""What a SIEM must read in a CEF message about an event: the customers' documentation, field by field.

In comes an event as it was published and what an independent parser read; out come the differences.
Nothing here knows how a message is made, except for the rules by which text loses what CEF cannot carry.
"""

import datetime as dt
import hashlib
import json
import re
from typing import Any

from tests.destinations.hostile_events import is_part_of
from tests.destinations.syslog_cef.cef_parser import CefEvent

_LINE_ENDS = re.compile(r"\r\n|[\n\v\f\r\x85\u2028\u2029]")
#: Unicode's bidirectional controls, the byte order mark, interlinear annotations: who reads sees other text.
_MISLEADING = r"\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff\ufff9-\ufffb"
_CONTROLS = re.compile(rf"[\x00-\x09\x0e-\x1f\x7f-\x84\x86-\x9f{_MISLEADING}]")

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
_LONGEST_NAME = 512
#: Without these, a message is of no use; they stay in the shortest.
_INDISPENSABLE = {"rt", "act", "outcome", "devicePayloadId"}
_JSON_KEYS = {"cs5": "hold", "requestContext": "context"}
#: The longest text of each key in characters; of those that carry an id, a longer one becomes its digest.
_LONGEST_TEXTS = {"act": 63, "suser": 1023, "cs4": 4000, "reason": 1023}
_LONGEST_IDS = {"suid": 1023, "src": 1023, "cs2": 4000, "cs3": 4000, "externalId": 40}
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


def exceeds_a_key(event: dict[str, Any]) -> bool:
    """Whether a value of the event is longer than the key that carries it, whatever the limit."""
    objects = (len(json.dumps(event.get(field) or {}, ensure_ascii=False)) for field in _JSON_KEYS.values())
    texts = _texts(event)
    longest = _LONGEST_TEXTS | {key: most for key, most in _LONGEST_IDS.items() if key != "externalId"}
    too_long = any(len(_plain(texts.get(key))) > most for key, most in longest.items())
    # The sentence repeats the names of policy and agent, and has room for 1023 characters.
    sentence = sum(len(texts.get(key) or "") for key in ("act", "suser", "name")) + 100
    return too_long or len(texts["name"] or "") > _LONGEST_NAME or sentence > 1023 or max(objects) > 2048


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
            wrong += _json_differences(key, value, event, shortened=shortened)
        elif not _is_right(key, value, right.get(key), event, shortened=shortened):
            wrong.append(f"{key}: {value!r}, not {right.get(key)!r}")
    objects = [] if shortened else [key for key, field in _JSON_KEYS.items() if event.get(field)]
    return wrong + [f"{key}: is missing" for key in objects if key not in got]


def _is_right(key: str, got: str, right: str | None, event: dict[str, Any], *, shortened: bool) -> bool:
    """Whether a value is right: in a message that is shortened, an agent's id may be its digest."""
    if shortened and key == "suid" and got == _digest(event.get("agent_id") or ""):
        return True
    return _is(got, right, shortened=shortened and key == "act")


def _is(got: str, right: str | None, *, shortened: bool) -> bool:
    """Whether a value is right, or the beginning of what would be with the mark behind it."""
    is_cut = shortened and got.endswith("…") and (right or "").startswith(got.removesuffix("…"))
    return got == right or is_cut


def _json_differences(key: str, value: str, event: dict[str, Any], *, shortened: bool) -> list[str]:
    """Compare an object that is there as JSON: the same, or some of it where it says that it is not whole."""
    whole = event.get(_JSON_KEYS[key]) or {}
    try:
        read = json.loads(value)
    except ValueError:
        return [f"{key}: is no JSON: {value!r}"]
    same = read == whole or (shortened and is_part_of(read, whole))
    return [] if same else [f"{key}: {value!r}, not {whole!r}"]


def _name(event: dict[str, Any]) -> str:
    family, _, rest = event["type"].partition(".")
    if family == "drift":
        return "behavioral_anomaly"
    policy = event.get("policy") or {}
    named = [_on_one_line(policy.get(key) or "") for key in ("name", "id")]
    return next(filter(None, named), f"{family.capitalize()} {rest}")


def _plain_values(event: dict[str, Any]) -> dict[str, str]:
    """Say what each key must be that has a value, but for those that hold objects, and the sentence."""
    decision = event.get("decision") or OUTCOMES.get(event["type"])
    texts = _texts(event)
    values = {
        "rt": str(time_ms(event)),
        "outcome": "deny" if decision == "block" else decision,
        "devicePayloadId": event["id"],
        "cat": event["type"].partition(".")[0],
        "deviceExternalId": event["tenant_id"],
        "cs1": texts["cs1"],
        "cfp1": texts["cs1"],
    }
    values |= {key: _cut(_plain(texts[key]), most) for key, most in _LONGEST_TEXTS.items()}
    values |= {key: _id(texts[key], most) for key, most in _LONGEST_IDS.items()}
    held = {key: value for key, value in values.items() if value}
    labelled = held.keys() | ({"cs5"} if event.get("hold") else set())
    return held | {label: text for label, (key, text) in _LABELS.items() if key in labelled}


def _texts(event: dict[str, Any]) -> dict[str, str | None]:
    """Return what each key carries, as it was published."""
    policy = event.get("policy") or {}
    score, delta = event.get("drift_score"), event.get("behavioral_hash_delta")
    return {
        "act": event.get("action_type"),
        "externalId": event["id"],
        "suid": event.get("agent_id"),
        "suser": event.get("agent_name"),
        "src": event.get("agent_id"),
        "cs1": None if score is None else str(score),
        "cs2": event.get("behavioral_hash"),
        "cs3": policy.get("id"),
        "cs4": None if delta is None else str(delta),
        "reason": event.get("reason"),
        "name": policy.get("name"),
    }


def _plain(text: str | None) -> str:
    """Return what of a text a value can carry: ends of lines all become one kind, other controls blanks."""
    return _LINE_ENDS.sub("\n", _CONTROLS.sub(" ", text or "")).strip()


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"


def _id(text: str | None, most: int) -> str:
    plain = _plain(text)
    return plain if len(plain) <= most else _digest(text or "")


def _digest(text: str) -> str:
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()[:32]}"


def _on_one_line(text: str) -> str:
    """Return what of a text a header field can carry."""
    runs = re.sub(rf"(?:{_LINE_ENDS.pattern}|{_CONTROLS.pattern})+", " ", text)
    return _cut(runs.strip(), _LONGEST_NAME)
