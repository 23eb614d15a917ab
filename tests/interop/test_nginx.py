"""nginx stands in front of a webhook's endpoint, with TLS 1.3 and HTTP/2, and hands on what was published."""

import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import msgspec
import pytest
import trustme

from tests.fleet import Fleet, wait_until
from tests.interop.credentials import Credentials
from tests.interop.fleets import WAIT, all_settled, patient_fleet, tallies_of
from tests.interop.nginx import Nginx
from tests.interop.relay import Relay
from tests.interop.traffic import traffic
from tests.receivers.webhook import WebhookReceiver, demands_signature
from worker.ledger.results import DeliveryCounts
from worker.model.deliveries import Status
from worker.model.events import EventType
from worker.model.failures import FailureCode

pytestmark = [pytest.mark.slow, pytest.mark.timeout(700)]

EVENTS = 10_000
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Give a fleet that runs; each test has a tenant of its own in it."""
    with patient_fleet(tmp_path_factory.mktemp("fleet")) as running:
        yield running.start()


@pytest.fixture
def credentials(tmp_path: Path) -> Credentials:
    """Give nginx a certificate, and a CA of our own."""
    return Credentials(tmp_path, trustme.CA())


@pytest.fixture
def endpoint() -> Iterator[WebhookReceiver]:
    """Give the endpoint behind nginx, which takes nothing that is not signed."""
    with WebhookReceiver(demands_signature(SECRET)) as receiver:
        yield receiver


def integrate(fleet: Fleet, nginx: Nginx, tenant: str, options: dict[str, Any]) -> str:
    """Create the tenant's integration with nginx; return its id."""
    common = {"type": "webhook", "signing_secrets": [SECRET], "timeout_seconds": 15}
    url = options.pop("url", nginx.url)
    made = fleet.integrate(url, tenant, tenant_id=tenant, event_types=list(EventType), **common | options)
    return made.id


def publish(fleet: Fleet, tenant: str, count: int, number: int = 0) -> dict[str, bytes]:
    """Publish so many events of the tenant, from its `number`th on; return the bytes of each."""
    events = {
        event["id"]: msgspec.json.encode(event) for event in list(traffic(number + count, tenant))[number:]
    }
    assert [receipt.error for receipt in fleet.publisher.publish_many(events.values())] == [None] * count
    return events


def arrived(endpoint: WebhookReceiver) -> dict[str, list[bytes]]:
    """Return what came under each `webhook-id`, by the event that it names."""
    bodies = defaultdict(list)
    for request in endpoint.requests:
        bodies[unquote(request.headers["webhook-id"])].append(request.body)
    return bodies


def test_ten_thousand_events_over_http2(
    fleet: Fleet, endpoint: WebhookReceiver, credentials: Credentials, tmp_path: Path
) -> None:
    """Each arrives once, byte by byte, under its own id; connections are kept until nginx ends them.

    It does so after a thousand requests, and what it turns away then is sent again.
    """
    with Nginx(tmp_path / "nginx", endpoint.port, credentials) as nginx:
        integration = integrate(fleet, nginx, "quiet", credentials.options(mutual=False))
        events = publish(fleet, "quiet", EVENTS)
        wait_until(lambda: all_settled(fleet), "every event is settled", WAIT)
        accesses = nginx.accesses()

    assert arrived(endpoint) == {event_id: [raw] for event_id, raw in events.items()}
    tally = tallies_of(fleet)[integration]
    assert tally.delivered == EVENTS
    assert tally.dead == 0
    assert tally.retrying == 0
    assert Counter((one.protocol, one.tls, one.status) for one in accesses) == {
        ("HTTP/2.0", "TLSv1.3", 200): EVENTS
    }
    assert len({one.connection for one in accesses}) <= 50


def test_nginx_goes_away_again_and_again(
    fleet: Fleet, endpoint: WebhookReceiver, credentials: Credentials, tmp_path: Path
) -> None:
    """A GOAWAY behind every twenty requests costs no attempt, although a single one would be the last."""
    limits = ["keepalive_requests 20"]
    with Nginx(tmp_path / "nginx", endpoint.port, credentials, directives=limits) as nginx:
        options = credentials.options(mutual=False) | {"max_retries": 0}
        integration = integrate(fleet, nginx, "goaway", options)
        events = publish(fleet, "goaway", 1_000)
        wait_until(lambda: all_settled(fleet), "every event is settled", WAIT)
        accesses = nginx.accesses()

    assert arrived(endpoint) == {event_id: [raw] for event_id, raw in events.items()}
    assert tallies_of(fleet)[integration] == DeliveryCounts(delivered=1_000)
    assert {row.attempts for row in fleet.rows(integration)} == {1}
    assert {one.protocol for one in accesses} == {"HTTP/2.0"}
    assert len({one.connection for one in accesses}) >= 50


