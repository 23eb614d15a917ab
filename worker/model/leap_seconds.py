"""Leap seconds: the one time of RFC 3339 that no datetime can hold. Text in, a moment out."""

import datetime as dt
import re

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
