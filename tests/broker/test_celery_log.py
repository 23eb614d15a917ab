"""Celery's worker says once that Redis is lost, and once that it is back."""

import logging
from collections.abc import Iterator

import pytest

from worker.broker.celery_log import LOGGERS, ConnectionNews

CONSUMER, CONNECTION, REQUEST, WARNINGS = (logging.getLogger(name) for name in LOGGERS)


@pytest.fixture(autouse=True)
def news(caplog: pytest.LogCaptureFixture) -> Iterator[ConnectionNews]:
    """Filter what Celery says, anew for each test."""
    caplog.set_level(logging.INFO)
    own = ConnectionNews()
    loggers = (CONSUMER, CONNECTION, REQUEST, WARNINGS)
    before = [logger.filters for logger in loggers]
    for logger in loggers:
        logger.filters = [own]
    yield own
    for logger, filters in zip(loggers, before, strict=True):
        logger.filters = filters


def lose() -> None:
    """Say what Celery says of one connection that is lost and cannot be had back at first."""
    lost = "consumer: Connection to broker lost. Trying to re-establish the connection..."
    CONSUMER.warning("%s (%r)", lost, ConnectionError("gone"))
    WARNINGS.warning("%s", "… worker_cancel_long_running_tasks_on_connection_loss …")
    for _ in range(3):
        refused = "No master found for 'm' : <redis.client.Redis(…)>"
        CONSUMER.error("consumer: Cannot connect to %s: %s.\n%s\n", "sentinel://one:26379/0", refused, "")
    CONSUMER.critical("Frequent restarts detected: %r", ValueError(), exc_info=True)
    REQUEST.critical("Couldn't ack %r, reason:%r", "tag", ConnectionError(), exc_info=True)


def test_a_loss_and_a_return_are_two_lines(caplog: pytest.LogCaptureFixture) -> None:
    """However often Celery tries; and two more when it happens again."""
    for _ in range(2):
        lose()
        CONNECTION.info("Connected to %s", "sentinel://one:26379/0")

    said = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert [level for level, _ in said] == ["ERROR", "WARNING"] * 2
    assert said[0][1] == "lost Redis: ConnectionError('gone'); trying again until it is back"
    assert said[1][1].startswith("Redis is back after 0.")
    assert said[2] == said[0]
    assert [record.exc_info for record in caplog.records] == [None] * 4


def test_a_worker_that_starts_without_redis_says_so(caplog: pytest.LogCaptureFixture) -> None:
    """Without the list of what redis-py connects with."""
    failed = "No master found for 'm' : <redis.client.Redis(…)>"
    CONSUMER.error(
        "consumer: Cannot connect to %s: %s.\n%s\n", "sentinel://one:26379/0", failed, "Trying again"
    )

    [said] = caplog.messages
    assert said.startswith("lost Redis: consumer: Cannot connect to sentinel://one:26379/0: No master")
    assert said.endswith("found for 'm'; trying again until it is back")


def test_tasks_that_miss_redis_say_so_once(caplog: pytest.LogCaptureFixture, news: ConnectionNews) -> None:
    """A hundred may be under way; the first that is answered again says that it is back."""
    for _ in range(3):
        news.missed(ConnectionError("cut"))
    news.answered()
    news.answered()

    assert [(record.levelname, record.getMessage()[:12]) for record in caplog.records] == [
        ("ERROR", "lost Redis: "),
        ("WARNING", "Redis is bac"),
    ]


def test_tasks_and_the_consumer_speak_with_one_voice(
    caplog: pytest.LogCaptureFixture, news: ConnectionNews
) -> None:
    """Whoever notices it first: it is lost once, and back when the consumer is."""
    for task_first in (True, False):
        if task_first:
            news.missed(ConnectionError("cut"))
        lose()
        news.missed(ConnectionError("cut"))
        news.answered()
        CONNECTION.info("Connected to %s", "redis://one:6379/0")

    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"] * 2


def test_everything_else_is_said_as_it_is(caplog: pytest.LogCaptureFixture) -> None:
    """A first connection, and what has nothing to do with one."""
    CONNECTION.info("Connected to %s", "redis://one:6379/0")
    CONSUMER.error("Received unregistered task of type %s.", "x")

    assert caplog.messages == ["Connected to redis://one:6379/0", "Received unregistered task of type x."]
