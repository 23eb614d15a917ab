"""The small chart of the list: what is drawn of a span of time, and how high."""

import re

import pytest

from tests.pages.reading import Page
from worker.pages.charts import Bar, Point, bar_chart, line_chart, sparkline

#: Height of the drawing, and how little of it a failure must at least take.
HEIGHT, LEAST = 28.0, 1.5
_BLOCK = re.compile(r"M(?P<left>[\d.]+) (?P<top>[\d.]+)h(?P<width>[\d.]+)v(?P<height>[\d.]+)h-[\d.]+z")


def blocks(markup: str, kind: str) -> list[dict[str, float]]:
    """Return the blocks of a kind: left, top, width, height."""
    [path] = re.findall(rf'<path class="{kind}" d="([^"]*)"/>', markup)
    found = [match.groupdict() for match in _BLOCK.finditer(path)]
    assert "".join(match.group() for match in _BLOCK.finditer(path)) == path
    return [{name: float(value) for name, value in one.items()} for one in found]


def test_failures_stand_on_what_was_delivered() -> None:
    """The highest bar fills the drawing; the others are in proportion, each in its place."""
    drawn = sparkline([Bar(30, 10, "10:00"), Bar(0, 0, "10:02"), Bar(20, 0, "10:04")], "an hour")
    good, bad = blocks(drawn, "good"), blocks(drawn, "bad")

    assert [one["left"] for one in good] == [0, 80]
    assert [one["height"] for one in good] == [21, 14]
    assert [one["top"] for one in good] == [7, 14]
    assert [(one["left"], one["top"], one["height"]) for one in bad] == [(0, 0, 7)]


def test_a_single_failure_among_thousands_is_seen() -> None:
    """And it does not rise out of the drawing."""
    [bad] = blocks(sparkline([Bar(100_000, 1, "10:00")], "an hour"), "bad")

    assert bad["height"] == LEAST
    assert 0 <= bad["top"] <= HEIGHT - bad["height"]


def test_an_hour_without_events_is_a_line() -> None:
    """So that it does not look as if the drawing were missing."""
    assert "<line " in sparkline([Bar(0, 0, "10:00")], "an hour")
    assert "<path" not in sparkline([], "an hour")


def test_the_name_is_never_markup() -> None:
    """It says what is to be seen, whatever words were chosen."""
    assert 'aria-label="&lt;b&gt;&#34;"' in sparkline([], '<b>"')


@pytest.mark.parametrize(
    ("most", "numbers"),
    [
        (0, ["4", "3", "2", "1", "0"]),
        (1, ["4", "3", "2", "1", "0"]),
        (9, ["20", "15", "10", "5", "0"]),
        (123_456, ["200,000", "150,000", "100,000", "50,000", "0"]),
        (7_654_321, ["8,000,000", "6,000,000", "4,000,000", "2,000,000", "0"]),
    ],
)
def test_a_chart_counts_in_whole_numbers(most: int, numbers: list[str]) -> None:
    """Also an empty one; the numbers are text of the page, which no drawing stretches or cuts."""
    labels = [f"{hour:02}:00" for hour in range(24)]
    counted = Page(bar_chart([Bar(most, 0, label) for label in labels], "a day"))
    timed = Page(line_chart([Point(most, float(most), label) for label in labels], "a day"))

    assert counted.words[:5] == timed.words[:5] == numbers
    assert counted.all("text") == []
    assert counted.words[-6:] == ["00:00", "04:00", "08:00", "12:00", "16:00", "20:00"]


def test_a_single_value_is_a_dot() -> None:
    """A line of one point, which round ends make seen."""
    drawn = Page(line_chart([Point(None, None, "a"), Point(2.0, 2.0, "b"), Point(None, None, "c")], "one"))
    [first, last] = drawn.all("polyline", **{"class": "mean dot"})[0].attributes["points"].split()

    assert first == last
