"""A process says once that a dependency is lost and once that it is back, however many steps it takes."""

import logging
import threading
from collections.abc import Iterator
from itertools import chain, repeat

import pytest

from worker.model.availability import LONGEST_PAUSE, Availability, Dependencies, persevere
from worker.model.errors import BrokerUnavailable, LedgerUnavailable

log = logging.getLogger("worker.tested")


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the lines of the log without their seconds."""
    return [record.getMessage().partition(" after ")[0].partition(":")[0] for record in caplog.records]


def test_two_steps_lose_it_together(caplog: pytest.LogCaptureFixture) -> None:
    """The first to miss it says so; it is back when nobody misses it any more."""
    redis = Availability("Redis", log)

    redis.lost("router", BrokerUnavailable("gone"))
    redis.lost("sweeper", BrokerUnavailable("gone"))
    redis.back("router")
    redis.back("bystander")

    assert said(caplog) == ["lost Redis"]

    redis.back("sweeper")
    redis.back("sweeper")

    assert said(caplog) == ["lost Redis", "Redis is back"]


def test_each_step_has_a_pace_of_its_own() -> None:
    """A step that has just lost it tries again soon, although another has long been waiting."""
    redis = Availability("Redis", log)

    waits = [redis.lost("router", BrokerUnavailable("gone")) for _ in range(7)]

    assert waits == [0.1, 0.2, 0.4, 0.8, 1.6, LONGEST_PAUSE, LONGEST_PAUSE]
    assert redis.lost("sweeper", BrokerUnavailable("gone")) == 0.1


def test_a_step_outlives_both_absences_and_a_fault(caplog: pytest.LogCaptureFixture) -> None:
    """What is lost is told by the error; a success says that both are back."""
    stopping = threading.Event()

    def troubles() -> Iterator[Exception | None]:
        yield from (BrokerUnavailable("gone"), LedgerUnavailable("gone"), None)
        stopping.set()
        yield from repeat(None)

    coming = chain(troubles())

    def step() -> None:
        if trouble := next(coming):
            raise trouble

    persevere(step, stopping, Dependencies(log), log)

    assert said(caplog) == ["lost Redis", "lost the database", "Redis is back", "the database is back"]
