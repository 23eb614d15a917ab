"""Numbers, times and sizes in the words of a page. Times are milliseconds since 1970 UTC."""

from datetime import datetime

from worker.model.time import in_utc

_STEPS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))
_SIZES = ((1 << 30, "GB"), (1 << 20, "MB"), (1 << 10, "KB"))
_SECOND = 1000
#: Below this share, a percentage needs its decimal.
_FINE = 0.1
#: From so many seconds on, their tenths are left out.
_TENS = 10


def ago(at_ms: int | None, now_ms: int) -> str:
    """Say how long ago that was: `4 min ago`; nothing for None.

    What another clock says is still to come has just happened: `now`.
    """
    if at_ms is None:
        return ""
    seconds = (now_ms - at_ms) / _SECOND
    return f"{duration(seconds)} ago" if seconds >= 1 else "now"


def due(at_ms: int, now_ms: int) -> str:
    """Say when what was planned for then happens: `in 20 s`, or `due now` once that is over."""
    seconds = (at_ms - now_ms) / _SECOND
    return f"in {duration(seconds)}" if seconds >= 1 else "due now"


def duration(seconds: float | None) -> str:
    """Write a time span by its largest unit: `3 d`, `2 h`, `45 s`, `80 ms`."""
    if seconds is None:
        return ""
    for unit, name in _STEPS:
        if seconds >= unit:
            return f"{seconds // unit:.0f} {name}"
    return f"{seconds * _SECOND:.0f} ms"


def latency_text(value: float) -> str:
    """Write a latency, given in ms, as finely as it matters: `80 ms`, `1.2 s`, `3 min`."""
    if value < _SECOND:
        return f"{value:.0f} ms"
    seconds = value / _SECOND
    return f"{seconds:.1f} s" if seconds < _TENS else duration(seconds)


def clock(at_ms: int | None) -> str:
    """Write a moment to the second, in UTC."""
    if at_ms is None:
        return ""
    return in_utc(at_ms).isoformat(sep=" ", timespec="seconds").replace("+00:00", " UTC")


def iso(at_ms: int) -> str:
    """Write a moment as RFC 3339 has it, for `<time>`."""
    return in_utc(at_ms).isoformat(timespec="milliseconds")


def from_iso(text: str) -> int:
    """Read a moment as RFC 3339 has it."""
    return round(datetime.fromisoformat(text).timestamp() * _SECOND)


def number(value: float | None) -> str:
    """Write a number with commas between thousands; one decimal below ten, if it has any."""
    if value is None:
        return ""
    if value == int(value) or value >= 10:  # noqa: PLR2004 - ten
        return f"{value:,.0f}"
    return f"{value:.1f}"


def count_text_for_page(number_of: int, one: str, many: str) -> str:
    """Write how many there are: `1 event waits`, `2,000 events wait`."""
    return f"{number_of:,} {one if number_of == 1 else many}"


def percent(rate: float | None) -> str:
    """Write a share, from 0 to 1, in percent."""
    if rate is None:
        return ""
    return f"{rate:.1%}" if 0 < rate < _FINE else f"{rate:.0%}"


def size(count: float) -> str:
    """Write a number of bytes."""
    for unit, name in _SIZES:
        if count >= unit:
            return f"{count / unit:.1f} {name}"
    return f"{count:.0f} B"
