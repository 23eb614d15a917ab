"""A worker whose limits are too small delivers everything all the same, and charges nobody for them."""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from tests.fleet import Fleet, wait_until
from tests.receivers.hec import HecReceiver
from tests.receivers.scripts import Action, Request
from tests.receivers.syslog import SyslogReceiver
from tests.receivers.webhook import WebhookReceiver
from tests.system.conftest import denial
from worker.ledger.schema import minute_counts
from worker.model.deliveries import Status

pytestmark = pytest.mark.slow

WEBHOOKS, EVENTS = 12, 200


def _slowly(request: Request) -> Action:
    """Take everything, each request in its time: so many are under way at once."""
    time.sleep(0.02)
    return Action(200, b"", request.events)


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    """Give a fleet with as many threads as there are by default, and time enough for a busy machine."""
    with Fleet(tmp_path, SIEM_WORKER_THREADS="128", SIEM_SEND_DEADLINE="20", SIEM_LEASE="25") as made:
        yield made


def _integrate_all(fleet: Fleet, stack: ExitStack) -> list[str]:
    """Integrate a dozen webhooks, Splunk and syslog, all of them well; return their ids."""
    patient: dict[str, Any] = {"timeout_seconds": 15.0}
    for number in range(WEBHOOKS):
        url = stack.enter_context(WebhookReceiver(_slowly)).url
        fleet.integrate(url, f"hook{number}", type="webhook", connections=128, **patient)
    fleet.integrate(stack.enter_context(HecReceiver()).url, "splunk", **patient)
    fleet.integrate(stack.enter_context(SyslogReceiver()).url, "syslog", **patient)
    return [*(f"int_hook{number}" for number in range(WEBHOOKS)), "int_splunk", "int_syslog"]


def _failed_attempts(fleet: Fleet) -> int:
    with fleet.engine.connect() as connection:
        counted = func.sum(minute_counts.c.retried + minute_counts.c.dead)
        return int(connection.execute(select(counted)).scalar() or 0)


@pytest.mark.parametrize("files", [256, 1024])
def test_a_dozen_webhooks_of_128_connections_share_what_there_is(fleet: Fleet, files: int) -> None:
    """They want 1 536 descriptors: nothing fails, nothing dies, nobody counts as ill, whatever the limit."""
    fleet.worker_files = files
    fleet.start()
    with ExitStack() as stack:
        integrations = _integrate_all(fleet, stack)
        for batch in range(4):
            fleet.publish_at_once(denial(f"e{batch}-{number}") for number in range(EVENTS // 4))
        rows = {one: fleet.settled(EVENTS, one, 100) for one in integrations}

        assert {row.status for found in rows.values() for row in found} == {Status.DELIVERED}
        assert {row.attempts for found in rows.values() for row in found} == {1}
        assert fleet.dead(None) == []
        assert _failed_attempts(fleet) == 0
        told = wait_until(lambda: _health(fleet), "every integration is told")
        assert {one["name"]: one["state"] for one in told} == {
            one.removeprefix("int_"): "healthy" for one in integrations
        }
    assert "takes nothing" not in fleet.log("worker")
    assert "unexpected error" not in fleet.log("worker")


def _health(fleet: Fleet) -> list[dict[str, Any]]:
    done = fleet.siem_json("health")
    found: list[dict[str, Any]] = done["integrations"]
    return found
