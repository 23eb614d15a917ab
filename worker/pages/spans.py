"""Minutes gathered into the equal spans of time of a chart, empty ones included."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from worker.ledger.counts import Minute
from worker.pages.charts import Bar, Point

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
        Bar(sum(one.delivered for one in some), sum(one.failed for one in some), _label(at_ms))
        for at_ms, some in spans(minutes, now_ms, span_ms=span_ms, count=count)
    ]


def latency_points(minutes: Sequence[Minute], now_ms: int, *, span_ms: int, count: int) -> list[Point]:
    """Reckon mean and highest latency of each span, in ms."""
    return [
        Point(*_latency(some), _label(at_ms))
        for at_ms, some in spans(minutes, now_ms, span_ms=span_ms, count=count)
    ]


def _latency(some: Sequence[Minute]) -> tuple[float | None, float | None]:
    delivered = sum(one.delivered for one in some)
    if not delivered:
        return None, None
    return sum(one.latency_sum_ms for one in some) / delivered, max(one.latency_max_ms for one in some)


def _label(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%H:%M")
