"""Numbers and times in the words of a page."""

import pytest

from worker.pages.rendering import ago, clock, due, iso


@pytest.mark.parametrize(
    ("at_ms", "words"), [(None, ""), (100_000, "now"), (47_000, "53 s ago"), (120_000, "now")]
)
def test_what_has_happened_is_never_still_to_come(at_ms: int | None, words: str) -> None:
    """Whatever another machine's clock says."""
    assert ago(at_ms, 100_000) == words


@pytest.mark.parametrize(
    ("at_ms", "words"), [(120_000, "in 20 s"), (100_000, "due now"), (47_000, "due now")]
)
def test_what_is_planned_never_was_some_time_ago(at_ms: int, words: str) -> None:
    """An attempt whose time is over is due."""
    assert due(at_ms, 100_000) == words


@pytest.mark.parametrize(
    ("at_ms", "date"), [(5_000_000_000_000_000, "9999-12-31"), (-9_000_000_000_000_000, "0001-01-01")]
)
def test_a_time_that_no_calendar_has_breaks_no_page(at_ms: int, date: str) -> None:
    """Who publishes may choose the time of an entry."""
    assert clock(at_ms).startswith(date)
    assert iso(at_ms).startswith(date)
