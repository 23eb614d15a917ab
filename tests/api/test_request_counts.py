"""Requests are counted by the template of their route, whatever a client puts into a path."""

import re
import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

import httpx
import pytest

from tests.fleet import Fleet, wait_until
from tests.pages.conftest import HOME, OURS, Site, running
from worker.model.api_keys import Role

_SAMPLE = re.compile(r'siem_api_requests_total\{method="(.*)",route="(.*)",status="(.*)"\} ([0-9.]+)')

Counts = dict[tuple[str, str, str], float]


@pytest.fixture
def site(bare_fleet: Fleet) -> Iterator[Site]:
    """Give a process of the API, pages included, which has answered nothing."""
    with running(bare_fleet) as served:
        yield served


def scrape(site: Site) -> tuple[str, Counts]:
    """Return the text of a scrape, and the requests that were counted; /metrics left out."""
    text = httpx.get(f"{site.url}/metrics", trust_env=False, timeout=90).text
    found = {(one[2], one[1], one[3]): float(one[4]) for one in _SAMPLE.finditer(text)}
    return text, {answer: count for answer, count in found.items() if answer[0] != "/metrics"}


def test_failures_are_there_before_the_first(site: Site) -> None:
    """Of every route and method: Prometheus sees no increase of a series that begins with 1."""
    text, found = scrape(site)

    assert set(found.values()) == {0.0}
    assert {status for _, _, status in found} == {"429", "500", "503"}
    assert ("/api/v1/integrations/siem/{integration_id}", "PATCH", "503") in found
    assert 'siem_api_request_seconds_count{route="/readyz"} 0.0' in text


def test_a_client_makes_no_series_by_its_paths(site: Site) -> None:
    """Ids, unknown paths and methods share one series each, of the API and of the pages."""
    _, known = scrape(site)
    headers = {"Authorization": f"Bearer {site.keys[OURS, Role.ADMIN]}"}
    with httpx.Client(base_url=site.url, trust_env=False, timeout=90) as client:
        for one in ("x1", "x2", 'a"b'):
            client.get(f"/api/v1/integrations/siem/{one}", headers=headers)
            client.get(f"{HOME}/{one}/edit")
            client.get(f"/api/v1/nothing/{one}", headers=headers)
            client.request("BREW", "/healthz")
        client.get("/api/v1/integrations/siem", headers={"Authorization": "Bearer siem_wrong"})
    answered = {
        ("/api/v1/integrations/siem/{integration_id}", "GET", "404"): 3.0,
        (f"{HOME}/{{integration_id}}/edit", "GET", "303"): 3.0,
        ("other", "GET", "404"): 3.0,
        ("/healthz", "other", "404"): 3.0,
        ("/api/v1/integrations/siem", "GET", "401"): 1.0,
    }

    def counted() -> Counts:
        return {answer: count for answer, count in scrape(site)[1].items() if count}

    wait_until(lambda: sum(counted().values()) >= sum(answered.values()), "all are counted")
    assert counted() == answered
    assert set(scrape(site)[1]) - set(known) == set(answered)


def test_what_is_refused_before_its_route_is_counted_by_it(site: Site) -> None:
    """As a body that is too long to be read; how long it took counts as well."""
    address = urlsplit(site.url)
    with socket.create_connection((address.hostname, address.port), timeout=90) as client:
        client.sendall(b"POST /api/v1/events HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000000\r\n\r\n")
        status = client.recv(100).split()[1].decode()
    refused = ("/api/v1/events", "POST", status)
    wait_until(lambda: scrape(site)[1].get(refused) == 1, "it is counted")

    assert status in {"401", "413"}
    assert 'siem_api_request_seconds_bucket{le="+Inf",route="/api/v1/events"} 1.0' in scrape(site)[0]
