"""Times, as the API writes them."""

from datetime import UTC, datetime


def moment(milliseconds: int | None) -> str | None:
    """Write a time (ms since 1970 UTC) as RFC 3339, to the millisecond."""
    if milliseconds is None:
        return None
    told = datetime.fromtimestamp(milliseconds / 1000, UTC)
    return told.isoformat(timespec="milliseconds").replace("+00:00", "Z")
