"""A process says once that a dependency is lost and once that it is back, however many steps it takes."""

import logging
import threading
import time
from collections.abc import Iterator
from functools import partial
from itertools import chain, repeat
from types import SimpleNamespace

import pytest

from worker.model import availability
from worker.model.availability import (
    LONGEST_PAUSE,
    Availability,
    Dependencies,
    run_forever,
    run_forever_pausing,
    together,
)
from worker.model.errors import BrokerUnavailable, LedgerUnavailable, SchemaOutdated

log = logging.getLogger("worker.tested")


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the lines of the log without their seconds."""
    return [record.getMessage().partition(" after ")[0].partition(":")[0] for record in caplog.records]


def test_two_steps_lose_it_together(caplog: pytest.LogCaptureFixture) -> None:
    """The first to miss it says so; it is back when nothing misses it any more."""
    redis = Availability("Redis", log)

    redis.lost("router", BrokerUnavailable("gone"))
    redis.lost("sweeper", BrokerUnavailable("gone"))
    redis.back("router")
    redis.back("bystander")

    assert said(caplog) == ["lost Redis"]

    redis.back("sweeper")
    redis.back("sweeper")

    assert said(caplog) == ["lost Redis", "Redis is back"]


def test_the_reason_is_that_of_the_next_try(caplog: pytest.LogCaptureFixture) -> None:
    """A connection that was cut does not say why; the try that makes a new one does."""
    redis = Availability("Redis", log)

    redis.lost("router", BrokerUnavailable("closed"), time.monotonic())
    redis.lost("sweeper", BrokerUnavailable("closed"), is_cut=True)
    assert said(caplog) == []
    redis.lost("router", BrokerUnavailable("wrong\npassword"), time.monotonic())
    redis.lost("sweeper", BrokerUnavailable("other"))

    assert caplog.messages == ["lost Redis: wrong password; retrying until it is back"]


def test_a_moment_is_told_all_the_same(caplog: pytest.LogCaptureFixture) -> None:
    """With the only reason that is known."""
    redis = Availability("Redis", log)

    redis.lost("router", BrokerUnavailable("closed"), time.monotonic())
    redis.back("router")

    assert said(caplog) == ["lost Redis", "Redis is back"]


def test_a_step_that_waits_for_something_else_does_not_hold_up_the_news(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It missed Redis once, and has not tried again since: the others have it back."""
    redis = Availability("Redis", log)

    redis.lost("watch", BrokerUnavailable("gone"), silent=60)
    redis.lost("notifier", BrokerUnavailable("gone"), silent=0)
    redis.back("watch")

    assert said(caplog) == ["lost Redis", "Redis is back"]


def test_a_step_that_goes_on_failing_does(caplog: pytest.LogCaptureFixture) -> None:
    """Redis refuses one command that only this step needs: it is not back."""
    redis = Availability("Redis", log)

    for _ in range(3):
        redis.lost("recorder", BrokerUnavailable("forbidden"))
        redis.back("watch")

    assert said(caplog) == ["lost Redis"]


