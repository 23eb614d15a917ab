"""CEF over syslog, by TCP, TLS or UDP."""

from worker.destinations import DestinationType, Example
from worker.integrations.syslog_cef import SyslogCef

SYSLOG_CEF = DestinationType(
    SyslogCef,
    label="Syslog CEF",
    summary="QRadar, ArcSight, and whatever else reads Common Event Format: over TCP, UDP or TLS. "
    "You need its address.",
    sender="worker.destinations.syslog_cef.sender:SyslogCefSender",
    checks="worker.destinations.syslog_cef.checks:SyslogChecks",
    examples=[
        Example(
            "syslog_cef",
            "CEF over syslog (QRadar, ArcSight)",
            {
                "type": "syslog_cef",
                "name": "qradar",
                "url": "syslog+tls://your-siem:6514",
                "facility": "local4",
            },
        ),
    ],
)
