"""Every link of every page leads somewhere."""

import itertools
import json
import time
from collections import deque
from typing import Any

import pytest

from tests.api.publishing import event
from tests.ledger.entries import letter, outcome
from tests.pages.conftest import HOME, Site, Visitor
from tests.pages.reading import Page
from worker.broker.ingress import IngressEntry
from worker.ledger.api_keys import ApiKeyStore
from worker.ledger.recording import record_entries
from worker.ledger.replays import create_replay
from worker.model.api_keys import Role
from worker.model.deliveries import Status
from worker.model.replays import DeadLetterFilter
from worker.pipeline.routing import route_entries

#: What a browser loads, and what a person or htmx follows, by element.
_LINKS = (("a", "href"), ("link", "href"), ("script", "src"), ("div", "hx-get"))
#: Pages of the tenant at the most; a page that links to ever more of its kind would fail by it.
_MOST = 300

_numbers = itertools.count(1)


@pytest.fixture
def tenant(site: Site) -> str:
    """Give a tenant that has one of each thing that pages show."""
    name = f"linked{next(_numbers)}"
    site.keys[name, Role.ADMIN] = ApiKeyStore(site.fleet.engine).create(name, Role.ADMIN, "a test").text
    made = [
        site.integrate(f"{name}-hook", name),
        site.integrate(f"{name}-splunk", name, "https://splunk.example.com:8088", type="splunk_hec"),
        site.integrate(f"{name}-syslog", name, "syslog+tcp://siem.example.com:514", type="syslog_cef"),
        site.integrate(f"{name}-gone", name),
    ]
    for home in made:
        _settle(site, home, name)
    _reject(site, name)
    site.resources.integrations_of(name).delete(made[-1])
    return name


def test_the_way_to_the_letters_of_one_integration(site: Site, tenant: str) -> None:
    """The link on its page shows its letters alone."""
    visitor, home = site.visitor(tenant=tenant), f"int_{tenant}-hook"
    answer = visitor.http.get(f"{HOME}/{home}/dead-letters")
    place = answer.headers.get("location")

    assert visitor.get(f"{HOME}/{home}").all("a", href=f"{HOME}/{home}/dead-letters")
    assert (answer.status_code, place) == (303, f"{HOME}/dead-letters?integration={home}")
    shown = visitor.get(place).text
    assert (f"{home}-dead" in shown, f"int_{tenant}-splunk-dead" in shown) == (True, False)


def test_every_link_leads_somewhere(site: Site, tenant: str) -> None:
    """Whatever the tenant has: no error, and nothing that is not found."""
    statuses = _followed(site.visitor(tenant=tenant))

    assert {path: status for path, status in statuses.items() if status != 200} == {}
    assert 20 < len(statuses) < _MOST


def _followed(visitor: Visitor) -> dict[str, int]:
    """Return the status of everything that a visitor reaches by links from the list."""
    statuses: dict[str, int] = {}
    waiting = deque([HOME])
    while waiting and len(statuses) < _MOST:
        path = waiting.popleft()
        if path in statuses:
            continue
        answer: Any = visitor.http.get(path, follow_redirects=True)
        statuses[path] = answer.status_code
        if answer.headers["content-type"].startswith("text/html"):
            waiting += _links(answer.text)
    return statuses


def _links(markup: str) -> list[str]:
    page = Page(markup)
    found = [one.attributes.get(name, "") for tag, name in _LINKS for one in page.all(tag)]
    return [one.partition("#")[0] for one in found if one.startswith("/")]


def _settle(site: Site, home: str, tenant: str) -> None:
    """Record a delivery, a failed attempt and dead letters of an integration, and make a replay of them."""
    now_ms = time.time_ns() // 1_000_000
    entry = f"{now_ms}-{next(_numbers)}"
    outcomes = [
        outcome([f"{home}-{status.value}"], status, integration_id=home, settled_ms=now_ms)
        for status in (Status.DELIVERED, Status.RETRYING, Status.DEAD)
    ]
    dead = letter({f"{home}-dead": b'{"id": "x"}'}, integration_id=home, dead_ms=now_ms)
    record_entries(site.fleet.engine, [(entry, outcomes)], [(entry, dead)])
    chosen = DeadLetterFilter(integration_id=home, tenant_id=tenant)
    create_replay(site.fleet.engine, chosen, target_id=None, rate=5, made_by="a test")


def _reject(site: Site, tenant: str) -> None:
    """Let a router judge an event of the tenant that is not valid."""
    raw = json.dumps(event(1, tenant_id=tenant, drift_score="high")).encode()
    entry = f"{time.time_ns() // 1_000_000}-{next(_numbers)}"
    arrived = IngressEntry(entry.encode(), int(entry.partition("-")[0]), raw, [b"event", raw])
    [dead] = route_entries([arrived], {}).dead
    record_entries(site.fleet.engine, [], [(entry, dead)])
