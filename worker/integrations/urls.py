"""How a url is taken apart without ever being repeated."""

from urllib.parse import SplitResult, urlsplit, urlunsplit

import idna

_NO_NAME = (
    "has a host that is no name of the DNS (IDNA 2008): give its ASCII form, which begins with xn-- for "
    "letters beyond ASCII"
)


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


def with_ascii_host(url: str) -> str:
    """Return the url with its host as the DNS knows it, `xn--…` where it has letters beyond ASCII.

    Raises ValueError where it is no name.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    if host.isascii():
        return url
    user, at, _ = parts.netloc.rpartition("@")
    port = "" if parts.port is None else f":{parts.port}"
    return urlunsplit(parts._replace(netloc=f"{user}{at}{ascii_name(host)}{port}"))


def ascii_name(name: str) -> str:
    """Return a host's name in ASCII (RFC 5891, mapped by UTS #46 as browsers do). Raises ValueError.

    A label that is ASCII stays as it is: some have underscores, which IDNA does not know.
    """
    if name.isascii():
        return name
    try:
        mapped = idna.uts46_remap(name, std3_rules=False, transitional=False)
        labels = [one if one.isascii() else idna.alabel(one).decode() for one in mapped.split(".")]
    except idna.IDNAError:
        raise ValueError(_NO_NAME) from None
    return ".".join(labels)
