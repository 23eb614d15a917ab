"""Whether a worker of Celery lives and takes the orders of its queues: its loop, its threads, its queues."""

from collections.abc import Collection
from typing import Any

from celery import Celery
from celery.signals import celeryd_after_setup, worker_ready, worker_shutting_down

from worker.broker.celery_log import CONSUMER_LOOP, dependencies
from worker.broker.celery_worker import AT_STOP, OCCUPANCY, ended_in_words
from worker.model.availability import LONGEST_TURN
from worker.probes.process import ProcessProbe
from worker.probes.server import start_probes
from worker.settings import settings


class WorkerProcess:
    """A worker that has read its options."""

    def __init__(self, app: Celery, longest_task: float) -> None:
        """Take how long a task may take, in seconds; its queues are those that it is to consume now."""
        self._app = app
        self._longest_task = longest_task
        self._queues: Collection[str] = tuple(app.amqp.queues.consume_from)
        dependencies.loops.watch(CONSUMER_LOOP)
        self.probe = ProcessProbe(dependencies, self._hindered, self._stuck)
        worker_ready.connect(self._works, weak=False)
        worker_shutting_down.connect(self._ends, weak=False)
        AT_STOP.insert(0, self._ends)

    def start(self, host: str, port: int) -> None:
        """Answer probes until the process is gone; end it if the port cannot be had."""
        with ended_in_words():
            start_probes(self.probe, host, port)

    def _works(self, **_: Any) -> None:
        self.probe.works()

    def _ends(self, **_: Any) -> None:
        self.probe.ends()

    def _hindered(self) -> str | None:
        missing = sorted(set(self._queues) - set(self._app.amqp.queues.consume_from))
        if missing:
            return f"it does not consume {', '.join(missing)} (`celery control add_consumer`)"
        return dependencies.redis.absence()

    def _stuck(self) -> str | None:
        return OCCUPANCY.stuck(self._longest_task)


def install_probes(longest_wait: float) -> None:
    """Have a worker of this process answer probes before its consumer waits for Redis.

    A thread may go on for so many seconds with orders that were set aside, and then send for a last time.
    """

    def answer(instance: Any, **_: Any) -> None:
        config = settings()
        made = WorkerProcess(instance.app, longest_wait + config.send_deadline + LONGEST_TURN)
        made.start(config.probe_host, config.probe_port)

    celeryd_after_setup.connect(answer, weak=False)
