"""How `celery worker` starts here: options, broker settings, the node's name, the pool of threads.

Celery takes an option that has no effect on a pool of threads in silence (and puts our pool in place of
`prefork`). A user expects something of it, so it is refused with what to use in its place.
That gevent or eventlet is not installed, Celery says itself, before it has read anything of ours.

Celery's pool of threads, which goes on with those that it has where no further one can be started.

As it comes, the error reaches the consumer, and the worker ends amid its batches.
"""

import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

import click
from celery.concurrency.thread import TaskPool
from celery.signals import celeryd_init
from click.core import ParameterSource

from worker.allocator import keep_freed_memory
from worker.broker import keys
from worker.broker.connection import sentinel_options
from worker.broker.identity import node_name, process_identity
from worker.integrations import destination_types
from worker.model.errors import InvalidSetting
from worker.model.redis_address import SentinelAddress, sentinel_address
from worker.transports.budget import raise_descriptor_limit, threads_within
from worker.transports.shortages import no_thread

#: What is to be done when the pool is asked to end, while its threads still finish their tasks.
AT_STOP: list[Callable[[], None]] = []


_LIMITED = "a thread cannot be interrupted; SIEM_SEND_DEADLINE says how long a delivery may take"
_SIZE = "a worker starts threads as it needs them, up to SIEM_WORKER_THREADS; for more, start further workers"


class PoolOccupancy:
    """How many tasks the pool has, and when one of them ended last."""

    def __init__(self) -> None:
        """Begin without a pool."""
        self.threads = 0
        self._tasks = 0
        self._moved = 0.0
        self._lock = threading.Lock()

    def begin(self) -> None:
        """Count a task that is handed to the pool."""
        with self._lock:
            self._tasks += 1
            if self._tasks == self.threads:
                self._moved = time.monotonic()

    def end(self) -> None:
        """Count a task that has ended."""
        with self._lock:
            self._tasks -= 1
            self._moved = time.monotonic()

    def stuck(self, longest: float) -> str | None:
        """Return that all threads are busy and none has ended a task for so many seconds; None if not."""
        idle = time.monotonic() - self._moved
        if self.threads and self._tasks >= self.threads and idle > longest:
            return f"all of its {self.threads} threads are busy, and none has ended a task for {idle:.0f} s"
        return None


#: That of this process; one for the module: Celery makes its pool by itself.
OCCUPANCY = PoolOccupancy()


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
        OCCUPANCY.threads = self.limit
        keep_freed_memory()

    def on_apply(self, *args: Any, **options: Any) -> Any:
        """Have a thread carry out a task; count it until it has ended."""
        OCCUPANCY.begin()
        try:
            result = super().on_apply(*args, **options)
        except BaseException:
            OCCUPANCY.end()
            raise
        result.f.add_done_callback(lambda _: OCCUPANCY.end())
        return result

    def grow(self, n: int = 1) -> None:  # noqa: ARG002 - Celery's signature
        """Refuse `celery control pool_grow`; the sender is answered this."""
        raise ValueError(_SIZE)

    shrink = grow

    def terminate_job(self, pid: int, signal: object = None) -> None:  # noqa: ARG002 - Celery's signature
        """Refuse to end a task that a thread has begun."""
        raise ValueError(f"{_LIMITED}, and what is sent cannot be taken back")

    def on_stop(self) -> None:
        """Let the threads finish their tasks, and begin no other."""
        for act in AT_STOP:
            act()
        super().on_stop()


def install_node_names() -> None:
    """Have a worker of this process take a name of its own when it starts."""
    celeryd_init.connect(_name_node)


def _name_node(instance: Any, options: Mapping[str, Any], **_: Any) -> None:
    """Name the worker, unless `-n` does; the name ends as that of its heartbeats does."""
    context = click.get_current_context(silent=True)
    if context is None or context.get_parameter_source("hostname") is ParameterSource.DEFAULT:
        own = process_identity()
        instance.hostname = node_name(options.get("queues") or (), own.host, own.nonce)


_GIVEN = (ParameterSource.COMMANDLINE, ParameterSource.ENVIRONMENT)

_NO_CHILDREN = "a worker here has threads, and no child processes"
_SERVICE = "have a service manager bound its memory (MemoryMax= of systemd) and restart it"
#: Why an option is refused, and what to use in its place; by the name of its parameter.
REFUSED = {
    "autoscale": _SIZE,
    "max_tasks_per_child": f"{_NO_CHILDREN}; {_SERVICE}",
    "max_memory_per_child": f"{_NO_CHILDREN}; {_SERVICE}",
    "pool_start_method": f"{_NO_CHILDREN}; leave it out",
    "time_limit": f"{_LIMITED}",
    "soft_time_limit": f"{_LIMITED}",
    "prefetch_multiplier": "an order is fetched when a thread is free for it, and no sooner; leave it out",
    "beat": "nothing here is started by a schedule; leave it out",
}
#: Why a pool is refused.
_POOLS = {
    "prefork": "deliveries wait on sockets, for which threads are enough",
    "processes": "deliveries wait on sockets, for which threads are enough",
    "solo": "one destination that hangs would hold up all others",
    "gevent": "it never gives back the messages of a worker that was killed",
    "eventlet": "it never gives back the messages of a worker that was killed",
    "custom": "a worker here has a pool of its own",
}
_POOL_HINT = "leave the option out, or give threads; for more processes, start further workers"