def test_a_locked_database_is_not_back_between_two_tries(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """SQLite says so after ten seconds only; steps that only read do their work meanwhile."""
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(availability, "time", SimpleNamespace(monotonic=lambda: clock.now))
    both = Dependencies(log)

    for second in range(60):
        clock.now += 1
        if second % 12 == 11:
            both.lost("recorder", LedgerUnavailable("locked"), clock.now - 10)
        both.back("watch")
    assert said(caplog) == ["lost the database"]
    both.back("recorder")

    assert said(caplog) == ["lost the database", "the database is back"]


def test_an_echo_of_an_outage_is_no_other_one(caplog: pytest.LogCaptureFixture) -> None:
    """A step of before the return fails by an old connection; one that began later reports a new loss."""
    redis = Availability("Redis", log)
    began = time.monotonic()
    redis.lost("watch", BrokerUnavailable("gone"))
    redis.back("watch")

    redis.lost("notifier", BrokerUnavailable("closed"), began)
    assert said(caplog) == ["lost Redis", "Redis is back"]
    redis.lost("notifier", BrokerUnavailable("gone"), time.monotonic())
    redis.back("notifier")

    assert said(caplog) == ["lost Redis", "Redis is back"] * 2


def test_a_step_that_fails_at_the_database_has_redis(caplog: pytest.LogCaptureFixture) -> None:
    """With both away, the return of Redis is logged although the database is still lost."""
    stopping = threading.Event()
    coming: Iterator[Exception] = chain([BrokerUnavailable("gone")], repeat(LedgerUnavailable("gone"), 3))

    def step() -> None:
        if trouble := next(coming, None):
            raise trouble
        stopping.set()

    run_forever(step, stopping, Dependencies(log), log)

    assert said(caplog) == ["lost Redis", "Redis is back", "lost the database", "the database is back"]


@pytest.mark.parametrize("level", ["INFO", "WARNING", "ERROR", "CRITICAL"])
def test_both_lines_appear_at_any_level(level: str, capfd: pytest.CaptureFixture[str]) -> None:
    """One without the other would mislead."""
    root = logging.getLogger()
    others, before = root.handlers, root.level
    root.handlers = []
    try:
        logging.basicConfig(level=level)
        redis = Availability("Redis", log)
        redis.lost("router", BrokerUnavailable("gone"))
        redis.back("router")
    finally:
        root.handlers, root.level = others, before

    assert [line.rpartition(".availability:")[2][:12] for line in capfd.readouterr().err.splitlines()] == [
        "lost Redis: ",
        "Redis is bac",
    ]


def test_each_step_has_a_pace_of_its_own() -> None:
    """A step that has just lost it tries again soon, although another has long been waiting."""
    redis = Availability("Redis", log)

    waits = [redis.lost("router", BrokerUnavailable("gone")) for _ in range(7)]

    assert waits == [0.1, 0.2, 0.4, 0.8, 1.6, LONGEST_PAUSE, LONGEST_PAUSE]
    assert redis.lost("sweeper", BrokerUnavailable("gone")) == 0.1


def test_a_step_outlives_both_absences_and_a_fault(caplog: pytest.LogCaptureFixture) -> None:
    """The error says what is lost; a success says that both are back."""
    stopping = threading.Event()

    def troubles() -> Iterator[Exception | None]:
        yield from (BrokerUnavailable("gone"), LedgerUnavailable("gone"), None)
        stopping.set()
        yield from repeat(None)

    coming = chain(troubles())

    def step() -> None:
        if trouble := next(coming):
            raise trouble

    run_forever(step, stopping, Dependencies(log), log)

    assert said(caplog) == ["lost Redis", "Redis is back", "lost the database", "the database is back"]


def test_tables_of_another_release_are_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    """An operator upgrades them, or grants the right to see them: logged once, without a traceback."""
    stopping = threading.Event()
    coming = iter([SchemaOutdated("no such table"), SchemaOutdated("no such table"), None])

    def step() -> None:
        if trouble := next(coming):
            raise trouble
        stopping.set()

    run_forever(step, stopping, Dependencies(log), log)

    assert said(caplog) == ["lost the database", "the database is back"]


def test_what_rests_for_long_wakes_together() -> None:
    """At the same moment, whenever it began to rest: never later than asked for, nor much sooner."""
    for began in (5.0, 5.002, 5.4, 5.999):
        for asked in (1.0, 2.0, 60.0):
            rest = together(asked, partial(float, began))

            assert asked / 2 <= rest <= asked
            assert rest == asked / 2 or round(began + rest, 6).is_integer()


def test_a_short_rest_is_as_long_as_was_asked_for() -> None:
    """What is tried again soon does not wait for the end of a second."""
    assert [together(seconds) for seconds in (0.0, 0.1, 0.5, 0.999)] == [0.0, 0.1, 0.5, 0.999]


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

    thread = threading.Thread(target=run_forever_pausing, args=(step, stopping, Dependencies(log), log))
    thread.start()
    deadline = time.monotonic() + 30
    while "the database is back" not in said(caplog) and time.monotonic() < deadline:
        stopping.wait(0.01)
    stopping.set()
    thread.join()

    assert said(caplog) == ["lost the database", "the database is back"]
