"""Every address that people copy from Splunk's pages leads to the collector's own addresses."""

from itertools import product

import pytest

from tests.destinations.batches import attempt_of, soon, verdicts
from tests.destinations.senders import splunk_to
from tests.receivers.acks import AckSplunk
from tests.receivers.hec import HecReceiver
from worker.destinations.splunk_hec.client import ack_url, event_url
from worker.integrations.splunk_hec import SplunkHec
from worker.model.deliveries import Verdict

#: Splunk: "Set up and use HTTP Event Collector"; the last two stand for Splunk Enterprise.
HOSTS = [
    "https://http-inputs-acme.splunkcloud.com:443",
    "https://http-inputs-acme.splunkcloud.com",
    "https://http-inputs.acme.splunkcloud.com:443",
    "https://http-inputs.acme.splunkcloudgc.com:443",
    "https://acme.splunkcloud.com:8088",
    "https://splunk.example.com:8088",
    "http://[2001:db8::1]:8088",
]
#: Splunk: "HTTP Event Collector REST API endpoints".
PATHS = [
    "",
    "/",
    "/services/collector",
    "/services/collector/",
    "/services/collector/event",
    "/services/collector/event/",
    "/services/collector/event/1.0",
    "/services/collector/event/1.0/",
    "/services/collector/raw",
    "/services/collector/raw/1.0",
    "/services/collector/health",
    "/services/collector/health/1.0",
    "/services/collector/ack",
    "/services/collector/ack/",
]


def test_every_path_leads_to_events_and_acknowledgements() -> None:
    """Scheme, host and port stay as they were given; the integration takes every one of these urls."""
    for host, path in product(HOSTS, PATHS):
        given = SplunkHec.model_validate({"url": host + path, "token": "t"}).url

        assert event_url(given) == f"{host}/services/collector/event", path
        assert ack_url(given, "C1") == f"{host}/services/collector/ack?channel=C1", path


@pytest.mark.parametrize("path", ["/splunk", "/splunk/", "/splunk/services/collector/event/1.0"])
def test_what_a_proxy_puts_before_the_path_stays(path: str) -> None:
    """A reverse proxy may serve the collector below a path of its own."""
    assert event_url(f"https://proxy{path}") == "https://proxy/splunk/services/collector/event"
    assert ack_url(f"https://proxy{path}", "C1") == "https://proxy/splunk/services/collector/ack?channel=C1"


def test_every_path_delivers() -> None:
    """Over a real socket, whichever path was configured: events are taken, and confirmed."""
    for path in PATHS:
        attempt = attempt_of(1)
        with HecReceiver(AckSplunk()) as splunk, splunk_to(splunk.base_url + path, use_ack=True) as sender:
            assert verdicts(attempt, sender.send(attempt, soon())) == {"e0": Verdict.ACCEPTED}, path