@pytest.mark.parametrize("http2", [True, False], ids=["HTTP/2", "HTTP/1.1"])
def test_nginx_tires_of_connections(
    fleet: Fleet, endpoint: WebhookReceiver, credentials: Credentials, tmp_path: Path, *, http2: bool
) -> None:
    """A request that meets the end of a kept connection, which lasts for a second, goes again at once.

    Nothing is retried by Celery (`max_retries` is 0); what met an end has been carried by two requests.
    """
    tenant = f"tired-{http2}"
    limits = ["keepalive_timeout 1s"]
    with Nginx(tmp_path / "nginx", endpoint.port, credentials, http2=http2, directives=limits) as nginx:
        options = credentials.options(mutual=False) | {"max_retries": 0}
        integration = integrate(fleet, nginx, tenant, options)
        events: dict[str, bytes] = {}
        for number in range(25):
            events |= publish(fleet, tenant, 1, number)
            time.sleep(0.996 + number * 0.0003)
        wait_until(lambda: all_settled(fleet), "every event is settled", WAIT)

    assert {one: set(bodies) for one, bodies in arrived(endpoint).items()} == {
        event_id: {raw} for event_id, raw in events.items()
    }
    tally = tallies_of(fleet)[integration]
    assert replace(tally, retried=0) == DeliveryCounts(delivered=25)
    assert (
        sorted(row.attempts for row in fleet.rows(integration))
        == [1] * (25 - tally.retried) + [2] * tally.retried
    )


def test_connections_that_hang_cost_one_time_out(
    fleet: Fleet, endpoint: WebhookReceiver, credentials: Credentials, tmp_path: Path
) -> None:
    """Whatever was kept open hangs, as behind a firewall that forgets; every new connection works.

    One event pays for that, with one attempt: those that follow go over a new connection.
    """
    with (
        Nginx(tmp_path / "nginx", endpoint.port, credentials) as nginx,
        Relay(nginx.port) as relay,
    ):
        options = credentials.options(mutual=False) | {"timeout_seconds": 3}
        url = f"https://127.0.0.1:{relay.port}/webhook"
        integration = integrate(fleet, nginx, "hangs", options | {"url": url})
        events = publish(fleet, "hangs", 50)
        wait_until(lambda: all_settled(fleet), "what came before is settled", WAIT)
        relay.freeze()
        for number in range(50, 53):
            events |= publish(fleet, "hangs", 1, number)
            wait_until(lambda: all_settled(fleet), "what came after is settled", WAIT)

    assert arrived(endpoint) == {event_id: [raw] for event_id, raw in events.items()}
    assert tallies_of(fleet)[integration] == DeliveryCounts(delivered=53, retried=1)
    assert sorted(row.attempts for row in fleet.rows(integration)) == [*[1] * 52, 2]


def test_nginx_reloads_and_restarts_amid_the_traffic(
    fleet: Fleet, endpoint: WebhookReceiver, credentials: Credentials, tmp_path: Path
) -> None:
    """Nothing is lost, neither when its processes change in good order nor when all of them are gone."""
    with Nginx(tmp_path / "nginx", endpoint.port, credentials) as nginx:
        integration = integrate(fleet, nginx, "restarts", credentials.options(mutual=False))
        events = publish(fleet, "restarts", EVENTS)
        wait_until(lambda: len(endpoint.requests) >= EVENTS // 5, "a fifth has arrived")
        nginx.reload()
        wait_until(lambda: len(endpoint.requests) >= EVENTS // 2, "half of them have arrived")
        nginx.restart()
        before = len(endpoint.requests)
        wait_until(lambda: all_settled(fleet), "every event is settled", WAIT)

    assert before < EVENTS
    assert {event_id: set(bodies) for event_id, bodies in arrived(endpoint).items()} == {
        event_id: {raw} for event_id, raw in events.items()
    }
    tally = tallies_of(fleet)[integration]
    assert tally.delivered == EVENTS
    assert tally.dead == 0
    assert tally.retrying == 0


def test_nginx_demands_a_certificate(
    fleet: Fleet, endpoint: WebhookReceiver, credentials: Credentials, tmp_path: Path
) -> None:
    """With it, all arrives; without, nginx answers with 400: that is a setting, and the events are held."""
    with Nginx(tmp_path / "nginx", endpoint.port, credentials, mutual=True) as nginx:
        known = integrate(fleet, nginx, "known", credentials.options(mutual=True))
        stranger = integrate(fleet, nginx, "stranger", credentials.options(mutual=False))
        events = publish(fleet, "known", 500)
        publish(fleet, "stranger", 5)
        # As many as were routed together; the others wait behind them.
        wait_until(lambda: fleet.rows(stranger), "what nginx refuses is reported")
        rows = fleet.rows(stranger)
        # Held events are never settled, and other tests wait for that.
        fleet.store.delete(stranger)
        fleet.announce()
        wait_until(lambda: all_settled(fleet), "every event is settled", WAIT)
        accesses = nginx.accesses()

    assert arrived(endpoint) == {event_id: [raw] for event_id, raw in events.items()}
    assert tallies_of(fleet)[known] == DeliveryCounts(delivered=500)
    assert {row.status for row in rows} == {Status.RETRYING}
    assert {row.error_code for row in rows} == {FailureCode.CLIENT_CERTIFICATE_REFUSED}
    assert {(one.client, one.status) for one in accesses} == {("SUCCESS", 200), ("NONE", 400)}
