"""A destination that is away, or set up wrongly: what is held, and what comes through in the end."""

import threading

import pytest

from tests.fleet import wait_until
from tests.receivers import scripts
from tests.receivers.hec import HecReceiver
from tests.system.conftest import Customer
from worker.model.deliveries import Status

pytestmark = pytest.mark.slow


def test_an_outage_costs_no_event(customer: Customer) -> None:
    """While it lasts the backlog is held and one batch tries now and then; afterwards everything arrives."""
    well = threading.Event()

    def script(request: scripts.Request) -> scripts.Action:
        return scripts.ok()(request) if well.is_set() else scripts.busy()(request)

    with HecReceiver(script) as splunk:
        customer.integrate(splunk.url, batch_events=10)
        ids = customer.publish(customer.events(400))
        customer.held()
        tried = len(splunk.posts)
        wait_until(lambda: len(splunk.posts) >= tried + 2, "it is tried again")
        seen_while_away = len(splunk.posts)
        well.set()
        rows = customer.settled(400)

        assert sorted(rows) == sorted(ids)
        assert {row.status for row in rows.values()} == {Status.DELIVERED}
        assert customer.dead() == []
        assert seen_while_away < 20


def test_a_wrong_token_is_mended_and_nothing_was_lost(customer: Customer) -> None:
    """Even without a single retry: the event waits for whoever mends the setting, and counts one attempt."""
    mended = threading.Event()

    def script(request: scripts.Request) -> scripts.Action:
        return scripts.ok()(request) if mended.is_set() else scripts.reject_token()(request)

    with HecReceiver(script) as splunk:
        customer.integrate(splunk.url, max_retries=0)
        [event_id] = customer.publish(customer.events(1))
        assert customer.held().error_code == "token_invalid"
        status = {one["id"]: one for one in customer.fleet.status()["integrations"]}
        assert status[customer.integration]["breaker_open"]["cause"] == "token_invalid"
        assert "circuit breaker open since" in customer.fleet.siem("status").stdout.decode()
        mended.set()
        row = customer.settled(1)[event_id]

        assert (row.status, row.attempts) == (Status.DELIVERED, 1)
        told = f"breaker.closed: circuit breaker of {customer.integration} closed"
        wait_until(lambda: told in customer.fleet.log("worker"), "the worker says so")
