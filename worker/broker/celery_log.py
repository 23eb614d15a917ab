"""What a worker logs of a lost Redis: one line when it is lost, and one when it is back, at any log level.

A worker learns of it in three ways: its own thread asks Redis every two seconds
(`worker.background.redis_monitor`), its tasks may miss it, and so may Celery's consumer
(`worker.broker.celery_consumer`). All share `dependencies`.

Celery itself logs every try, with a traceback for each acknowledgement that came too late. Such records carry
the error of the connection as an object; by the type of that object they are dropped. Nothing here reads what
Celery writes: a release with other words is silenced as well, and one that logs no object is heard beside us.
"""

import logging
import os
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import redis
from billiard.exceptions import RestartFreqExceeded
from celery import Celery
from celery.exceptions import CPendingDeprecationWarning, Retry, SecurityWarning
from celery.signals import celeryd_after_setup, setup_logging
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from worker.broker.connection import outage_of
from worker.logging import configure
from worker.model.availability import SILENT, Availability, Dependencies
from worker.model.errors import BrokerUnavailable, DeliveryError
from worker.model.log_events import ORDER_PUBLISH_FAILED, PROCESS_RUNS_AS_ROOT
from worker.model.outages import OutageCause
from worker.settings import settings

#: Celery loads this by its name, in a worker only.
CONSUMER = "worker.broker.celery_consumer:ReportingConsumer"

#: Its loop, as the process's probes name it.
CONSUMER_LOOP = "consumer"

#: A task that Redis refuses is carried out again within this time, in seconds, and then fails again if Redis
#: still refuses: longer than an order's lease and a sweep.
NEXT_TRY = 120.0

#: What a lost connection makes kombu raise and Celery log.
_OF_A_LOST_CONNECTION = (RedisError, OperationalError, OSError, RestartFreqExceeded)
_SPEAKERS = ("celery", "kombu")
#: What a task raised is logged, whatever it is.
_OF_TASKS = "celery.app.trace"
_OF_REMOTE_CONTROL = ("celery.worker.pidbox", "kombu.pidbox")

#: What this process cannot do without. One for the module: Celery makes its consumer by itself.
dependencies = Dependencies(logging.getLogger("worker.celery"))
_queues = Availability("the queues of work orders", logging.getLogger("worker.celery"))

log = logging.getLogger(__name__)


@contextmanager
def task_reports() -> Iterator[None]:
    """Report how a task of a worker ends, as far as Redis is concerned."""
    began = time.monotonic()
    try:
        yield
    except BrokerUnavailable as error:
        silent = SILENT if error.cause is OutageCause.UNREACHABLE else NEXT_TRY
        dependencies.redis.lost(task_reports, error, began, silent=silent)
        raise
    except (DeliveryError, Retry):
        dependencies.redis.back(task_reports)
        raise
    dependencies.redis.back(task_reports)


@contextmanager
def order_reports() -> Iterator[None]:
    """Report whether an order could be published; raises nothing, for the sweeper publishes it later.

    That Redis does not answer, the process says anyway; that it refuses to take orders, only this says.
    """
    try:
        yield
    except Exception as error:  # noqa: BLE001 - kombu raises whatever its transport does
        outage = outage_behind(error)
        ORDER_PUBLISH_FAILED.log(log, error=str(outage))
        if outage.cause is not OutageCause.UNREACHABLE:
            _queues.lost(order_reports, outage)
    else:
        _queues.back(order_reports)


def outage_behind(error: Exception) -> BrokerUnavailable:
    """Return the error in our words; kombu wraps some, and takes those of a socket for lost connections."""
    for one in (error, error.__cause__):
        if isinstance(one, RedisError):
            return outage_of(one)
    return outage_of(redis.ConnectionError(f"{type(error).__name__}: {error}"))


class ConnectionLogFilter(logging.Filter):
    """Drops what Celery and kombu log of a lost connection, unless DEBUG was asked for."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to log the record."""
        is_theirs = record.name.partition(".")[0] in _SPEAKERS and record.name != _OF_TASKS
        if record.levelno <= logging.DEBUG or not is_theirs:
            return True
        return not any(isinstance(one, _OF_A_LOST_CONNECTION) for one in _carried(record))


class ControlLogFilter(logging.Filter):
    """Leaves out the traceback of a command of remote control that failed: its sender was at fault."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Take the traceback away; log the record."""
        record.exc_info = None
        return True


def install_log_filters(app: Celery) -> None:
    """Have the consumer of this app report, and a worker of this process leave out what Celery says of it."""
    app.conf.worker_consumer = CONSUMER
    # Eight lines for each worker that runs as root push what else was said off the screen; ours is one.
    warnings.filterwarnings("ignore", category=SecurityWarning)
    setup_logging.connect(_configure)  # with a receiver Celery makes no handlers of its own
    celeryd_after_setup.connect(_silence)
    for name in _OF_REMOTE_CONTROL:
        logging.getLogger(name).addFilter(ControlLogFilter())


def _configure(loglevel: int | None, logfile: str | None, **_: object) -> None:
    """Log as every process does; Celery's own records from the level of its option `-l` up."""
    level = loglevel or logging.WARNING
    configure(settings().log_level, settings().log_format, libraries=level, logfile=logfile)
    for name in _SPEAKERS:
        logging.getLogger(name).setLevel(level)


def _silence(**_: object) -> None:
    silence(logging.getLogger())
    if os.geteuid() == 0:
        PROCESS_RUNS_AS_ROOT.log(log)


def silence(root: logging.Logger) -> None:
    """Have the handlers of this logger drop what Celery logs of lost connections."""
    for handler in root.handlers:
        handler.addFilter(ConnectionLogFilter())
    # It announces a default of a release to come, which would cancel deliveries under way; threads cannot.
    warnings.filterwarnings("ignore", category=CPendingDeprecationWarning)


def _carried(record: logging.LogRecord) -> Iterator[object]:
    """Return the objects that a record carries: its arguments and its exception."""
    yield from record.args if isinstance(record.args, tuple) else (record.args or {}).values()
    if record.exc_info:
        yield record.exc_info[1]
