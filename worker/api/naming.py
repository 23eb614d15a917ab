"""A name for an integration whose creator gave none."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

_MOST_NUMBERED = 20
#: A name has 200 characters at the most; some are left for a number.
_LONGEST_HOST = 80


def names_for(given: dict[str, Any], integration_id: str) -> Iterator[str]:
    """Yield names that tell it from others: its type and host, then with a number, at last with its id."""
    kind, url = given.get("type"), given.get("url")
    try:
        host = urlsplit(url).hostname if isinstance(url, str) else None
    except ValueError:
        host = None
    name = " ".join(str(part)[:_LONGEST_HOST] for part in (kind, host) if _is_fit(part)) or "integration"
    yield name
    yield from (f"{name} {number}" for number in range(2, _MOST_NUMBERED))
    yield f"{name} {integration_id}"


def _is_fit(part: object) -> bool:
    return isinstance(part, str) and part.isprintable() and part != ""
