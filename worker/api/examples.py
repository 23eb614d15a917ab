"""Examples of integrations and of changes, as /openapi.json shows them: they work as they stand."""

from typing import Any

EXAMPLES: dict[str, dict[str, Any]] = {
    "splunk_hec": {
        "summary": "Splunk HTTP Event Collector",
        "value": {
            "type": "splunk_hec",
            "url": "https://your-splunk:8088/services/collector/event",
            "token": "your-hec-token",
            "source_type": "mitrity:governance",
            "index": "security",
            "event_types": ["policy.deny", "policy.alert", "policy.hold", "drift.warning", "drift.critical"],
        },
    },
    "syslog_cef": {
        "summary": "CEF over syslog (QRadar, ArcSight)",
        "value": {
            "type": "syslog_cef",
            "name": "qradar",
            "url": "syslog+tls://your-siem:6514",
            "facility": "local4",
        },
    },
    "webhook": {
        "summary": "Any endpoint that takes JSON",
        "value": {
            "type": "webhook",
            "url": "https://your-endpoint/webhook",
            "auth": {"kind": "bearer", "token": "your-token"},
            "max_retries": 3,
            "event_types": ["policy.deny"],
        },
    },
    "webhook_with_api_key": {
        "summary": "The same, with a key in a header",
        "value": {
            "type": "webhook",
            "name": "log archive",
            "url": "https://your-endpoint/webhook",
            "auth": {"kind": "api_key", "header": "X-Api-Key", "value": "your-key"},
            "body": "lines",
        },
    },
}

CHANGES: dict[str, dict[str, Any]] = {
    "event_types": {"summary": "Other events", "value": {"event_types": ["policy.deny", "policy.allow"]}},
    "secret": {"summary": "Another token", "value": {"token": "your-new-token"}},
    "default": {"summary": "Back to the default", "value": {"event_types": None, "timeout_seconds": None}},
}
