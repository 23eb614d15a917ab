"""Workers that live, and take no work orders: after `cancel_consumer`, they must not count as ready."""

from pathlib import Path

import pytest

from tests.fleet import Fleet, wait_until
from tests.receivers.hec import HecReceiver
from tests.system.conftest import denial
from worker.background.health import HealthService
from worker.model.fleet_health import Part

ROLE = "worker-splunk_hec"


def _part(fleet: Fleet) -> Part:
    found = HealthService(fleet.engine, fleet.client, fleet.settings).fleet()
    return next(part for part in found.parts if part.name == ROLE)


@pytest.mark.slow
def test_a_worker_without_its_queue_is_not_ready(tmp_path: Path) -> None:
    """It is reported with a hint, orders wait with their age, and both end once it consumes again."""
    with HecReceiver() as splunk, Fleet(tmp_path) as fleet:
        fleet.integrate(splunk.url)
        fleet.start()
        assert _part(fleet).ok

        assert fleet.celery("control", "cancel_consumer", "splunk_hec").returncode == 0
        wait_until(lambda: not _part(fleet).ok, "it does not count as ready")
        fleet.publish([denial("waits")])
        wait_until(lambda: ", the oldest for " in _part(fleet).words, "the order that waits shows its age")
        assert "celery -A worker control add_consumer splunk_hec" in _part(fleet).words
        done = fleet.siem("doctor")
        assert b"celery -A worker control add_consumer splunk_hec" in done.stdout + done.stderr
        assert done.returncode == 1

        assert fleet.celery("control", "add_consumer", "splunk_hec").returncode == 0
        fleet.settled(1)
        wait_until(lambda: _part(fleet).ok, "it is ready again")
        assert "control add_consumer" not in _part(fleet).words
