"""Moments as the calendar has them. Comes in: milliseconds since 1970 UTC; goes out: a date and a time."""

from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST = datetime.min.replace(tzinfo=UTC)
_FIRST_MS = (_FIRST - _EPOCH) // timedelta(milliseconds=1)
#: The last millisecond that a date can be written for. An event's time may lie beyond it by its offset, and
#: such a row must not keep a list from being shown.
LATEST_MS = 253_402_300_799_999


def in_utc(milliseconds: int) -> datetime:
    """Return the moment in UTC; one before the year 1 or after 9999 becomes the nearest within."""
    return _EPOCH + timedelta(milliseconds=max(_FIRST_MS, min(milliseconds, LATEST_MS)))
