"""Celery's pool of threads, which goes on with those that it has where no further one can be started.

As it comes, the error reaches the consumer, and the worker ends amid its batches.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from celery.concurrency.thread import TaskPool

from worker.transports.shortages import no_thread

#: What is to be done when the pool is asked to end, while its threads still finish their tasks.
AT_STOP: list[Callable[[], None]] = []


class _Executor(ThreadPoolExecutor):
    def _adjust_thread_count(self) -> None:
        try:
            super()._adjust_thread_count()
        except RuntimeError:
            if not self._threads:
                raise
            no_thread("run another task; the others take it")  # it stands in their queue already


class SparingTaskPool(TaskPool):
    """A pool that outlives a limit on threads."""

    def __init__(self, *args: Any, **options: Any) -> None:
        """Make the pool; each thread is started when a task comes that none is free for."""
        super().__init__(*args, **options)
        self.executor = _Executor(max_workers=self.limit)

    def on_stop(self) -> None:
        """Let the threads finish their tasks, and begin no other."""
        for act in AT_STOP:
            act()
        super().on_stop()
