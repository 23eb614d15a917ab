"""Everything that is wrong with an integration is named at once, each by the name of its field."""

from typing import Any

import pytest

from worker.model.errors import InvalidIntegration
from worker.transports.tls import judged_whole

SECRET = "never-repeated-in-any-words"

#: Destinations with more than one mistake, and the fields that must be named.
WRONG: dict[str, tuple[dict[str, Any], set[str]]] = {
    "splunk": (
        {
            "type": "splunk_hec",
            "url": "ftp://splunk",
            "token": f"{SECRET} x",
            "index": "UPPER",
            "timeout_seconds": 31,
            "ca_pem": "no certificate",
        },
        {"url", "token", "index", "timeout_seconds", "ca_pem"},
    ),
    "webhook": (
        {
            "type": "webhook",
            "url": "https://hook.example.com",
            "auth": {"kind": "bearer", "token": f"{SECRET} x"},
            "headers": {"Host": "a"},
            "batch_events": 0,
        },
        {"auth.token", "headers", "batch_events"},
    ),
    "contradictions": (
        {
            "type": "syslog_cef",
            "url": "syslog+udp://siem",
            "framing": "newline",
            "confirm_by_shutdown": True,
            "max_message_bytes": 100_000,
            "hostname": "2026",
            "client_cert_pem": "half",
        },
        {"framing", "confirm_by_shutdown", "max_message_bytes", "hostname", "destination"},
    ),
    "certificates": (
        {
            "type": "webhook",
            "url": "https://hook.example.com",
            "ca_pem": "none",
            "client_cert_pem": "none",
            "client_key_pem": SECRET,
        },
        {"ca_pem", "client_cert_pem"},
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_every_wrong_field_is_named(name: str) -> None:
    """Also those of the integration itself; no value is repeated."""
    destination, fields = WRONG[name]
    document = {"id": "int_1", "name": "SIEM", "max_retries": 4, "destination": destination}
    with pytest.raises(InvalidIntegration) as refused:
        judged_whole(document)
    error = refused.value

    assert {one.field for one in error.all} == fields | {"max_retries"}
    assert not any(SECRET in str(one) for one in error.all)


def test_an_index_is_refused_in_words() -> None:
    """Not by the pattern that it does not match."""
    destination = {"type": "splunk_hec", "url": "https://splunk.example.com", "token": "t", "index": "Main"}
    with pytest.raises(InvalidIntegration) as refused:
        judged_whole({"id": "int_1", "name": "SIEM", "destination": destination})

    assert refused.value.field == "index"
    assert refused.value.reason.startswith("give 1 to 80 lower-case letters")
