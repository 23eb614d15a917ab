"""A worker that stays with its integration is killed: another delivers what comes, and nothing twice."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fleet import PATIENCE, Fleet, wait_until
from tests.receivers.hec import HecReceiver
from tests.system.conftest import denial

pytestmark = pytest.mark.slow

SLOT = "siem:slot:int_splunk:1"


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Fleet]:
    """Give a fleet whose orders may wait for long: only the lease of a worker that stays runs out."""
    with Fleet(tmp_path, SIEM_ORDER_LEASE=str(10 * PATIENCE), SIEM_LEASE="20") as fleet:
        yield fleet


def test_a_worker_that_is_killed_while_it_stays_loses_nothing(own: Fleet) -> None:
    """Its slot is ordered again, and each event is delivered once."""
    with HecReceiver() as splunk:
        own.integrate(splunk.url)
        own.start()
        sent: list[str] = []

        def is_killed_while_it_stays() -> bool:
            sent.extend(own.publish([denial(f"e{len(sent)}")]))
            splunk.wait_for_events(len(sent))
            wait_until(lambda: own.client.hget(SLOT, "state") != b"sending", "it is settled")
            if own.client.hget(SLOT, "state") != b"ordered":
                return False
            own.kill("worker")
            if own.client.hget(SLOT, "state") == b"ordered":
                return True
            own.start("worker")
            return False

        wait_until(is_killed_while_it_stays, "a worker is killed while it stays")
        sent += own.publish([denial(f"e{len(sent)}")])
        own.start("worker")
        own.settled(len(sent))

        assert Counter(splunk.accepted_ids) == Counter(sent)
