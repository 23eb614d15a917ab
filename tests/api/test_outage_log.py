"""The API's log says once that a dependency is lost, and once that it is back, whatever a look ends with."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.fleet import wait_until
from worker.api import outage_log
from worker.api.outage_log import OutageLog
from worker.model.errors import BrokerUnavailable

GONE = BrokerUnavailable("gone")


def looks(*ends: Exception | None) -> Callable[[], None]:
    """Look with these ends, one after the other; the last one stays."""
    left = list(ends)

    def look() -> None:
        end = left.pop(0) if len(left) > 1 else left[0]
        if end is not None:
            raise end

    return look


@contextmanager
def watching(look: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> Iterator[OutageLog]:
    """Give a log that looks so at Redis, every few milliseconds."""
    monkeypatch.setattr(outage_log, "LOOK_EVERY", 0.01)
    made = OutageLog(look, looks(None))
    try:
        yield made
    finally:
        made.close()


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the beginnings of its lines."""
    return [" ".join(one.split()[:3]).rstrip(":") for one in caplog.messages]


@pytest.mark.parametrize("ends", [[None], [GONE, GONE, None]])
def test_each_loss_is_logged_once_and_so_is_its_end(
    ends: list[Exception | None], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many requests meet it."""
    with watching(looks(*ends), monkeypatch) as log:
        for _ in range(3):
            log.note(GONE)
        wait_until(lambda: "Redis is back" in said(caplog), "its end is told")

    assert said(caplog)[:2] == ["lost Redis: gone;", "Redis is back"]


def test_a_look_that_fails_unexpectedly_ends_no_watch(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is logged, and the next loss is reported as well."""
    with watching(looks(RuntimeError("a bug"), None), monkeypatch) as log:
        log.note(GONE)
        wait_until(lambda: "Redis is back" in said(caplog), "its end is told")
        log.note(GONE)
        wait_until(lambda: said(caplog).count("Redis is back") == 2, "the end of the second one is told")

    assert said(caplog) == [
        "lost Redis: gone;",
        "unexpected error in",
        "Redis is back",
        "lost Redis: gone;",
        "Redis is back",
    ]
