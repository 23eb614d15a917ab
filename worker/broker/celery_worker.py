"""Which options of `celery worker` a worker of ours takes; all others are refused before it starts.

Celery takes an option that has no effect on a pool of threads in silence (and puts our pool in place of
`prefork`). Whoever gives one expects something of it, so that it is refused with what to use in its place.
That gevent or eventlet is not installed, Celery says itself, before it has read anything of ours.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import click
from click.core import ParameterSource

from worker.integrations import DESTINATION_TYPES
from worker.model.errors import InvalidSetting
from worker.transports.budget import raise_descriptor_limit, threads_within

_GIVEN = (ParameterSource.COMMANDLINE, ParameterSource.ENVIRONMENT)

_NO_CHILDREN = "a worker here has threads, and no child processes"
_LIMITED = "a thread cannot be interrupted; SIEM_SEND_DEADLINE says how long a delivery may take"
_SERVICE = "have a service manager bound its memory (MemoryMax= of systemd) and restart it"
#: Why an option is refused, and what to use in its place; by the name of its parameter.
REFUSED = {
    "autoscale": "a worker starts threads as it needs them, up to SIEM_WORKER_THREADS; for more, start "
    "further workers",
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
        from worker.broker.celery_pool import SparingTaskPool  # noqa: PLC0415 - a worker alone needs the pool

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
    """Return a callback that refuses the option where somebody gave it, and else does as `otherwise` does."""

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
    unknown = [queue for queue in value or () if queue not in DESTINATION_TYPES]
    if unknown:
        known = ", ".join(DESTINATION_TYPES)
        raise click.BadParameter(
            f"there is no queue {', '.join(map(repr, unknown))}: give {known}.", ctx, param
        )
    return value
