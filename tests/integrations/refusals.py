"""Destinations as a customer would configure them, and the errors with which wrong ones are refused."""

from typing import Any

import pytest

from worker.integrations.integration import parse_integration
from worker.integrations.splunk_hec import SplunkHec
from worker.integrations.syslog_cef import SyslogCef
from worker.integrations.webhook import Webhook
from worker.model.errors import InvalidIntegration

#: Stands in values that are refused: whoever configures may have put a secret anywhere.
SECRET = "hunter2"

VALID: dict[str, dict[str, Any]] = {
    "splunk_hec": {"url": "https://splunk.example.com:8088", "token": SECRET},
    "syslog_cef": {"url": "syslog+tls://siem.example.com"},
    "webhook": {"url": "https://endpoint.example.com/webhook"},
}


def document(kind: str, **destination: Any) -> dict[str, Any]:
    """Describe an integration of that type with these changes to its destination."""
    return {"id": "int_1", "name": "SIEM", "destination": {"type": kind} | VALID[kind] | destination}


def refusal(given_document: Any) -> InvalidIntegration:
    """Return the error with which the document is refused, having looked for secrets in it."""
    with pytest.raises(InvalidIntegration) as caught:
        parse_integration(given_document)
    assert SECRET not in str(caught.value)
    assert caught.value.__suppress_context__, "the cause that pydantic raised holds the values"
    return caught.value


def splunk(**destination: Any) -> SplunkHec:
    """Read a Splunk destination with these changes."""
    read = parse_integration(document("splunk_hec", **destination)).destination
    assert isinstance(read, SplunkHec)
    return read


def syslog(url: str = "syslog+tls://siem.example.com", **destination: Any) -> SyslogCef:
    """Read a syslog destination with these changes."""
    read = parse_integration(document("syslog_cef", url=url, **destination)).destination
    assert isinstance(read, SyslogCef)
    return read


def webhook(**destination: Any) -> Webhook:
    """Read a webhook with these changes."""
    read = parse_integration(document("webhook", **destination)).destination
    assert isinstance(read, Webhook)
    return read
