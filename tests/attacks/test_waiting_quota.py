"""A tenant must not fill Redis and the ledger with events that no destination takes."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.api.conftest import OURS, PUBLISH_ONLY, THEIRS, Api, running
from tests.attacks.test_total_budget import fill, tell
from tests.fleet import Fleet, wait_until
from tests.logged import fields_of
from worker.background.unparker import WaitingQuota
from worker.broker import keys
from worker.broker.outcomes import Outcomes
from worker.broker.parking import BacklogBudget, Parking
from worker.broker.snapshot import Snapshot
from worker.ledger.parked import ParkedStore
from worker.ledger.recording import record_entries
from worker.model.log_events import TENANT_QUOTA_RECOVERED
from worker.model.parking import Cap

MOST = 30_000
EVENT = {"id": "evt_1", "type": "policy.deny", "timestamp": "2026-11-22T10:11:12.345Z"}


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    """Give an API before which two tenants have an integration each; no process of the fleet runs."""
    with Fleet(tmp_path) as fleet, running(fleet, tenant_waiting_bytes=MOST) as served:
        tell(fleet.client, {"a": OURS, "b": THEIRS})
        yield served


def look(api: Api, quota: WaitingQuota) -> None:
    """Look as the process beside a recorder does."""
    known = Snapshot(api.fleet.client).subscriptions()
    budget = BacklogBudget(api.fleet.client, Parking(api.fleet.client, Cap(10, 10**9)), 0)
    quota.look(ParkedStore(api.fleet.engine).counts(), known, budget.waiting(known))


def publish(api: Api, tenant: str) -> tuple[int, dict[str, object]]:
    """Publish an event; return the status and the document."""
    answer = api.ask("POST", "/events", PUBLISH_ONLY, tenant, json=EVENT)
    return answer.status_code, answer.json()


def test_a_tenant_of_which_too_much_waits_is_refused_alone(
    api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    """What waits in Redis and what is parked count together; less of it opens the door again."""
    client, store = api.fleet.client, ParkedStore(api.fleet.engine)
    parking = Parking(client, Cap(10, 10**9))
    quota = WaitingQuota(client, store, MOST)
    fill(client, "a", 25)
    look(api, quota)
    assert publish(api, OURS)[0] == 202

    while parking.park("a"):
        pass
    _record(api)
    fill(client, "a", 6)
    look(api, quota)
    wait_until(lambda: publish(api, OURS)[0] == 429, "the API refuses events of ours")
    problem = publish(api, OURS)[1]
    assert publish(api, THEIRS)[0] == 202
    assert {"limit": "tenant_waiting_bytes", "most": MOST, "accepted": 0}.items() <= problem.items()
    assert "31000 bytes" in str(problem["detail"])

    client.delete(keys.urgent("a"))
    client.hset(keys.state_key("a"), mapping={"unclaimed_events": 0, "unclaimed_bytes": 0})
    with caplog.at_level(logging.WARNING):
        look(api, quota)
    wait_until(lambda: publish(api, OURS)[0] == 202, "the API takes events of ours again")
    assert fields_of(caplog, TENANT_QUOTA_RECOVERED) == [{"tenant": OURS}]


def test_what_was_written_down_lasts_no_longer_than_its_writer(api: Api) -> None:
    """Without a recorder no tenant is refused; nor is one by what was written there by hand."""
    client = api.fleet.client
    fill(client, "a", 40)
    quota = WaitingQuota(
        client,
        ParkedStore(api.fleet.engine),
        MOST,
    )
    look(api, quota)
    assert 0 < client.ttl(keys.FULL_TENANTS) <= 30
    client.set(keys.FULL_TENANTS, "no JSON")

    wait_until(lambda: publish(api, OURS)[0] == 202, "the API takes events")


def test_nobody_is_refused_because_the_key_is_of_another_type(api: Api) -> None:
    """Every request to publish reads it."""
    api.fleet.client.rpush(keys.FULL_TENANTS, OURS)

    assert [publish(api, tenant)[0] for tenant in (OURS, THEIRS)] == [202, 202]


def test_what_somebody_else_wrote_down_for_ever_lasts_until_the_next_look(api: Api) -> None:
    """The process beside a recorder says each time which tenants are full, also that none is."""
    client = api.fleet.client
    client.set(keys.FULL_TENANTS, json.dumps({OURS: MOST + 1}))
    assert publish(api, OURS)[0] == 429
    look(api, WaitingQuota(client, ParkedStore(api.fleet.engine), MOST))

    wait_until(lambda: publish(api, OURS)[0] == 202, "the API takes events")


def _record(api: Api) -> None:
    outcomes = Outcomes(api.fleet.client, "test", 30)
    outcomes.read(1, 1)
    while len(settled := outcomes.read(1000, 1)):
        record_entries(api.fleet.engine, [], [], settled.parked)
        outcomes.finish(settled)
