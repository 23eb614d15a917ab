"""Milliseconds since 1970 UTC as dates, times and spans in words; leap seconds of RFC 3339; the clock."""

import datetime as dt
import re
import time
from datetime import UTC, datetime, timedelta

#: What milliseconds count from.
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST = datetime.min.replace(tzinfo=UTC)
_FIRST_MS = (_FIRST - EPOCH) // timedelta(milliseconds=1)
#: The last millisecond that a date can be written for. An event's time may lie beyond it by its offset, and
#: such a row must not keep a list from being shown.
LATEST_MS = 253_402_300_799_999


def in_utc(milliseconds: int) -> datetime:
    """Return the moment in UTC; one before the year 1 or after 9999 becomes the nearest within."""
    return EPOCH + timedelta(milliseconds=max(_FIRST_MS, min(milliseconds, LATEST_MS)))


def current_ms() -> int:
    """Return the time by this host's clock, in milliseconds since 1970 UTC."""
    return time.time_ns() // 1_000_000


def utc_text(milliseconds: int) -> str:
    """Write a moment as UTC to the second: `2026-11-23 14:02:07Z`."""
    return in_utc(milliseconds).isoformat(sep=" ", timespec="seconds").replace("+00:00", "Z")


def span(milliseconds: float) -> str:
    """Write how long something takes, roughly: `40 s`, `12 min`, `3 h`, `2 d`."""
    seconds = max(0, round(milliseconds / 1000))
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60)):
        # From two of a unit on: what is lost to rounding is then less than half.
        if seconds >= 2 * length or seconds == length:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"


_LEAP = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d):60(\.\d+)?([zZ]|[+-]\d\d:\d\d)\Z",
)
_SECOND = dt.timedelta(seconds=1)


def moment_of_leap_second(text: str) -> dt.datetime | None:
    """Return the moment of a leap second, None for any other text.

    One is inserted at the very end of a month in UTC (RFC 3339, 5.7). POSIX gives it the number of the second
    after it, and so does this.
    """
    found = _LEAP.match(text)
    if not found:
        return None
    date, minute, fraction, zone = found.groups()
    try:
        before = dt.datetime.fromisoformat(f"{date}T{minute}:59{(fraction or '')[:7]}{zone.upper()}")
        moment = before.astimezone(dt.UTC) + _SECOND
    except (ValueError, OverflowError):
        return None
    begins_a_month = (moment.day, moment.hour, moment.minute, moment.second) == (1, 0, 0, 0)
    return moment if begins_a_month else None


def rfc3339(milliseconds: int | None) -> str | None:
    """Write a time (ms since 1970 UTC) as RFC 3339, to the millisecond."""
    if milliseconds is None:
        return None
    return in_utc(milliseconds).isoformat(timespec="milliseconds").replace("+00:00", "Z")
