"""How a url is taken apart without ever being repeated."""

from urllib.parse import SplitResult, urlsplit


def parts_of(url: str, schemes: set[str], example: str) -> SplitResult:
    """Take a url apart. Raises ValueError with the example, never with the url: it may hold a secret."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError(example) from None
    if parts.scheme not in schemes or not parts.hostname or parts.fragment:
        raise ValueError(example)
    if port == 0 or " " in url or not url.isprintable():
        raise ValueError(example)
    return parts
