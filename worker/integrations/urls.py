"""How a url is taken apart without ever being repeated.

Hosts of urls that nothing can ever be delivered to, however long it is tried: refused at the door.

Only what no resolver and no connection takes is refused: a name that does not exist today may tomorrow.
"""

import re
from collections.abc import Collection
from ipaddress import IPv6Address, ip_address
from urllib.parse import SplitResult, urlsplit, urlunsplit

import idna

from worker.model.untrusted_text import number_in

_NO_NAME = (
    "has a host that is no name of the DNS (IDNA 2008): give its ASCII form, which begins with xn-- for "
    "letters beyond ASCII"
)


def parts_of(url: str, schemes: Collection[str], example: str) -> SplitResult:
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


#: Of a host's name, underscores included, which some have (RFC 1034, section 3.5).
LABEL = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
#: The longest name as text (RFC 1035, section 2.3.4, less what frames its labels).
_LONGEST_NAME = 253
_IPV4_PARTS, _BYTE = 4, 255


def host_error(url: str) -> str | None:
    """Return why nothing can be delivered to the host of a url and what would be right, or None if it can be.

    The url is never repeated: it may hold a secret.
    """
    parts = urlsplit(url)
    host = (parts.hostname or "").removesuffix(".")
    if "[" in parts.netloc:
        return _about_ipv6(host)
    if host.replace(".", "").isdecimal():
        return _about_ipv4(host.split("."))
    if not host.isascii():
        return None
    if len(host) > _LONGEST_NAME or not all(map(LABEL.fullmatch, host.split("."))):
        return (
            "has a host that is no name: give one such as siem.example.com, its parts of 1 to 63 letters, "
            "digits and hyphens each, and 253 in all; or an address"
        )
    return None


def _about_ipv6(host: str) -> str | None:
    if "%" in host:
        return (
            "has an IPv6 zone (behind %): it names an interface of one machine, and each worker has its own; "
            "give a global or unique local address, or a name"
        )
    try:
        address = ip_address(host)
    except ValueError:
        address = None
    if not isinstance(address, IPv6Address):
        return "has no IPv6 address between its brackets: give one such as [2001:db8::1], or a name"
    if address.is_link_local:
        return (
            "has a link-local IPv6 address, which no worker reaches without an interface of its own machine; "
            "give a global or unique local address, or a name"
        )
    return None


def _about_ipv4(parts: list[str]) -> str | None:
    numbers = [number for number in map(number_in, parts) if number is not None]
    is_short = len(parts) < _IPV4_PARTS  # as 127.1, which resolvers take
    is_whole = len(parts) == _IPV4_PARTS and all(number <= _BYTE for number in numbers)
    if len(numbers) == len(parts) and (is_short or is_whole):
        return None
    return "has a host of digits that is no IPv4 address: give four numbers from 0 to 255, or a name"
