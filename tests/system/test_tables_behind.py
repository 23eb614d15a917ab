"""Processes of a new release that start before `siem db upgrade`: they wait for it, whatever the order is."""

import re
from pathlib import Path

import httpx
import pytest

from tests.fleet import Fleet, wait_until
from tests.receivers.hec import HecReceiver
from tests.system.conftest import denial
from worker.ledger.migrations.runner import downgrade_tables, upgrade_tables

pytestmark = pytest.mark.slow

_ASKS = "run `siem db upgrade`"


def _database(url: str) -> tuple[bool, str]:
    """Return what readiness says of the database."""
    parts = httpx.get(f"{url}/readyz", trust_env=False, timeout=90).json()["parts"]
    [found] = [part for part in parts if part["name"] == "database"]
    return found["ok"], found["detail"]


def test_a_recorder_and_an_api_wait_for_the_upgrade(tmp_path: Path) -> None:
    """Events are delivered meanwhile, their outcomes wait in Redis, and nobody has to be started again."""
    with HecReceiver() as splunk, Fleet(tmp_path, SIEM_API_PORT="0") as fleet:
        fleet.integrate(splunk.url)
        downgrade_tables(fleet.engine, "0007")
        fleet.start("router", "recorder", "worker", "api")
        url = wait_until(lambda: re.search(r"listening at (\S+)", fleet.log("api")), "the API listens")[1]
        fleet.publish([denial(f"evt_{number}") for number in range(3)])
        splunk.wait_for_events(3)
        wait_until(lambda: _ASKS in fleet.log("recorder"), "the recorder asks for the upgrade")
        before = _database(url)
        alive = fleet.processes["recorder"].poll() is None
        upgrade_tables(fleet.engine)
        rows = fleet.settled(3)
        after = wait_until(lambda: _database(url)[0], "the API finds the tables upgraded")

    assert not before[0]
    assert _ASKS in fleet.log("api")
    assert alive
    assert {row.status for row in rows} == {"delivered"}
    assert after
