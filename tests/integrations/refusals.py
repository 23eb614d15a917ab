"""Destinations as a customer would configure them, and the errors with which wrong ones are refused."""

from collections.abc import Iterable
from typing import Any

import pytest

from worker.integrations.integration import parse_integration
from worker.integrations.splunk_hec import SplunkHec
from worker.integrations.syslog_cef import SyslogCef
from worker.integrations.webhook import Webhook
from worker.model.errors import InvalidIntegration

#: Stands in values that are refused: a customer may have put a secret anywhere.
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
    try:
        parse_integration(given_document)
    except InvalidIntegration as error:
        refused = error
    else:
        pytest.fail(f"this is accepted: {given_document}")
    assert SECRET not in str(refused)
    assert refused.__suppress_context__, "the cause that pydantic raised holds the values"
    return refused


def wrong_refusals(kind: str, cases: Iterable[tuple[dict[str, Any], str, str]]) -> dict[str, str]:
    """Return what is said of the changes whose refusal names another field, or gives another reason.

    Each case is some changes to a valid destination, the field that is to be named, and the reason.
    """
    found = {}
    for changes, field, reason in cases:
        error = refusal(document(kind, **changes))
        if (error.field, error.reason) != (field, reason):
            found[repr(changes)[:200]] = f"{error.field}: {error.reason}"
    return found


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
