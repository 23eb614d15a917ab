"""Tests of an integration over HTTP, its health, and the types of events."""

import datetime as dt
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import trustme

from tests.api.conftest import PUBLISH_ONLY, Api
from tests.fleet import wait_until
from tests.receivers.hec import HecReceiver
from tests.receivers.scripts import Action
from tests.transports.certificates import server_context
from worker.api.pools import TESTS
from worker.broker.certificates import certificate_ends
from worker.broker.heartbeat import Heartbeat
from worker.broker.key_holders import key_facts, key_holders
from worker.model.events import EventType
from worker.model.fleet_health import worker_role
from worker.vault.vault import Vault, new_key

LINES = {"Accept": "application/x-ndjson"}


@pytest.fixture
def splunk() -> Iterator[HecReceiver]:
    """Give a Splunk that takes everything."""
    with HecReceiver() as receiver:
        yield receiver


def integrate(api: Api, url: str) -> str:
    """Create an integration to that Splunk; return its path."""
    made = api.create({"type": "splunk_hec", "url": url, "token": "secret-token", "timeout_seconds": 2})
    return f"/integrations/siem/{made['id']}"


def step(steps: list[dict[str, Any]], name: str) -> dict[str, Any]:
    """Return the step of that name."""
    [found] = [one for one in steps if one["step"] == name]
    return found


def test_a_test_tells_each_step(api: Api, splunk: HecReceiver) -> None:
    """The steps are those of `siem doctor`; the test event has reached the SIEM."""
    answer = api.ask("POST", integrate(api, splunk.url) + "/test")
    reported = answer.json()

    assert answer.status_code == 200
    assert reported["failed"] is False
    assert reported["type"] == "splunk_hec"
    assert step(reported["steps"], "test event")["result"] == "ok"
    assert splunk.events
    assert {one["result"] for one in reported["steps"]} <= {"ok", "warning", "skipped"}
    assert "secret-token" not in answer.text


def test_a_test_notes_when_the_certificate_ends(api: Api) -> None:
    """Even without an event: the alert on a renewed certificate of an idle integration ends then."""
    authority, ends = trustme.CA(), dt.datetime(2031, 2, 3, tzinfo=dt.UTC)
    tls = server_context(authority.issue_cert("127.0.0.1", not_after=ends))
    with HecReceiver(tls=tls) as splunk:
        trusted = {"ca_pem": authority.cert_pem.bytes().decode(), "token": "secret-token"}
        made = api.create({"type": "splunk_hec", "url": splunk.url, **trusted})
        before = certificate_ends(api.resources.client).get(made["id"])
        answer = api.ask("POST", f"/integrations/siem/{made['id']}/test?test_event=false")

    assert step(answer.json()["steps"], "tls")["result"] == "ok"
    assert before is None
    assert certificate_ends(api.resources.client)[made["id"]] == ends.timestamp()


def test_a_test_without_an_event_sends_none(api: Api, splunk: HecReceiver) -> None:
    """Who wants nothing in his index says so."""
    reported = api.ask("POST", integrate(api, splunk.url) + "/test?test_event=false").json()

    assert step(reported["steps"], "test event")["result"] == "skipped"
    assert not splunk.events


def test_a_failure_is_no_error_of_the_request(api: Api, splunk: HecReceiver) -> None:
    """That a destination cannot be reached is what the test found out."""
    path = integrate(api, splunk.url.replace("127.0.0.1", "192.168.77.1"))
    answer = api.ask("POST", path + "/test")
    failed = [one for one in answer.json()["steps"] if one["result"] == "failed"]

    assert answer.status_code == 200
    assert answer.json()["failed"] is True
    assert failed
    assert all(one["hint"] for one in failed)


def test_workers_that_cannot_open_the_secret_are_warned_of(api: Api, splunk: HecReceiver) -> None:
    """The API has its key, so that all steps pass; names of hosts are not shown here."""
    path = integrate(api, splunk.url)
    sign = Heartbeat(api.fleet.client, worker_role("splunk_hec"), facts=key_facts(Vault([new_key()])))
    sign.start()
    try:
        wait_until(lambda: key_holders(api.fleet.client), "the worker tells its keys")
        steps = api.ask("POST", path + "/test?test_event=false").json()["steps"]
    finally:
        sign.stop()

    found = step(steps, "secret keys")
    words = "a running worker lacks the key that sealed token: its events wait"
    assert (found["result"], found["message"].startswith(words)) == ("warning", True)


def test_steps_come_as_they_end(api: Api) -> None:
    """As lines, the first steps are read while the SIEM still thinks about a later one."""
    thought = threading.Event()

    def think(_request: object) -> Action:
        thought.wait(20)
        return Action(200, b'{"text":"Success","code":0}')

    with HecReceiver(think) as slow:
        path = integrate(api, slow.url)
        headers = {**LINES, "Authorization": f"Bearer {api.keys['ours', 'admin']}"}
        with api.http.stream("POST", f"{api.url}/api/v1{path}/test", headers=headers) as answer:
            lines = answer.iter_lines()
            first = json.loads(next(lines))
            thought.set()
            rest = [json.loads(line) for line in lines]

    assert answer.headers["Content-Type"] == "application/x-ndjson"
    assert first["result"] == "ok"
    assert step(rest, "test event")["result"] == "ok"


def test_a_tenant_has_few_tests_at_once(api: Api) -> None:
    """Who tests again and again waits; no one else does, and the places are free again afterwards."""
    thought = threading.Event()
    waiting = threading.Semaphore(0)

    def think(_request: object) -> Action:
        waiting.release()
        thought.wait(20)
        return Action(200, b'{"text":"Success","code":0}')

    with HecReceiver(think) as slow, ThreadPoolExecutor(TESTS.share) as pool:
        path = integrate(api, slow.url) + "/test"
        running = [pool.submit(api.ask, "POST", path) for _ in range(TESTS.share)]
        for _ in running:
            assert waiting.acquire(timeout=20)
        refused = api.ask("POST", path)
        thought.set()
        done = [one.result().status_code for one in running]
        wait_until(lambda: api.ask("POST", path).status_code == 200, "a place is free again")

    assert (refused.status_code, refused.headers["Retry-After"]) == (429, "5")
    assert done == [200] * TESTS.share


def test_health_shows_state_and_backlog(api: Api) -> None:
    """It is the health of `siem health`, with times of RFC 3339."""
    made = api.create(name="healthy")
    health = api.get(f"/integrations/siem/{made['id']}/health")
    api.ask("POST", f"/integrations/siem/{made['id']}/pause")

    assert health["name"] == "healthy"
    assert health["state"] == "idle"
    assert health["backlog"] == 0
    assert health["last_error"] is None
    assert api.get(f"/integrations/siem/{made['id']}/health")["state"] == "paused"


def test_publishers_may_list_event_types(api: Api) -> None:
    """All eleven, each with what it means, and whether an integration gets it unasked."""
    types = {one["type"]: one for one in api.get("/event-types", role=PUBLISH_ONLY)["items"]}

    assert set(types) == set(EventType)
    assert [name for name, one in types.items() if not one["default"]] == ["policy.allow"]
    assert types["policy.deny"]["description"] == "An action was blocked by a deny policy"
