"""Time zones by their names in the IANA database, as `Europe/Berlin`."""

import datetime as dt
from zoneinfo import ZoneInfo, available_timezones

from worker.model.errors import InvalidIntegration

UTC = "UTC"

_HINT = "give a name of the IANA time zone database, like Europe/Berlin or America/New_York, or UTC"
_NO_DATA = "this machine has no time zone data: install the package tzdata on it, or give UTC"
#: These mean something else on every machine, or nothing.
_NO_PLACES = frozenset({"localtime", "Factory"})


def checked_zone(name: str) -> str:
    """Return the name if it is that of a zone. Raises ValueError, whose words are for whoever gave it."""
    if name == UTC:
        return name
    known = available_timezones()
    if name not in known - _NO_PLACES:
        raise ValueError(_HINT if known else _NO_DATA)
    return name


def time_zone(name: str) -> dt.tzinfo:
    """Return the zone of that name; UTC needs no data.

    Raises InvalidIntegration when this machine does not know it, though another one may.
    """
    if name == UTC:
        return dt.UTC
    try:
        return ZoneInfo(name)
    except (OSError, ValueError, KeyError):
        hint = _HINT if available_timezones() else _NO_DATA
        raise InvalidIntegration("time_zone", "is not known to this machine", hint) from None
