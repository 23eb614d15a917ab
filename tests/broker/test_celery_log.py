"""What Celery and kombu log of a lost connection is dropped by what it carries, whatever it says."""

import logging
import warnings
from collections.abc import Iterator
from types import TracebackType

import pytest
import redis
from celery.exceptions import CPendingDeprecationWarning
from kombu.exceptions import OperationalError

from worker.broker import celery_log

LOST = redis.ConnectionError("gone")


class Kept(logging.Handler):
    """Keeps the messages that come through."""

    def __init__(self) -> None:
        """Begin with none."""
        super().__init__()
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one."""
        self.messages.append(record.getMessage())


@pytest.fixture
def kept() -> Iterator[Kept]:
    """Give a handler of the root logger as a worker has it."""
    root, handler = logging.getLogger(), Kept()
    others, level = root.handlers, root.level
    root.handlers = [handler]
    root.setLevel(logging.DEBUG)
    with warnings.catch_warnings():
        celery_log.silence(root)
        yield handler
    root.handlers = others
    root.setLevel(level)


@pytest.mark.parametrize("error", [LOST, OperationalError("gone"), ConnectionResetError("gone")])
@pytest.mark.parametrize(
    "name", ["celery.worker.consumer.consumer", "celery.worker.request", "kombu.message", "celery.new"]
)
def test_a_record_with_the_error_of_a_connection_is_dropped(kept: Kept, name: str, error: Exception) -> None:
    """As an argument or with a traceback, from any of their loggers."""
    logger = logging.getLogger(name)
    logger.error("words of some release: %r", error)
    logger.critical("%(error)s", {"error": error})
    logger.critical("others", exc_info=_info(error))

    assert kept.messages == []


def test_everything_else_is_logged(kept: Kept) -> None:
    """What has nothing to do with a connection, what tasks raise, what is ours, and everything at DEBUG."""
    logging.getLogger("celery.worker.consumer.consumer").error("unregistered task of type %s", "x")
    logging.getLogger("celery.app.trace").error("raised %r", OSError("x"), exc_info=_info(OSError("x")))
    logging.getLogger("worker.pipeline.delivery").error("no order could be published: %s", LOST)
    logging.getLogger("celery.worker.consumer.consumer").debug("connection: %s", LOST)

    assert kept.messages == [
        "unregistered task of type x",
        "raised OSError('x')",
        "no order could be published: gone",
        "connection: gone",
    ]


def test_a_default_of_a_release_to_come_is_no_news(kept: Kept) -> None:
    """Celery warns of it after each loss; threads could not follow it."""
    logging.captureWarnings(capture=True)
    try:
        warnings.warn("cancelling tasks will be the default", CPendingDeprecationWarning, stacklevel=1)
    finally:
        logging.captureWarnings(capture=False)

    assert kept.messages == []


def _info(error: Exception) -> tuple[type[Exception], Exception, TracebackType | None]:
    """Return what a logger takes for an exception that was caught."""
    return type(error), error, None
