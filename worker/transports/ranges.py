"""Which addresses an integration may reach. Pure: an address and the allow-list in, an objection out.

What is not plainly a public host is closed, until the allow-list names it. The metadata services of
clouds, which hand out credentials to all who ask, stay closed whatever the allow-list says.
"""

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network

IpAddress = IPv4Address | IPv6Address
IpNetwork = IPv4Network | IPv6Network

HINT = "list its network in SIEM_ALLOWED_NETWORKS if a SIEM stands there"
NO_HINT = "no setting opens it, because metadata services hand out credentials"


def objection(address: IpAddress, allowed: Sequence[IpNetwork]) -> str | None:
    """Return why the address may not be dialled and what would help, or None if it may be.

    An address that carries an IPv4 address inside (mapped, NAT64, 6to4, Teredo) is judged by both:
    it is open only if the allow-list has the whole, or everything that it carries.
    """
    carried = _carried(address)
    for one in (address, *carried):
        if (name := _name_in(one, _NEVER)) is not None:
            return f"is {name}: {NO_HINT}"
    if _is_listed(address, allowed) or (carried and all(_is_listed(one, allowed) for one in carried)):
        return None
    if (name := _name_in(address, _CLOSED)) is not None:
        return f"is {name}: {HINT}"
    if not address.is_global or address.is_multicast:
        return f"is a reserved address: {HINT}"
    return None


def _carried(address: IpAddress) -> tuple[IPv4Address, ...]:
    """Return the IPv4 addresses that an IPv6 address may be translated to on its way."""
    if isinstance(address, IPv4Address):
        return ()
    if address.sixtofour is not None:
        return (address.sixtofour,)
    if address.teredo is not None:
        return address.teredo
    number = int(address)
    if address in _NAT64_LOCAL:
        # The prefix may be as short as /48 or as long as /96 (RFC 8215): read both (RFC 6052, 2.2).
        short = (number >> 64 & 0xFFFF) << 16 | number >> 40 & 0xFFFF
        return (IPv4Address(short), IPv4Address(number & 0xFFFFFFFF))
    if any(address in network for network in _IPV4_IN_LAST_32_BITS) and number > 1:
        return (IPv4Address(number & 0xFFFFFFFF),)
    return ()


def _name_in(address: IpAddress, table: Sequence[tuple[IpNetwork, str]]) -> str | None:
    return next((name for network, name in table if address in network), None)


def _is_listed(address: IpAddress, allowed: Sequence[IpNetwork]) -> bool:
    return any(address in network for network in allowed)


def _table(*rows: tuple[str, str]) -> tuple[tuple[IpNetwork, str], ...]:
    return tuple((ip_network(network), name) for network, name in rows)


_NAT64_LOCAL = IPv6Network("64:ff9b:1::/48")
_IPV4_IN_LAST_32_BITS = (
    IPv6Network("::ffff:0:0/96"),  # mapped, RFC 4291
    IPv6Network("::ffff:0:0:0/96"),  # translated, RFC 7915
    IPv6Network("64:ff9b::/96"),  # NAT64, RFC 6052
    IPv6Network("::/96"),  # compatible, RFC 4291; all but :: and ::1
)

_METADATA = "the metadata service of a cloud"

_NEVER = _table(
    ("169.254.0.0/16", "link-local, where clouds keep their metadata service"),
    ("fe80::/10", "link-local, where clouds keep their metadata service"),
    ("100.100.100.200/32", _METADATA),  # Alibaba
    ("168.63.129.16/32", _METADATA),  # Azure's wire server
    ("192.0.0.192/32", _METADATA),  # Oracle
    ("fd00:ec2::254/128", _METADATA),  # AWS
    ("fd00:ec2::23/128", _METADATA),  # AWS, for pods
    ("fd20:ce::254/128", _METADATA),  # Google
    ("fd00:42::42/128", _METADATA),  # Scaleway
)

#: IANA's special-purpose registries (RFC 6890 and its successors), which `ipaddress` knows only in
#: part and differently in each release of Python. The first row that matches names the address.
_CLOSED = _table(
    ("0.0.0.0/32", "the unspecified address"),
    ("0.0.0.0/8", "an address of this network only"),
    ("10.0.0.0/8", "a private address"),
    ("100.64.0.0/10", "a carrier-grade NAT address"),
    ("127.0.0.0/8", "a loopback address"),
    ("172.16.0.0/12", "a private address"),
    ("192.0.0.0/24", "a reserved address"),
    ("192.0.2.0/24", "a documentation address"),
    ("192.88.99.0/24", "a 6to4 relay address"),
    ("192.168.0.0/16", "a private address"),
    ("198.18.0.0/15", "a benchmark address"),
    ("198.51.100.0/24", "a documentation address"),
    ("203.0.113.0/24", "a documentation address"),
    ("224.0.0.0/4", "a multicast address"),
    ("255.255.255.255/32", "the broadcast address"),
    ("240.0.0.0/4", "a reserved address"),
    ("::/128", "the unspecified address"),
    ("::1/128", "a loopback address"),
    ("::ffff:0:0/96", "an IPv4 address in IPv6 clothes"),
    ("::ffff:0:0:0/96", "an IPv4 address in IPv6 clothes"),
    ("::/96", "an IPv4 address in IPv6 clothes"),
    ("64:ff9b::/96", "a NAT64 address"),
    ("64:ff9b:1::/48", "a NAT64 address"),
    ("100::/64", "a discard-only address"),
    ("fc00::/7", "a private address"),
    ("fec0::/10", "a private address"),
    ("ff00::/8", "a multicast address"),
    ("2001::/32", "a Teredo address"),
    ("2001::/23", "a reserved address"),
    ("2001:db8::/32", "a documentation address"),
    ("2002::/16", "a 6to4 address"),
    ("3fff::/20", "a documentation address"),
    # Only 2000::/3 has been given out as global unicast (RFC 4291, section 2.4, and IANA).
    ("::/3", "a reserved address"),
    ("4000::/2", "a reserved address"),
    ("8000::/1", "a reserved address"),
)
