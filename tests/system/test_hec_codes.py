"""Splunk's codes through the whole pipeline: what waits, what slows down, which setting is to be mended."""

from typing import Any

import pytest

from tests.receivers import scripts
from tests.receivers.hec import HecReceiver
from tests.system.conftest import Customer
from worker.demo.splunk import REPLIES
from worker.model.deliveries import Status


@pytest.mark.parametrize(
    ("code", "setting"),
    [
        *((code, "token") for code in (1, 2, 3, 4, 21, 22)),
        *((code, "use_ack") for code in (10, 11, 14, 28)),
        (7, "index"),
        (16, "url"),
    ],
)
def test_the_ledger_names_the_setting_to_mend(customer: Customer, code: int, setting: str) -> None:
    """A code of configuration is told in Splunk's own words, with a hint that names the setting."""
    status, text = REPLIES[code]
    with HecReceiver(scripts.status(status, code)) as splunk:
        customer.integrate(splunk.url, max_retries=0)
        customer.publish(customer.events(1))
        row = customer.held()

        assert row.http_status == status
        assert row.error == f"HTTP {status}: {text} (code {code})"
        assert f"`{setting}`" in (row.hint or "")


@pytest.mark.parametrize("code", [8, 9, 18, 19, 20, 23, 26, 27])
def test_what_passes_by_itself_is_waited_for(customer: Customer, code: int) -> None:
    """Busy, full, ill or shutting down: sent again, and delivered at the second attempt."""
    with HecReceiver(scripts.first(1, scripts.status(REPLIES[code][0], code))) as splunk:
        customer.integrate(splunk.url)
        [event_id] = customer.publish(customer.events(1))
        row = customer.settled(1)[event_id]

        assert (row.status, row.attempts) == (Status.DELIVERED, 2)
        assert splunk.accepted_ids == [event_id]


@pytest.mark.parametrize("code", [24, 25])
def test_a_splunk_that_will_soon_be_full_is_spared(customer: Customer, code: int) -> None:
    """What was sent is delivered; the next batch comes only when the rest is over, which grows."""
    with HecReceiver(scripts.strained(code)) as splunk:
        customer.integrate(splunk.url)
        rests: list[int] = []
        for event in customer.events(2):
            [event_id] = customer.publish([event])
            row = customer.settled(len(rests) + 1)[event_id]
            rests.append(rests_until(customer) - row.settled_ms)

            assert (row.status, row.attempts) == (Status.DELIVERED, 1)
            assert splunk.request_counts(event_id) == 1

    assert rests[0] >= 990  # what Redis and the worker round off
    assert rests[1] >= 1_990


def test_a_splunk_that_is_well_is_not_spared(customer: Customer) -> None:
    """A plain success leaves no rest behind."""
    with HecReceiver() as splunk:
        customer.integrate(splunk.url)
        customer.publish(customer.events(1))
        customer.settled(1)

        assert state(customer, "rests_until") is None


def rests_until(customer: Customer) -> int:
    """Return until when no further batch is claimed, in milliseconds by Redis's clock."""
    return int(state(customer, "rests_until"))


def state(customer: Customer, field: str) -> Any:
    """Read what Redis knows of the customer's integration."""
    return customer.fleet.client.hget(f"siem:state:{customer.integration}", field)
