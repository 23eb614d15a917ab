"""A tenant whose destinations take everything, and take their time: no neighbour waits."""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.fleet import Fleet, wait_until
from tests.receivers import scripts
from tests.receivers.hec import HecReceiver
from tests.receivers.syslog import SyslogReceiver
from tests.receivers.webhook import WebhookReceiver, takes
from tests.system.conftest import denial
from worker.model.deliveries import Status

THREADS = 4
#: Integrations of the slow tenant, of each kind: it has work for twice its threads.
SLOW = THREADS
KINDS = ("splunk", "hook", "syslog")


@contextmanager
def _patient_fleet(directory: Path) -> Iterator[Fleet]:
    """Start a fleet in which no lease ends: what is set aside is taken up by those who set it aside."""
    with Fleet(
        directory,
        SIEM_WORKER_THREADS=str(THREADS),
        SIEM_SEND_DEADLINE="60",
        SIEM_LEASE="120",
        SIEM_ORDER_LEASE="200",
    ) as fleet:
        yield fleet


def _after(gate: threading.Event, script: scripts.Script) -> scripts.Script:
    """Follow the script once the gate is open."""

    def wait(request: scripts.Request) -> scripts.Action:
        assert gate.wait(60)
        return script(request)

    return wait


@pytest.mark.slow
def test_slow_success_takes_no_thread_of_a_neighbour(tmp_path: Path) -> None:
    """While all requests of a tenant are unanswered, another is delivered to; then each of them is, once."""
    gate = threading.Event()
    with ExitStack() as stack:
        stack.callback(gate.set)
        slow = stack.enter_context(HecReceiver(_after(gate, scripts.ok())))
        slow_hook = stack.enter_context(WebhookReceiver(_after(gate, takes())))
        quick, hook = stack.enter_context(HecReceiver()), stack.enter_context(WebhookReceiver())
        syslog = stack.enter_context(SyslogReceiver())
        fleet = stack.enter_context(_patient_fleet(tmp_path))
        for number in range(SLOW):
            fleet.integrate(slow.url, f"slow-{number}", tenant_id="slow", timeout_seconds=30.0)
            fleet.integrate(
                slow_hook.url, f"slow-hook-{number}", tenant_id="slow", type="webhook", timeout_seconds=30.0
            )
        fleet.integrate(quick.url, "splunk", tenant_id="well")
        fleet.integrate(hook.url, "hook", tenant_id="well", type="webhook")
        fleet.integrate(syslog.url, "syslog", tenant_id="well")
        fleet.start()

        fleet.publish([denial("slow-event", tenant_id="slow")])
        wait_until(lambda: len(slow.posts) + len(slow_hook.posts) == THREADS, "it has all its threads")
        for number in range(3):
            fleet.publish([denial(f"well-{number}", tenant_id="well")])
            for kind in KINDS:
                rows = fleet.settled(number + 1, f"int_{kind}")
                assert {row.status for row in rows} == {Status.DELIVERED}
        assert len(slow.posts) + len(slow_hook.posts) == THREADS

        gate.set()
        for number in range(SLOW):
            [row] = fleet.settled(1, f"int_slow-{number}")
            [other] = fleet.settled(1, f"int_slow-hook-{number}")
            assert {row.status, other.status} == {Status.DELIVERED}
        assert len(slow.posts) == len(slow_hook.posts) == SLOW
        assert fleet.log("worker").count("tenant slow holds its share of this worker's threads") == 1


def _on_their_way(fleet: Fleet) -> int:
    """Count the work orders that Celery has."""
    client = fleet.client
    return int(client.llen("siem:celery:splunk_hec")) + int(client.hlen("siem:celery:unacked"))


@pytest.mark.slow
def test_what_is_set_aside_leaves_with_its_worker(tmp_path: Path) -> None:
    """A worker that ends gives back the orders that wait in it, and another carries them out at once."""
    gate = threading.Event()
    with ExitStack() as stack:
        stack.callback(gate.set)
        slow = stack.enter_context(HecReceiver(_after(gate, scripts.ok())))
        fleet = stack.enter_context(_patient_fleet(tmp_path))
        for number in range(2 * SLOW):
            fleet.integrate(slow.url, f"slow-{number}", tenant_id="slow", timeout_seconds=30.0)
        fleet.start()
        fleet.publish([denial("slow-event", tenant_id="slow")])
        wait_until(lambda: len(slow.posts) == THREADS, "it has all its threads")
        wait_until(lambda: _on_their_way(fleet) == THREADS, "the rest is set aside")

        fleet.processes["worker"].terminate()
        fleet.spawn("worker-2")
        wait_until(lambda: len(slow.posts) == 2 * THREADS, "the others are sent by another worker")
        gate.set()

        for number in range(2 * SLOW):
            [row] = fleet.settled(1, f"int_slow-{number}")
            assert row.status is Status.DELIVERED
        assert Counter(slow.accepted_ids) == {"slow-event": 2 * SLOW}
