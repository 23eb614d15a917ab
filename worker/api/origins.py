"""Who counts as one caller, as long as there is no key: an address, or a whole network of IPv6."""

from ipaddress import IPv6Address, ip_address, ip_network

#: What one subscriber of IPv6 has at least (RFC 6177, section 2): its addresses are as good as one.
_PREFIX = 64
#: What a proxy of ours may have named in place of an address.
UNKNOWN = "unknown"


def origin_of(host: str | None) -> str:
    """Return the address that callers are told apart by; of IPv6 the /64."""
    try:
        address = ip_address((host or "").partition("%")[0])
    except ValueError:
        return UNKNOWN
    if not isinstance(address, IPv6Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ip_network((address, _PREFIX), strict=False))
