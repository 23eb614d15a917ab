"""What Celery and kombu log of a lost connection is dropped by what it carries, whatever it says."""

import json
import logging
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from types import TracebackType

import pytest
import redis
from celery.exceptions import CPendingDeprecationWarning
from kombu.exceptions import OperationalError

from worker.broker import celery_log
from worker.logging import QUIET

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
    others = root.handlers
    levels = {name: logging.getLogger(name).level for name in (None, *QUIET)}
    for name in levels:
        logging.getLogger(name).setLevel(logging.DEBUG)
    root.handlers = [handler]
    with warnings.catch_warnings():
        celery_log.silence(root)
        yield handler
    root.handlers = others
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


LOGGERS = ("celery.worker.consumer.consumer", "celery.worker.request", "kombu.message", "celery.new")
ERRORS = (LOST, OperationalError("gone"), ConnectionResetError("gone"))


def test_a_record_with_the_error_of_a_connection_is_dropped(kept: Kept) -> None:
    """As an argument or with a traceback, from any of their loggers."""
    for name, error in product(LOGGERS, ERRORS):
        logger = logging.getLogger(name)
        logger.error(f"words of {name}: %r", error)  # noqa: G004 - a failure shows whose record it is
        logger.critical("%(error)s", {"error": error})
        logger.critical(f"others of {name}", exc_info=_info(error))  # noqa: G004 - the same

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


_WORKS = """
import logging, sys
from celery.app import trace
from worker.celery import app
app.log.setup(loglevel="INFO", logfile=sys.argv[1] or None)
trace.get_logger("celery.x").debug("left out")
trace.get_logger("celery.x").warning("any text: %s", "of a library")
trace.info("task %(name)s", {"name": "deliver_webhook", "id": "4a3e", "args": "canary"})
logging.getLogger("worker.x").debug("of ours")
"""


@pytest.mark.parametrize("file", ["", "celery.log"])
def test_celery_logs_in_our_form(tmp_path: Path, file: str) -> None:
    """By its own setup, which finds our receiver: its level is that of `-l`, ours is SIEM_LOG_LEVEL."""
    given = {"SIEM_LOG_FORMAT": "json", "SIEM_LOG_LEVEL": "DEBUG", "SIEM_REDIS_URL": "redis://127.0.0.1:1/0"}
    command = [sys.executable, "-c", _WORKS, file]
    done = subprocess.run(
        command, capture_output=True, check=True, text=True, cwd=tmp_path, env={**os.environ, **given}
    )

    written = (tmp_path / file).read_text() if file else done.stderr
    lines = [json.loads(line) for line in written.splitlines()]
    assert [(line["event"], line["message"]) for line in lines] == [
        ("celery.log", "any text: of a library"),
        ("celery.log", "task deliver_webhook"),
        ("worker.log", "of ours"),
    ]
    assert lines[1]["task_id"] == "4a3e"
    assert "canary" not in written
    assert bool(done.stderr) != bool(file)


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
