"""What the documentation says of the formats, sentence by sentence, held against what is written.

Each test quotes the documentation that it holds to. The table of CEF's fields is read for all eleven types,
each with a policy and without one, with every decision and with none.
"""

import json
from dataclasses import dataclass
from typing import Any

import pytest

from tests.destinations.hostile_events import published
from tests.destinations.syslog_cef.cef_parser import CefEvent, parse_cef
from tests.destinations.syslog_cef.syslog_parser import parse_syslog
from worker.destinations.splunk_hec.format import HecFormat
from worker.destinations.syslog_cef.syslog import SyslogCefFormat
from worker.destinations.webhook.format import body, content_type
from worker.integrations.integration import parse_integration
from worker.integrations.splunk_hec import SplunkHec
from worker.integrations.syslog_cef import SyslogCef
from worker.integrations.webhook import Webhook
from worker.model.events import EventType

HIGH, MEDIUM, LOW = range(7, 9), range(4, 7), range(4)

#: "Event Type | Description": the eleven types of the table, in its order.
EVENT_TYPES = {
    "policy.deny": "An action was blocked by a deny policy",
    "policy.alert": "An action triggered an alert policy",
    "policy.hold": "An action was held for human approval",
    "policy.allow": "An action was permitted (opt-in, high volume)",
    "drift.warning": "Drift score exceeded the warning threshold",
    "drift.critical": "Drift score exceeded the critical threshold",
    "agent.connected": "An agent connected to the control plane",
    "agent.disconnected": "An agent lost connection to the control plane",
    "hold.approved": "A held action was approved by a human",
    "hold.denied": "A held action was denied by a human",
    "hold.expired": "A held action expired without a decision",
}
DECISIONS = (None, "allow", "deny", "block", "alert", "hold")
POLICY = {"id": "pol_1", "name": "Block | prod writes"}
#: "Events include all governance context: agent ID, action type, policy decision, drift score, behavioral
#: hash delta, and timestamps."
CONTEXT: dict[str, Any] = {
    "agent_id": "agent-7",
    "action_type": "db.write",
    "drift_score": 0.83,
    "behavioral_hash": "sha256:ab",
    "behavioral_hash_delta": "+3 tools",
}


def event_of(event_type: str, **fields: Any) -> dict[str, Any]:
    """Make an event of that type with all governance context."""
    moment = "2026-01-02T03:04:05.678Z"
    return {"id": "evt_1", "type": event_type, "timestamp": moment} | CONTEXT | fields


def splunk(**options: Any) -> SplunkHec:
    """Configure an integration that has only what Splunk needs, and these options."""
    url = "https://your-splunk-instance:8088/services/collector/event"
    return SplunkHec.model_validate({"url": url, "token": "your-hec-token"} | options)


def hec(event: dict[str, Any], config: SplunkHec) -> dict[str, Any]:
    """Return the envelope of an event for that integration."""
    format_ = HecFormat.of(
        host=config.host,
        source=config.source,
        source_type=config.source_type,
        index=config.index,
        fields=config.fields,
    )
    envelope: dict[str, Any] = json.loads(format_.envelope(published(event)))
    return envelope


def syslog(event: dict[str, Any], **options: Any) -> bytes:
    """Return the message about an event for an integration that is otherwise as it comes."""
    config = SyslogCef(url="syslog://your-siem:514", **options)
    format_ = SyslogCefFormat.of(
        facility=config.facility,
        header=config.header,
        hostname=config.hostname,
        send_src=config.send_src,
        limit=config.message_limit,
    )
    (message,) = format_.messages([published(event)])
    return message


def cef(event: dict[str, Any]) -> CefEvent:
    """Return what a strict reader makes of the message about an event."""
    return parse_cef(parse_syslog(syslog(event), "rfc3164").text)


@dataclass(frozen=True)
class Row:
    """An event, and what the rows `name`, `severity` and `outcome` of the table promise of it."""

    event: dict[str, Any]
    name: str
    severity: range
    outcome: str | None


def rows() -> list[Row]:
    """Combine each type with each decision, with a policy and without one."""
    return [
        _row(event_type, decision, policy)
        for event_type in EVENT_TYPES
        for decision in DECISIONS
        for policy in (None, POLICY)
    ]


def _row(event_type: str, decision: str | None, policy: dict[str, str] | None) -> Row:
    family, _, rest = event_type.partition(".")
    by_type = {
        "approved": "allow",
        "denied": "deny",
        "expired": "deny",
        "warning": "alert",
        "critical": "alert",
    }
    outcome = decision or (rest if family == "policy" else by_type.get(rest))
    plain = "behavioral_anomaly" if family == "drift" else f"{family.capitalize()} {rest}"
    return Row(
        event=event_of(event_type, decision=decision, policy=policy),
        name=policy["name"] if policy and family != "drift" else plain,
        severity=_severity(event_type, decision),
        outcome="deny" if outcome == "block" else outcome,
    )


def _severity(event_type: str, decision: str | None) -> range:
    """Say it by the type; a decision weighs as much as the policy type of its name, holds apart."""
    weights: dict[str | None, range] = {"deny": HIGH, "block": HIGH, "alert": MEDIUM, "hold": MEDIUM}
    family, _, rest = event_type.partition(".")
    by_type = {"critical": HIGH, "warning": MEDIUM}.get(rest, LOW)
    if family == "hold":
        return LOW if rest == "approved" else MEDIUM
    candidates = [by_type, weights.get(decision, LOW), weights.get(rest, LOW) if family == "policy" else LOW]
    return max(candidates, key=lambda severity: severity.start)


