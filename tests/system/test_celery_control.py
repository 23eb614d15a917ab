"""What people who know Celery try on a fleet: purge, revoke, rate limits and the rest lose nothing."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import Celery

from tests.fleet import Fleet, wait_until
from tests.receivers import scripts
from tests.receivers.hec import HecReceiver
from tests.system.conftest import denial
from worker.broker.celery_worker import broker_settings
from worker.integrations import destination_types

TASK, QUEUE = "deliver_splunk_hec", "splunk_hec"


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Fleet]:
    """Give a fleet whose processes do not run yet."""
    with Fleet(tmp_path) as fleet:
        yield fleet


class Operator:
    """Someone with `celery -A worker`."""

    def __init__(self, fleet: Fleet) -> None:
        """Speak to the workers of this fleet."""
        app = Celery("operator", set_as_current=False)
        queues = {kind: {"exchange": "siem", "routing_key": kind} for kind in destination_types()}
        app.conf.update(**broker_settings(fleet.server.url, 300), task_queues=queues)
        self.control = app.control

    def ask(self, command: str, **arguments: Any) -> Any:
        """Return what the only worker answers: its `ok`, or its `error`."""

        def answer() -> Any:
            return self.control.broadcast(command, arguments=arguments, reply=True, timeout=5, limit=1)

        [[reply]] = [list(one.values()) for one in wait_until(answer, f"a worker answers {command}")]
        return reply.get("ok") or reply["error"]

    def active(self) -> list[str]:
        """Return the ids of the tasks that a worker carries out."""
        found = self.control.inspect(timeout=5, limit=1).active() or {}
        return [task["id"] for tasks in found.values() for task in tasks]


@pytest.mark.slow
def test_no_command_of_celery_loses_an_event(own: Fleet) -> None:
    """What is purged or revoked is issued again; what a pool of threads cannot do is refused."""
    opened = threading.Event()

    def script(request: scripts.Request) -> scripts.Action:
        opened.wait(2)
        return scripts.ok()(request)

    with HecReceiver(script) as splunk:
        own.integrate(splunk.url, timeout_seconds=2.9)
        own.start()
        operator = Operator(own)
        own.publish_at_once([denial(f"first-{number}") for number in range(20)])
        under_way = wait_until(operator.active, "a batch is under way")

        assert "flagged as revoked" in operator.ask("revoke", task_id=under_way)
        assert "a thread cannot be interrupted" in operator.ask("terminate", task_id=under_way, signal="KILL")
        for command in ("pool_grow", "pool_shrink"):
            assert "up to SIEM_WORKER_THREADS; for more, start further workers" in operator.ask(command, n=1)
        assert "Autoscale not enabled" in operator.ask("autoscale", max=4, min=1)
        assert "Pool restarts not enabled" in operator.ask("pool_restart")
        opened.set()

        operator.ask("rate_limit", task_name=TASK, rate_limit="1/h")
        own.publish_at_once([denial(f"limited-{number}") for number in range(20)])
        operator.ask("rate_limit", task_name=TASK, rate_limit="0")

        operator.ask("cancel_consumer", queue=QUEUE)
        purgeable: list[str] = []

        def waits() -> int:
            # A worker may have asked for the next order before, and a task goes on with what follows it.
            purgeable.extend(own.publish_at_once([denial(f"purged-{len(purgeable)}")]))
            return int(own.client.llen(f"siem:celery:{QUEUE}"))

        wait_until(waits, "an order waits")
        purged = operator.control.purge()
        operator.ask("add_consumer", queue=QUEUE)
        rows = own.settled(40 + len(purgeable))

    assert purged >= 1
    assert {row.status.value for row in rows} == {"delivered"}
    assert len({row.event_id for row in rows}) == 40 + len(purgeable)
