"""Celery's consumer of a worker, which reports when it loses Redis, and why.

Celery loads it by the name in its setting `worker_consumer`. That it has Redis back, its channel reports once
Redis has answered it (`worker.broker.celery_channel`): to be connected is not enough where a command is
forbidden.
"""

import logging
from typing import Any

import redis
from celery.worker.consumer import Consumer
from celery.worker.state import maybe_shutdown

from worker.broker.celery_log import CONSUMER, CONSUMER_LOOP, dependencies, outage_behind
from worker.integrations import destination_types
from worker.model.log_events import QUEUE_UNKNOWN

log = logging.getLogger(__name__)

#: Celery's consumer tries again after so many seconds: at first, more each time, and at most. Celery's own
#: longest pause is 30 s, for which a worker would idle although Redis is back.
FIRST_PAUSE, LONGER, LONGEST_PAUSE = 0.5, 0.5, 2.0

#: How often the loop shows that it turns, in seconds.
TURN_EVERY = 5.0

#: What shows only that a connection has ended, not why.
_CUT = (redis.ConnectionError, redis.TimeoutError, OSError)


class ReportingConsumer(Consumer):
    """Celery's consumer, which reports that its connection could not be made, or broke, and why.

    It also shows that its loop turns, which else nothing does while no order comes.
    """

    def register_with_event_loop(self, hub: Any) -> None:
        """Show each turn; Celery takes the timer away with a broken connection, and comes here again."""
        super().register_with_event_loop(hub)
        hub.timer.call_repeatedly(TURN_EVERY, dependencies.loops.turned, (CONSUMER_LOOP,))

    def ensure_connected(self, conn: Any) -> Any:
        """Connect, however long it takes."""
        conn.ensure_connection(
            lambda error, _pause: dependencies.redis.lost(CONSUMER, outage_behind(error)),
            interval_start=FIRST_PAUSE,
            interval_step=LONGER,
            interval_max=LONGEST_PAUSE,
            callback=_go_on_waiting,
        )
        self.first_connection_attempt = False
        return conn

    def add_task_queue(self, queue: Any, *args: Any, **options: Any) -> None:
        """Consume from a queue as well, if it is one of ours: `celery control add_consumer` may name any key.

        A key that is no list would cut the worker off from all of its queues.
        """
        if queue in destination_types():
            super().add_task_queue(queue, *args, **options)
        else:
            QUEUE_UNKNOWN.log(log, queue=str(queue), known=", ".join(destination_types()))

    def on_connection_error_before_connected(self, exc: Exception) -> None:
        """Report an error after which Celery tries again to connect."""
        dependencies.redis.lost(CONSUMER, outage_behind(exc))

    def on_connection_error_after_connected(self, exc: Exception) -> None:
        """Report an error that ended a connection."""
        dependencies.redis.lost(CONSUMER, outage_behind(exc), is_cut=isinstance(exc, _CUT))
        super().on_connection_error_after_connected(exc)


def _go_on_waiting() -> None:
    """Wait on for Redis, unless the worker is to end."""
    dependencies.loops.turned(CONSUMER_LOOP)
    maybe_shutdown()