def test_cef_field_mapping() -> None:
    """Hold every row of "CEF field mapping" to every type.

    "deviceVendor: MITRITY", "deviceProduct: MITRITY Platform", "name: Policy name or behavioral_anomaly",
    "severity: Mapped from policy type", "src: Agent ID", "act: Action type", "outcome: allow, deny, alert,
    hold", "cs1: Drift score", "cs2: Behavioral hash"; "Deny/Block = High, Alert = Medium, Allow = Low".
    """
    same = {"src": "agent-7", "act": "db.write", "cs1": "0.83", "cs2": "sha256:ab"}
    for row in rows():
        read = cef(row.event)
        case = {key: row.event[key] for key in ("type", "decision", "policy")}

        assert (read.vendor, read.product) == ("MITRITY", "MITRITY Platform"), case
        assert read.name == row.name, case
        assert read.severity in row.severity, case
        assert read.extension.get("outcome") == row.outcome, case
        assert {key: read.extension[key] for key in same} == same, case


def test_every_outcome_is_a_documented_word() -> None:
    """Quote: "outcome: allow, deny, alert, hold": nothing else, whatever is decided about what."""
    outcomes = {cef(row.event).extension.get("outcome") for row in rows()}

    assert outcomes - {None} == {"allow", "deny", "alert", "hold"}
    undecided = [row.event["type"] for row in rows() if "outcome" not in cef(row.event).extension]
    assert {*undecided} == {"agent.connected", "agent.disconnected"}


def test_events_include_all_governance_context() -> None:
    """Quote: "agent ID, action type, policy decision, drift score, behavioral hash delta, and timestamps"."""
    written = {
        "suid": "agent-7",
        "act": "db.write",
        "outcome": "alert",
        "cs1": "0.83",
        "cs4": "+3 tools",
        "rt": "1767323045678",
    }
    for event_type in EVENT_TYPES:
        event = event_of(event_type, decision="alert", extra={"kept": [1, 2.50]})
        envelope = hec(event, splunk())

        assert envelope["event"] == event
        assert envelope["time"] == 1767323045.678, event_type
        assert json.loads(body("event", [published(event).raw])) == event
        extension = cef(event).extension
        assert {key: extension[key] for key in written} == written, event_type


@pytest.mark.parametrize("source_type", [None, "customer:own"])
def test_splunk_source_type_and_index(source_type: str | None) -> None:
    """Quote: "indexed into the source type you configure"; "mitrity:governance (recommended)"."""
    options = {} if source_type is None else {"source_type": source_type}
    envelope = hec(event_of("policy.deny"), splunk(index="security", **options))

    assert envelope["sourcetype"] == (source_type or "mitrity:governance")
    assert envelope["index"] == "security"


@pytest.mark.parametrize(
    ("url", "transport"),
    [
        ("syslog://your-siem:514", "tcp"),
        ("syslog+udp://your-siem:514", "udp"),
    ],
)
def test_syslog_destinations(url: str, transport: str) -> None:
    """Quote: "Destination: syslog://your-siem:514 (TCP) or syslog+udp://your-siem:514 (UDP)"."""
    config = SyslogCef(url=url)

    assert config.transport == transport
    assert config.target == ("your-siem", 514)


def test_syslog_facility_and_format() -> None:
    """Quote: "Format: CEF (Common Event Format)"; "Facility: local0 - local7 (configurable)"."""
    for number in range(8):
        message = parse_syslog(syslog(event_of("policy.deny"), facility=f"local{number}"), "rfc3164")

        assert message.priority // 8 == 16 + number
        assert message.text.startswith(b"CEF:0|"), number


def test_webhook_body() -> None:
    """Quote: "POST events as structured JSON"; "Content-Type: application/json"; "the full event object"."""
    event = event_of("policy.deny", context={"deep": [{"a": 1}]}, unknown={"kept": True})
    config = Webhook.model_validate({"url": "https://your-endpoint/webhook"})

    assert content_type(config.body) == "application/json"
    assert json.loads(body(config.body, [published(event).raw])) == event


def test_default_event_types() -> None:
    """Quote: "By default, all event types except policy.allow are forwarded."."""
    destination = {"type": "webhook", "url": "https://your-endpoint/webhook"}
    integration = parse_integration({"id": "int_1", "name": "one", "destination": destination})

    assert [*EventType] == [*EVENT_TYPES]
    assert integration.event_types == {*EVENT_TYPES} - {"policy.allow"}
    assert integration.max_retries == 3  # "up to 3 retries with exponential backoff"


@pytest.mark.parametrize("event_id", ["evt_1", "0199c0de-0000-7000-8000-000000000001", "x" * 128])
def test_the_event_id_field(event_id: str) -> None:
    """Quote: "Your SIEM should deduplicate on the event id field.": one key everywhere has it whole."""
    event = event_of("policy.deny", id=event_id)

    assert hec(event, splunk())["event"]["id"] == event_id
    assert json.loads(body("event", [published(event).raw]))["id"] == event_id
    assert cef(event).extension["devicePayloadId"] == event_id
