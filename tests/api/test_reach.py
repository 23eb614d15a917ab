"""The API judges by what the workers allow: it tests by that, and warns of an address that they refuse."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.api.conftest import Api
from tests.fleet import wait_until
from tests.receivers.webhook import WebhookReceiver
from worker.background.reach import reach_fact
from worker.broker.fleet import living_processes
from worker.broker.heartbeat import Heartbeat
from worker.broker.identity import process_identity
from worker.model.fleet_health import worker_role
from worker.settings import Settings
from worker.vault.vault import open_vault

ROLE, HEADER = worker_role("webhook"), "SIEM-Warning"


@contextmanager
def _worker(api: Api, allows: str) -> Iterator[None]:
    """Give the heartbeats of a worker, of this very process, that allows these networks."""
    facts = reach_fact(open_vault(api.fleet.settings), Settings.model_validate({"allowed_networks": allows}))
    sign = Heartbeat(api.fleet.client, ROLE, facts=facts)
    own = str(process_identity())
    sign.start()
    try:
        wait_until(
            lambda: (ROLE, own) in {(one.role, one.name) for one in living_processes(api.fleet.client)},
            "it lives",
        )
        yield
    finally:
        sign.stop()


def _test(api: Api, made: dict[str, Any]) -> dict[str, Any]:
    reported = api.ask("POST", f"/integrations/siem/{made['id']}/test").json()
    return {step["step"]: step for step in reported["steps"]}


def test_an_address_that_workers_refuse_is_warned_of(api: Api) -> None:
    """When it is created and when it is changed; what they allow goes without a word."""
    with _worker(api, "10.0.0.0/8"):
        made = api.ask(
            "POST", "/integrations/siem", json={"type": "webhook", "url": "https://192.168.1.1/", "name": "w"}
        )
        place = f"/integrations/siem/{made.json()['id']}"
        allowed = api.ask("PATCH", place, json={"url": "https://10.1.1.1/"})
        refused = api.ask("PATCH", place, json={"url": "https://172.16.0.1/"})
        shown = api.ask("GET", place)

    assert made.status_code == 201
    assert "192.168.1.1 is a private address that the workers on " in made.headers[HEADER]
    assert HEADER not in allowed.headers
    assert "172.16.0.1 is a private address" in refused.headers[HEADER]
    assert HEADER not in shown.headers


def test_a_test_goes_by_what_the_workers_allow(api: Api) -> None:
    """The setting of the API's own environment allows this address, and the worker does not."""
    with WebhookReceiver() as endpoint:
        made = api.create({"type": "webhook", "url": endpoint.url, "timeout_seconds": 2})
        with _worker(api, "10.0.0.0/8"):
            refused = _test(api, made)
        assert endpoint.requests == []
        with _worker(api, "127.0.0.0/8"):
            passed = _test(api, made)
        assert endpoint.events

    assert refused["address"]["result"] == "failed"
    assert "that the workers on " in refused["address"]["message"]
    assert "open by SIEM_ALLOWED_NETWORKS of the workers on " in passed["address"]["message"]
