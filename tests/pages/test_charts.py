"""The small chart of the list: what is drawn of a span of time, and how high."""

import re

from worker.pages.charts import Bar, sparkline

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
    """It says what is to be seen, whoever chose the words."""
    assert 'aria-label="&lt;b&gt;&#34;"' in sparkline([], '<b>"')
