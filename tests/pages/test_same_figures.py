"""Every door tells the same error rate, retry rate and latencies of an integration, and what they are."""

import html
import itertools
import json
from typing import Any

import pytest

from tests.fleet import wait_until
from tests.ledger.entries import outcome
from tests.pages.conftest import HOME, OURS, Site
from worker.background.health import HealthService
from worker.broker import keys
from worker.broker.redis_stats import RedisStats
from worker.ledger.recording import record_entries
from worker.model.api_keys import Role
from worker.model.deliveries import EventTrace, Outcome, Status
from worker.model.health import ERROR_RATE, LATENCY, LATENCY_OF, RETRY_RATE, Latency
from worker.model.time import utc_text

pytestmark = pytest.mark.slow

#: Latencies of the latest settlements, in milliseconds, behind older ones that took far longer.
LATEST, OLDER = range(1, LATENCY_OF + 1), 90_000
FIGURES = Latency(250, 475, 495)


_numbers = itertools.count(1)


def reported(site: Site, *command: str) -> Any:
    """Read what a command prints, whatever it thinks of a fleet of which nothing runs."""
    return json.loads(site.fleet.siem(*command, "--json").stdout)


def delivered(integration_id: str, name: str, at_ms: int, took_ms: int) -> Outcome:
    """Make an outcome of one event that took so long."""
    trace = EventTrace(name, "policy.deny", at_ms - took_ms, at_ms - took_ms, 1)
    return Outcome(integration_id, Status.DELIVERED.value, at_ms, None, None, [trace], 200)


@pytest.fixture
def integration(site: Site) -> str:
    """Give an integration with a history: deliveries, retries, dead letters."""
    home = site.integrate(f"figures{next(_numbers)}")
    now_ms = RedisStats(site.fleet.client).now_ms()
    began_ms = now_ms - 30_000
    entries = [
        [delivered(home, f"old{number}", began_ms - 1000 + number, OLDER) for number in range(50)],
        [
            outcome(
                [f"dead{number}" for number in range(22)], Status.DEAD, integration_id=home, settled_ms=1
            ),
            outcome(["again"] * 143, Status.RETRYING, integration_id=home, settled_ms=1),
        ],
        [delivered(home, f"new{number}", began_ms + number, number) for number in LATEST],
    ]
    entries[1] = [
        Outcome(one.integration_id, one.status, began_ms - 5000, one.failure, None, one.events, 503)
        for one in entries[1]
    ]
    named = [(f"{began_ms}-{number}", one) for number, one in enumerate(entries, 1)]
    record_entries(site.fleet.engine, named, [])
    return home


def metrics(site: Site) -> dict[str, float]:
    """Scrape."""
    visitor = site.visitor(None)
    text = visitor.http.get("/metrics").text
    pairs = (line.rpartition(" ")[::2] for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, value in pairs}


def test_every_door_tells_the_same_figures(site: Site, integration: str) -> None:
    """API, command line, pages and metrics: by one definition, whatever stands further back."""
    expected = HealthService(site.resources.engine, site.resources.client, site.resources.config).of(
        integration
    )
    assert expected.latency == FIGURES
    assert expected.error_rate == 22 / 572
    assert expected.retry_rate == 143 / 715
    document = {"p50": 250, "p95": 475, "p99": 495}

    [listed] = [one for one in reported(site, "health")["integrations"] if one["id"] == integration]
    single = reported(site, "health", integration)
    for one in (listed, single):
        assert one["latency_ms"] == document
        assert one["error_rate"] == 22 / 572
        assert one["retry_rate"] == 143 / 715
    status = [one for one in reported(site, "status")["integrations"] if one["id"] == integration]
    assert [one["latency_ms"] for one in status] == [document]

    key = {"Authorization": f"Bearer {site.keys[OURS, Role.ADMIN]}"}
    api: Any = (
        site.visitor(None).http.get(f"/api/v1/integrations/siem/{integration}/health", headers=key).json()
    )
    assert api["latency_ms"] == document
    assert api["error_rate"] == 22 / 572
    assert api["retry_rate"] == 143 / 715

    visitor = site.visitor()
    page = visitor.get(f"{HOME}/{integration}").text
    assert "250 ms / 475 ms / 495 ms" in page
    assert "3.8%" in page
    row = visitor.get(f"{HOME}?q={integration.removeprefix('int_')}").text
    assert "475 ms" in row
    assert "3.8%" in row

    mark = f'{{integration="{integration}",tenant="{OURS}",type="webhook"'
    name = f"siem_integration_error_ratio{mark}}}"
    found = wait_until(lambda: (scraped := metrics(site)).get(name) is not None and scraped, "it is told")
    assert found[name] == 22 / 572
    assert found[f"siem_integration_retry_ratio{mark}}}"] == 143 / 715
    for quantile, value in (("0.5", 0.25), ("0.95", 0.475), ("0.99", 0.495)):
        at = mark.replace(",tenant", f',quantile="{quantile}",tenant')
        assert found[f"siem_integration_latency_seconds{at}}}"] == value


def test_every_door_says_that_nothing_was_recorded_for_long(site: Site) -> None:
    """Outcomes wait and no recorder runs: no one knows that all is well, and all say so in the same words."""
    integration = site.integrate("stale").rpartition("/")[2]
    client = site.resources.client
    since_ms = RedisStats(client).now_ms() - 600_000
    before = reported(site, "health", integration)
    client.xadd(keys.OUTCOMES, {"outcomes": b""}, id=f"{since_ms}-1")
    try:
        key = {"Authorization": f"Bearer {site.keys[OURS, Role.ADMIN]}"}
        path = f"/api/v1/integrations/siem/{integration}/health"
        api: Any = site.visitor(None).http.get(path, headers=key).json()
        single = reported(site, "health", integration)
        status = [one for one in reported(site, "status")["integrations"] if one["id"] == integration]
        page = html.unescape(site.visitor().get(f"{HOME}/{integration}").text)
        listed = html.unescape(site.visitor().get(f"{HOME}?state=unknown&q=stale").text)
    finally:
        client.delete(keys.OUTCOMES)

    words = f"outcomes since {utc_text(since_ms)} (10 min) not recorded yet: no recorder runs"
    assert before["state"] == "idle"
    for one in (api, single, *status):
        assert (one["state"], one["reason"]) == ("unknown", f"{words}; nothing waits")
    assert [words in text for text in (page, listed)] == [True, True]
    assert api["recorded_until"].startswith(utc_text(since_ms).rstrip("Z").replace(" ", "T"))
    assert single["recorded_until"] == api["recorded_until"]


def test_every_door_says_what_they_are(site: Site, integration: str) -> None:
    """In the same words."""
    meanings = (ERROR_RATE, RETRY_RATE, LATENCY)
    text = site.visitor(None).http.get("/metrics").text
    openapi = site.visitor(None).http.get("/openapi.json").json()
    properties = openapi["components"]["schemas"]["HealthDocument"]["properties"]
    described = " ".join(one.get("description", "") for one in properties.values())
    page = html.unescape(site.visitor().http.get(f"{HOME}/{integration}").text)
    command = site.fleet.siem("health", integration).stdout.decode()

    for one in meanings:
        assert one in text
        assert one in described
        assert one in page
        assert one in command
