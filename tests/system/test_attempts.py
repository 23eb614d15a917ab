"""What a destination answered to each attempt is told afterwards, by every door."""

import json

import pytest

from tests.receivers import scripts
from tests.receivers.hec import HecReceiver
from tests.system.conftest import Customer

pytestmark = pytest.mark.slow


def test_each_answer_is_told(customer: Customer) -> None:
    """Two refusals of different kinds, then success: three attempts, in their order, with their answers."""
    answers = iter([scripts.Action(503, b'{"text":"Server is busy","code":9}'), scripts.Action(500, b"oops")])
    with HecReceiver(lambda request: next(answers, None) or scripts.ok()(request)) as splunk:
        customer.integrate(splunk.url)
        [event_id] = customer.publish(customer.events(1))
        customer.settled(1)
        told = customer.fleet.siem("deliveries", "--event-id", event_id, "--json")
        shown = customer.fleet.siem("deliveries", "--event-id", event_id).stdout.decode()
        [delivery] = json.loads(told.stdout)["items"]

    assert [(one["number"], one["http_status"], one["status"]) for one in delivery["history"]] == [
        (1, 503, "retrying"),
        (2, 500, "retrying"),
        (3, 200, "delivered"),
    ]
    assert delivery["history"][0]["at"] < delivery["history"][2]["at"]
    assert f"Attempts at {customer.tenant}:" in shown
    assert "busy" in shown
