"""Splunk over its HTTP Event Collector."""

from worker.destinations import DestinationType, Example
from worker.integrations.splunk_hec import SplunkHec

SPLUNK_HEC = DestinationType(
    SplunkHec,
    label="Splunk HEC",
    summary="Splunk Enterprise or Splunk Cloud, by the HTTP Event Collector. "
    "You need its address and a token.",
    sender="worker.destinations.splunk_hec.sender:SplunkHecSender",
    checks="worker.destinations.splunk_hec.checks:HecChecks",
    examples=[
        Example(
            "splunk_hec",
            "Splunk HTTP Event Collector",
            {
                "type": "splunk_hec",
                "url": "https://your-splunk:8088/services/collector/event",
                "token": "your-hec-token",
                "source_type": "mitrity:governance",
                "index": "security",
                "event_types": [
                    "policy.deny",
                    "policy.alert",
                    "policy.hold",
                    "drift.warning",
                    "drift.critical",
                ],
            },
        ),
    ],
)