class _ThreadsOnly(click.ParamType[Any]):
    """The pool of our own, by the name that Celery has for one of threads."""

    name = "pool"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return our pool for its name; refuse any other, with the reason."""
        if not isinstance(value, str):
            return value
        if value != "threads":
            reason = _POOLS.get(value)
            self.fail(f"{value!r}: {reason + '; ' if reason else ''}{_POOL_HINT}.", param, ctx)
        from worker.broker.celery_worker import SparingTaskPool  # noqa: PLC0415 - a worker alone needs the pool

        return SparingTaskPool


def is_celery_program() -> bool:
    """Whether this process is `celery` itself, which loads the app: a worker, Flower, `celery inspect`."""
    context = click.get_current_context(silent=True)
    program = sys.modules.get("celery.bin.celery")
    return context is not None and program is not None and context.find_root().command is program.celery


@contextmanager
def ended_in_words() -> Iterator[None]:
    """End `celery` as `siem` ends for settings that are wrong: a line for each, no traceback, exit code 2.

    Celery swallows all but SystemExit. In any other program the error passes.
    """
    try:
        yield
    except InvalidSetting as error:
        if not is_celery_program():
            raise
        for one in error.all:
            click.echo(f"Error: {one}", err=True)
        raise SystemExit(2) from None


def install_option_checks() -> None:
    """Have `celery worker` refuse what has no meaning here; changes the command of this process."""
    if not is_celery_program():
        return
    from celery.bin.worker import worker  # noqa: PLC0415 - of other programs, none needs Celery's commands

    # Behind `--` Celery would take any setting of its own.
    worker.context_settings["allow_extra_args"] = False
    for parameter in worker.params:
        if parameter.name == "pool":
            parameter.type = _ThreadsOnly()
            parameter.default = "threads"
        elif parameter.name in REFUSED:
            parameter.callback = _refusing(REFUSED[parameter.name], parameter.callback)
        elif parameter.name == "concurrency":
            parameter.type, parameter.callback = click.IntRange(min=1), _affordable
        elif parameter.name in ("queues", "exclude_queues"):
            parameter.callback = _known_queues


def _refusing(reason: str, otherwise: Callable[..., Any] | None) -> Callable[..., Any]:
    """Return a callback that refuses the option where it was given, and else does as `otherwise` does."""

    def callback(ctx: click.Context, param: click.Parameter, value: Any) -> Any:
        if ctx.get_parameter_source(param.name or "") in _GIVEN:
            raise click.BadParameter(f"{reason}.", ctx, param)
        return otherwise(ctx, param, value) if otherwise is not None else value

    return callback


def _affordable(ctx: click.Context, param: click.Parameter, value: int | None) -> Any:
    """Return how many threads to have; refuse more than this process may open files for."""
    if value is None:
        return ctx.obj.app.conf.worker_concurrency
    most = threads_within(raise_descriptor_limit(), value)
    if most < value:
        reason = f"this process may not open enough files (`ulimit -n`) for more than {most} threads."
        raise click.BadParameter(reason, ctx, param)
    return value


def _known_queues(ctx: click.Context, param: click.Parameter, value: Any) -> Any:
    unknown = [queue for queue in value or () if queue not in destination_types()]
    if unknown:
        known = ", ".join(destination_types())
        raise click.BadParameter(
            f"there is no queue {', '.join(map(repr, unknown))}: give {known}.", ctx, param
        )
    return value


def broker_settings(url: str, visibility_timeout: float) -> dict[str, Any]:
    """Return the settings of Celery that lead it to Redis; the time-out is in seconds."""
    options = _transport_options(visibility_timeout)
    address = sentinel_address(url)
    if address is None:
        return {"broker_url": url, "broker_transport_options": options}
    watched = {"master_name": address.service, "sentinel_kwargs": sentinel_options(address)}
    made = {"broker_url": _sentinel_urls(address), "broker_transport_options": options | watched}
    return made | ({"broker_use_ssl": dict(address.tls)} if address.tls else {})


def _transport_options(visibility_timeout: float) -> dict[str, Any]:
    return {
        # Longer than a lease: whatever is redelivered after it finds its order stale.
        "visibility_timeout": visibility_timeout,
        "unacked_restore_interval": 5,  # look for messages of dead workers every 5 s, not every 100
        "unacked_restore_throttle": 1,
        "health_check_interval": 10,  # notice half-open connections within seconds
        "socket_timeout": 15,  # a Redis that hangs must not hang publishers for ever
        "socket_connect_timeout": 5,
        "socket_keepalive": True,
        "global_keyprefix": keys.CELERY_PREFIX,
        "priority_steps": [0],  # one list for each queue, not four
        "client_name": "siem-celery",  # distinguishes these connections from ours in CLIENT LIST
    }


def _sentinel_urls(address: SentinelAddress) -> str:
    """Write the sentinels as kombu wants them; name and password are those of the server behind them."""
    secret = f":{quote(address.password, safe='')}" if address.password else ""
    user = quote(address.username or "", safe="") + secret
    return ";".join(
        f"sentinel://{user}{'@' if user else ''}{_bracketed(host)}:{port}/{address.database}"
        for host, port in address.hosts
    )


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
