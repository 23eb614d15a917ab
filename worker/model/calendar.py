"""Moments as the calendar has them. Comes in: milliseconds since 1970 UTC; goes out: a date and a time."""

from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: The last millisecond that a date can be written for. An event's time may lie beyond it by its offset, and
#: such a row must not keep a list from being shown.
LATEST_MS = 253_402_300_799_999


def in_utc(milliseconds: int) -> datetime:
    """Return the moment in UTC; what lies after the year 9999 becomes its end."""
    return _EPOCH + timedelta(milliseconds=min(milliseconds, LATEST_MS))
