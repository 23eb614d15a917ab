"""Hosts of urls that nothing can ever be delivered to, however long it is tried: refused at the door.

Only what no resolver and no connection takes is refused: a name that does not exist today may tomorrow.
"""

import re
from ipaddress import IPv6Address, ip_address
from urllib.parse import urlsplit

from worker.model.digits import number_in

#: Of a host's name, underscores included, which some have (RFC 1034, section 3.5).
LABEL = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
#: The longest name as text (RFC 1035, section 2.3.4, less what frames its labels).
_LONGEST_NAME = 253
_IPV4_PARTS, _BYTE = 4, 255


def host_error(url: str) -> str | None:
    """Say why nothing can be delivered to the host of a url and what would be right, or None if it can be.

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
