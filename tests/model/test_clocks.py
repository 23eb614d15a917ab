"""When clocks agree, what a leap is, and what people read of them."""

import pytest

from worker.model.clocks import Clocks, clocks_part, disagreement, leap, retention_part

MINUTE = 60_000
NOW = 1_795_600_000_000


@pytest.mark.parametrize(
    ("host", "redis", "database", "words"),
    [
        (0, 0, 0, None),
        (5 * MINUTE, 0, 0, None),
        (6 * MINUTE, 0, 0, "the clock of this host is 6 min ahead of that of Redis"),
        (0, -6 * MINUTE, 0, "ahead of that of Redis"),
        (0, 0, 90 * 24 * 60 * MINUTE, "the clock of the database is 90 d ahead of that of"),
        (0, 0, None, None),
        (-6 * MINUTE, 0, None, "the clock of Redis is 6 min ahead of that of this host"),
    ],
)
def test_clocks_agree_within_minutes(host: int, redis: int, database: int | None, words: str | None) -> None:
    """Whichever is off is named; and the earliest is what counts."""
    clocks = Clocks(NOW + host, NOW + redis, None if database is None else NOW + database, 0)
    words = disagreement(clocks)

    assert (words is None) == (words is None)
    assert words is None or words in (words or "")
    assert clocks.earliest_ms == NOW + min(host, redis, database or 0)


def test_a_leap_is_one_against_time_itself() -> None:
    """All clocks may agree, and be wrong together: one host has them all."""
    before = Clocks(NOW, NOW, None, 0)
    assert leap(before, Clocks(NOW + MINUTE, NOW + MINUTE, None, MINUTE)) is None
    assert leap(before, Clocks(NOW + 60 * MINUTE, NOW + 60 * MINUTE, None, 60 * MINUTE)) is None
    words = leap(before, Clocks(NOW + 60 * MINUTE, NOW + 60 * MINUTE, None, MINUTE))
    assert words == (
        "the clock of this host leapt forward by 59 min; the clock of Redis leapt forward by 59 min"
    )
    assert leap(before, Clocks(NOW, NOW - 50 * MINUTE, None, 0)) == "the clock of Redis leapt back by 50 min"


def test_small_skews_are_not_words_large_ones_are_not_well() -> None:
    """From five seconds on it is words, from a minute on it is not ok."""
    assert clocks_part({"router:a:1": 4.9, "recorder:a:2": -4.9}).words == (
        "every process has the time of Redis"
    )
    words = clocks_part({"router:a:1": 0.1, "worker-webhook:b:2": -12.0})
    assert words.ok
    assert words.words.startswith("worker-webhook:b:2 is 12 s behind Redis: synchronize the clocks")
    assert not clocks_part({"worker-webhook:b:2": 400.0}).ok


def test_a_refusal_is_not_well() -> None:
    """Health shows the reason."""
    assert retention_part([]).ok
    assert retention_part(["because"]) == retention_part(["because"])
    assert (retention_part(["because"]).ok, retention_part(["because"]).words) == (False, "because")
