"""Times, as the API writes them."""

from worker.model.time import in_utc


def rfc3339(milliseconds: int | None) -> str | None:
    """Write a time (ms since 1970 UTC) as RFC 3339, to the millisecond."""
    if milliseconds is None:
        return None
    return in_utc(milliseconds).isoformat(timespec="milliseconds").replace("+00:00", "Z")
