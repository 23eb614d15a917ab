"""Charts as SVG, drawn on the server, and the spans of time that they show.

Input: numbers of equal spans of time, the oldest first. Output: markup that needs no script. A chart has
a name that says what is to be seen; the numbers themselves stand in a table beside it. The drawing is as wide
as its place; its labels are text of the page beside it, which keeps its size on every screen.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from markupsafe import Markup, escape

from worker.ledger.counts import Minute

#: The area of a sparkline, and of a chart, in units of its own: a chart is stretched to its place.
_SPARK_WIDTH, _SPARK_HEIGHT = 120, 28
_WIDTH, _HEIGHT = 720, 180
_GRID_LINES = 4
#: Labels below a chart; the style sheet has as many columns.
_TIMES = 6

_STRETCHED = Markup(' preserveAspectRatio="none"')
_PATH = Markup('<path class="{}" d="{}"/>')


class Bar(NamedTuple):
    """How many were delivered and failed in one span of time, and what to call it."""

    delivered: int
    failed: int
    label: str


def sparkline(bars: Sequence[Bar], name: str) -> Markup:
    """Draw small bars, failures on top, as high as the highest of them."""
    most = max((bar.delivered + bar.failed for bar in bars), default=0)
    if not most:
        return _svg("spark", _SPARK_WIDTH, _SPARK_HEIGHT, name, [_line(0, 27.5, _SPARK_WIDTH, 27.5)])
    step = _SPARK_WIDTH / len(bars)
    drawn: dict[str, list[str]] = {"good": [], "bad": []}
    for place, bar in enumerate(bars):
        foot = float(_SPARK_HEIGHT)
        for kind, count in (("good", bar.delivered), ("bad", bar.failed)):
            if count:
                height = count / most * _SPARK_HEIGHT
                seen = _seen(kind, height)
                drawn[kind].append(_block(place * step, max(0, foot - seen), step - 0.4, seen))
                foot -= height
    # A path for all bars of a kind: fifty sparklines of sixty elements each are a third of a list's time.
    paths = [_PATH.format(kind, "".join(blocks)) for kind, blocks in drawn.items() if blocks]
    return _svg("spark", _SPARK_WIDTH, _SPARK_HEIGHT, name, paths)


def bar_chart(bars: Sequence[Bar], name: str) -> Markup:
    """Draw bars over a grid with its numbers, and the labels of some of them below."""
    most = _round_up(max((bar.delivered + bar.failed for bar in bars), default=0))
    step = _WIDTH / max(1, len(bars))
    pieces = [*_grid()]
    for place, bar in enumerate(bars):
        pieces += _stack(bar, place * step, max(0.5, step - 1), _HEIGHT, most, titled=True)
    return _chart(name, most, [bar.label for bar in bars], pieces)


class Point(NamedTuple):
    """A mean and a highest value of one span of time; None without any."""

    mean: float | None
    highest: float | None
    label: str


def line_chart(points: Sequence[Point], name: str) -> Markup:
    """Draw the means as a line, and the highest values as a fainter one; gaps stay gaps."""
    most = _round_up(max((point.highest or 0 for point in points), default=0))
    step = _WIDTH / max(1, len(points))
    pieces = [*_grid()]
    for kind, values in (
        ("highest", [point.highest for point in points]),
        ("mean", [point.mean for point in points]),
    ):
        pieces += _runs(values, step, most, kind)
    return _chart(name, most, [point.label for point in points], pieces)


def _runs(values: Sequence[float | None], step: float, most: float, kind: str) -> Iterator[Markup]:
    run: list[str] = []
    for place, value in enumerate([*values, None]):
        if value is not None:
            run.append(f"{(place + 0.5) * step:.1f},{_HEIGHT - value / most * _HEIGHT:.1f}")
            continue
        if run:
            # A single point is a line without length, which is seen by its round ends.
            kinds = f"{kind} dot" if len(run) == 1 else kind
            run += run[:1] if len(run) == 1 else []
            yield Markup('<polyline class="{}" points="{}"/>').format(kinds, " ".join(run))
        run = []


def _stack(
    bar: Bar, left: float, width: float, height: float, most: float, *, titled: bool = False
) -> Iterator[Markup]:
    good, bad = bar.delivered / most * height, bar.failed / most * height
    parts = Markup("").join(
        [*_part("good", left, width, good, height), *_part("bad", left, width, bad, height - good)]
    )
    if parts:
        title = Markup("<title>{}: {:,} delivered, {:,} failed</title>").format(*_titled(bar))
        yield Markup("<g>{}{}</g>").format(title if titled else "", parts)


def _titled(bar: Bar) -> tuple[str, int, int]:
    return bar.label, bar.delivered, bar.failed


def _part(kind: str, left: float, width: float, height: float, foot: float) -> Iterator[Markup]:
    if height:
        seen = _seen(kind, height)
        yield Markup('<rect class="{}" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"/>').format(
            kind, left, max(0, foot - seen), width, seen
        )


def _seen(kind: str, height: float) -> float:
    """Return how high a bar is drawn: a single failure among thousands must be seen."""
    return max(height, 1.5 if kind == "bad" else 0.5)


def _block(left: float, top: float, width: float, height: float) -> str:
    return f"M{left:.1f} {top:.1f}h{width:.1f}v{height:.1f}h-{width:.1f}z"


def _grid() -> Iterator[Markup]:
    for line in range(_GRID_LINES + 1):
        top = line / _GRID_LINES * _HEIGHT
        yield _line(0, top, _WIDTH, top)


def _chart(name: str, most: int, labels: Sequence[str], pieces: Sequence[Markup]) -> Markup:
    """Put numbers beside the drawing, from above to below, and times under it, each where it begins."""
    numbers = [most * line // _GRID_LINES for line in range(_GRID_LINES, -1, -1)]
    times = [labels[place * len(labels) // _TIMES] for place in range(_TIMES)] if labels else []
    drawn = _svg("plot", _WIDTH, _HEIGHT, name, pieces, stretches=True)
    return Markup(
        '<div class="chart"><div class="scale" aria-hidden="true">{}</div>{}'
        '<div class="times" aria-hidden="true">{}</div></div>'
    ).format(
        Markup("").join(Markup("<span>{:,}</span>").format(number) for number in numbers),
        drawn,
        Markup("").join(Markup("<span>{}</span>").format(label) for label in times),
    )


def _line(x1: float, y1: float, x2: float, y2: float) -> Markup:
    return Markup('<line x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}"/>').format(x1, y1, x2, y2)


def _svg(
    kind: str, width: int, height: int, name: str, pieces: Sequence[Markup], *, stretches: bool = False
) -> Markup:
    return Markup('<svg class="{}" viewBox="0 0 {} {}"{} role="img" aria-label="{}">{}</svg>').format(
        kind, width, height, _STRETCHED if stretches else "", escape(name), Markup("").join(pieces)
    )


def _round_up(most: float) -> int:
    """Return the next whole number that four lines of a grid divide into numbers that are read with ease.

    Each of these is 1, 2 or 5 times a power of ten, and at least 1.
    """
    scale = 1
    while True:
        for step in (scale, scale * 2, scale * 5):
            if most <= step * _GRID_LINES:
                return step * _GRID_LINES
        scale *= 10


MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS


def spans(
    minutes: Sequence[Minute], now_ms: int, *, span_ms: int, count: int
) -> Iterator[tuple[int, list[Minute]]]:
    """Yield the first moment of each span and its minutes; the last span is the one under way."""
    first = (now_ms // span_ms - count + 1) * span_ms
    gathered: list[list[Minute]] = [[] for _ in range(count)]
    for minute in minutes:
        place = (minute.minute_ms - first) // span_ms
        if 0 <= place < count:
            gathered[place].append(minute)
    for place, some in enumerate(gathered):
        yield first + place * span_ms, some


def bars(minutes: Sequence[Minute], now_ms: int, *, span_ms: int, count: int) -> list[Bar]:
    """Count what was delivered and failed in each span."""
    return [
        Bar(sum(one.counts.delivered for one in some), sum(one.counts.failed for one in some), _label(at_ms))
        for at_ms, some in spans(minutes, now_ms, span_ms=span_ms, count=count)
    ]


def latency_points(minutes: Sequence[Minute], now_ms: int, *, span_ms: int, count: int) -> list[Point]:
    """Reckon mean and highest latency of each span, in ms."""
    return [
        Point(*_latency(some), _label(at_ms))
        for at_ms, some in spans(minutes, now_ms, span_ms=span_ms, count=count)
    ]


def _latency(some: Sequence[Minute]) -> tuple[float | None, float | None]:
    delivered = sum(one.counts.delivered for one in some)
    if not delivered:
        return None, None
    return sum(one.latency_sum_ms for one in some) / delivered, max(one.latency_max_ms for one in some)


def _label(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%H:%M")
