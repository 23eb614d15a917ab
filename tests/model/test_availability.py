"""A process says once that a dependency is lost and once that it is back, however many steps it takes."""

import logging
import threading
import time
from collections.abc import Iterator
from itertools import chain, repeat

import pytest

from worker.model.availability import (
    LONGEST_PAUSE,
    Availability,
    Dependencies,
    persevere,
    persevere_resting,
)
from worker.model.errors import BrokerUnavailable, LedgerUnavailable, SchemaOutdated

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


def test_tables_of_another_release_are_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    """Somebody upgrades them, or grants the right to see them: told once, without a traceback."""
    stopping = threading.Event()
    coming = iter([SchemaOutdated("no such table"), SchemaOutdated("no such table"), None])

    def step() -> None:
        if trouble := next(coming):
            raise trouble
        stopping.set()

    persevere(step, stopping, Dependencies(log), log)

    assert said(caplog) == ["lost the database", "the database is back"]


def test_what_is_back_is_told_before_a_rest(caplog: pytest.LogCaptureFixture) -> None:
    """A step that rests for an hour after its success does not keep that to itself."""
    stopping = threading.Event()
    coming: Iterator[Exception | float] = iter([LedgerUnavailable("gone"), 3600.0])

    def step() -> float:
        match next(coming):
            case Exception() as trouble:
                raise trouble
            case seconds:
                return seconds

    thread = threading.Thread(target=persevere_resting, args=(step, stopping, Dependencies(log), log))
    thread.start()
    deadline = time.monotonic() + 30
    while "the database is back" not in said(caplog) and time.monotonic() < deadline:
        stopping.wait(0.01)
    stopping.set()
    thread.join()

    assert said(caplog) == ["lost the database", "the database is back"]
