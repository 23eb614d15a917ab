"""A pause keeps events waiting, in Redis up to a cap and in the ledger beyond it; a resume sends them all."""

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.fleet import PATIENCE, Fleet, wait_until
from tests.ledger.postgres import postgres_server
from tests.receivers import scripts
from tests.receivers.hec import HecReceiver
from tests.system.conftest import Customer, denial
from worker.ledger.parked import ParkedStore
from worker.model.deliveries import Status

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture
def own_patient(tmp_path: Path) -> Iterator[Fleet]:
    """Give a fleet whose breaker waits for a minute."""
    with Fleet(tmp_path, SIEM_BREAKER_FIRST_PROBE="60") as fleet:
        yield fleet.start()


@pytest.fixture(params=["sqlite", "postgres"])
def own_small(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Fleet]:
    """Give a fleet that holds little in Redis, with a ledger in each database in turn; nothing runs yet."""
    with ExitStack() as stack:
        url = ""
        if request.param == "postgres":
            url = stack.enter_context(stack.enter_context(postgres_server()).database("parked"))
        yield stack.enter_context(
            Fleet(tmp_path, database_url=url, SIEM_BACKLOG_EVENTS="1000", SIEM_CLAIM_IDLE="2")
        )


def held(fleet: Fleet) -> int:
    """Count the events that wait in Redis."""
    return int(fleet.client.hget("siem:state:int_splunk", "backlog_events") or 0)


def parked(store: ParkedStore) -> int:
    """Count the events that rest in the ledger."""
    return sum(one.events for one in store.counts().values())


def test_events_of_a_pause_arrive_after_it(customer: Customer) -> None:
    """Those that were published meanwhile as well; nothing is sent while it lasts."""
    with HecReceiver() as splunk:
        customer.integrate(splunk.url)
        first = customer.publish(customer.events(20))
        customer.settled(20)
        paused = customer.fleet.siem("integrations", "pause", customer.tenant)
        later = customer.publish(
            denial(f"{customer.tenant}-p{n}", tenant_id=customer.tenant) for n in range(50)
        )
        depth = f"siem:state:{customer.integration}"
        wait_until(lambda: customer.fleet.client.hget(depth, "backlog_events") == b"50", "all are collected")
        shown = customer.fleet.siem("status").stdout.decode()
        listed = customer.fleet.siem("integrations", "list").stdout.decode()
        sent_meanwhile = len(splunk.accepted_ids)
        resumed = customer.fleet.siem("integrations", "resume", customer.integration)
        rows = customer.settled(70)

        assert paused.stdout.decode() == f"Paused {customer.tenant} ({customer.integration}).\n"
        assert any(line.startswith("paused") and customer.tenant in line for line in shown.splitlines())
        assert "paused" in next(line for line in listed.splitlines() if customer.tenant in line)
        assert sent_meanwhile == 20
        assert resumed.stdout.decode() == f"Resumed {customer.tenant} ({customer.integration}).\n"
        assert sorted(rows) == sorted(first + later)
        assert {row.status for row in rows.values()} == {Status.DELIVERED}


def test_a_resume_tries_a_held_destination_at_once(own_patient: Fleet) -> None:
    """The breaker's next try is a minute away; nobody who has mended the SIEM wants to wait for it."""
    answers = iter([scripts.reject_token()])

    def script(request: scripts.Request) -> scripts.Action:
        return next(answers, scripts.ok())(request)

    with HecReceiver(script) as splunk:
        own_patient.integrate(splunk.url)
        own_patient.publish_at_once([denial("e1")])
        state = "siem:state:int_splunk"
        wait_until(lambda: own_patient.client.hget(state, "breaker") == b"open", "the breaker is open")
        own_patient.siem("integrations", "resume", "splunk")
        [row] = own_patient.settled(1)

        assert row.status is Status.DELIVERED


def test_what_redis_should_not_hold_rests_in_the_ledger(own_small: Fleet) -> None:
    """A long pause, a small cap, kills on the way: every event arrives, and each of them once."""
    fleet, store = own_small, ParkedStore(own_small.engine)
    with HecReceiver() as splunk:
        fleet.integrate(splunk.url, batch_events=100)
        fleet.start()
        fleet.siem("integrations", "pause", "splunk")
        wait_until(lambda: fleet.client.hget("siem:state:int_splunk", "held") == b"1", "it is paused")
        ids = fleet.publish(denial(f"e{number}") for number in range(5000))
        wait_until(lambda: parked(store) >= 2000, "the first are parked")
        for role in ("router", "recorder"):
            fleet.kill(role)
            fleet.start(role)
        wait_until(lambda: parked(store) >= 4000, "what passed the cap is parked")
        # The last of them may be on their way still: from the ingress, or to the ledger.
        wait_until(lambda: held(fleet) + parked(store) == 5000, "each event rests in Redis or in the ledger")
        waits = fleet.status()["integrations"][0]
        shown = fleet.siem("status").stdout.decode()
        assert fleet.siem("integrations", "resume", "splunk").returncode == 0
        fleet.kill("recorder")
        fleet.start("recorder")
        splunk.wait_for_events(5000, PATIENCE)
        rows = fleet.settled(5000)

        assert waits["backlog"] + waits["parked"] == 5000
        assert waits["backlog"] <= 1000
        assert "  5 000  " in shown
        assert set(splunk.accepted_ids) == set(ids)
        assert not Counter(splunk.accepted_ids) - fleet.requests()
        assert {row.status for row in rows} == {Status.DELIVERED}
        wait_until(lambda: store.counts() == {}, "nothing is parked any more")
        assert "are parked" in fleet.log("router")
