"""A destination that takes events and answers so that nobody can tell: no end of copies must come of it."""

import threading
from collections import Counter

import pytest

from tests.fleet import wait_until
from tests.receivers import scripts
from tests.receivers.hec import HecReceiver
from tests.system.conftest import Customer
from worker.model.deliveries import MAX_REQUESTS, Status


def _taking(status: int, body: bytes = b"") -> scripts.Script:
    return lambda request: scripts.Action(status, body, request.events, content_type="text/html")


@pytest.mark.slow
@pytest.mark.parametrize(
    "answers",
    [
        _taking(200, b"<html>Sign in</html>"),
        _taking(204),
    ],
    ids=["page", "no content"],
)
def test_probes_carry_one_event_each(customer: Customer, answers: scripts.Script) -> None:
    """The batch goes out once; then one event a probe, and none of them more than four times in all."""
    well = threading.Event()

    def script(request: scripts.Request) -> scripts.Action:
        return scripts.ok()(request) if well.is_set() else answers(request)

    with HecReceiver(script) as splunk:
        customer.integrate(splunk.url)
        ids = customer.publish(customer.events(60))
        customer.held()
        wait_until(lambda: len(splunk.posts) >= 5, "it is tried again")
        well.set()
        rows = customer.settled(60)

        assert sorted(rows) == sorted(ids)
        assert {row.status for row in rows.values()} == {Status.DELIVERED}
        sizes = [len(request.ids) for request in splunk.posts]
        assert sizes[0] == 60
        assert set(sizes[1:5]) == {1}
        copies = Counter(splunk.accepted_ids)
        assert max(copies.values()) <= MAX_REQUESTS
        # The first batch, one for each further probe, and the rest once it was well.
        assert sum(copies.values()) <= 60 + len(splunk.posts) + 60
