"""Hosts that nothing can ever be delivered to are refused at the door; what was stored can still be read."""

import pytest

from worker.integrations.integration import Integration, parse_integration
from worker.model.errors import InvalidIntegration

DESTINATIONS = {
    "splunk_hec": {"url": "https://{}/services/collector/event", "token": "t"},
    "webhook": {"url": "https://{}/in"},
    "syslog_cef": {"url": "syslog://{}"},
}
#: Hosts, and what is said of them.
HOPELESS = {
    "[fe80::1%25eth0]": "IPv6 zone",
    "[fe80::1%eth0]:8088": "IPv6 zone",
    "[fe80::1]": "link-local IPv6 address",
    "[v1.x]": "no IPv6 address between its brackets",
    "256.1.1.1": "no IPv4 address",
    "1.2.3.4.5": "no IPv4 address",
    "1..3.4": "no IPv4 address",
    "siem..example.com": "no name",
    ".example.com": "no name",
    "-siem.example.com": "no name",
    "*.example.com": "no name",
    "ex%41mple.com": "no name",
    "siem,example.com": "no name",
    "a" * 64 + ".example.com": "no name",
    ".".join(["a" * 60] * 5): "no name",
}
GOOD = (
    "siem",
    "siem_1.example.com.",
    "127.0.0.1",
    "127.1",
    "[::1]:8088",
    "[2001:db8::1]",
    "xn--bcher-kva.example",
)


def read(kind: str, host: str, *, stored: bool = False) -> Integration:
    """Read an integration to that host."""
    destination = {name: text.format(host) for name, text in DESTINATIONS[kind].items()}
    document = {"id": "int_1", "name": "SIEM", "destination": {"type": kind, **destination}}
    return parse_integration(document, stored=stored)


@pytest.mark.parametrize("kind", DESTINATIONS)
def test_what_can_never_be_delivered_to_is_refused(kind: str, subtests: pytest.Subtests) -> None:
    """With what would be right; but an integration that was accepted before can still be read."""
    for host, words in HOPELESS.items():
        with subtests.test(host=host):
            with pytest.raises(InvalidIntegration) as refused:
                read(kind, host)

            assert refused.value.field == "url"
            assert words in refused.value.reason
            assert "give " in refused.value.reason
            assert read(kind, host, stored=True).type == kind


@pytest.mark.parametrize("kind", DESTINATIONS)
def test_what_may_exist_is_accepted(kind: str, subtests: pytest.Subtests) -> None:
    """Whether it does, only a look-up knows."""
    for host in GOOD:
        with subtests.test(host=host):
            assert read(kind, host).type == kind
