"""Which addresses are closed, which the allow-list opens, and which nothing opens."""

from ipaddress import ip_address, ip_network

import pytest

from worker.transports.ranges import objection

PUBLIC = ["8.8.8.8", "1.1.1.1", "100.63.255.255", "100.128.0.1", "172.32.0.1", "2606:4700::1111", "2a00::1"]

CLOSED = {
    "0.0.0.0": "unspecified",
    "0.1.2.3": "this network",
    "10.0.0.5": "private",
    "100.64.0.1": "carrier-grade",
    "127.0.0.1": "loopback",
    "172.16.0.1": "private",
    "172.31.255.255": "private",
    "192.0.0.8": "reserved",
    "192.0.2.1": "documentation",
    "192.88.99.1": "6to4",
    "192.168.1.1": "private",
    "198.18.0.1": "benchmark",
    "198.51.100.1": "documentation",
    "203.0.113.1": "documentation",
    "224.0.0.1": "multicast",
    "239.1.1.1": "multicast",
    "240.0.0.1": "reserved",
    "255.255.255.255": "broadcast",
    "::": "unspecified",
    "::1": "loopback",
    "100::1": "discard",
    "2001:db8::1": "documentation",
    "3fff::1": "documentation",
    "2001:2::1": "reserved",
    "4000::1": "reserved",
    "5f00::1": "reserved",
    "fc00::1": "private",
    "fd12::1": "private",
    "fec0::1": "private",
    "ff02::1": "multicast",
}

#: Each carries 10.0.0.5, or for Teredo also the server 10.0.0.5.
CARRIERS = [
    "::ffff:10.0.0.5",
    "::ffff:0:10.0.0.5",
    "::10.0.0.5",
    "64:ff9b::10.0.0.5",
    "2002:a00:5::1",
    "2001:0:a00:5::f5ff:fffa",
]

METADATA = [
    "169.254.169.254",
    "169.254.170.2",
    "fd00:ec2::254",
    "fe80::1",
    "100.100.100.200",
    "168.63.129.16",
    "::ffff:169.254.169.254",
    "::169.254.169.254",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::a9fe:a9fe",
    "64:ff9b:1:a9fe:a9:fe00::",
    "2002:a9fe:a9fe::1",
    "2001:0:a9fe:a9fe::f5ff:fffa",
]

EVERYTHING = [ip_network("0.0.0.0/0"), ip_network("::/0")]


def test_a_public_address_is_open() -> None:
    """No setting is needed to reach a public address."""
    assert {address: objection(ip_address(address), []) for address in PUBLIC} == dict.fromkeys(PUBLIC)


def test_what_is_not_public_is_closed() -> None:
    """An address of a special range is refused, by the name of its kind and with a hint."""
    for address, kind in CLOSED.items():
        reason = objection(ip_address(address), [])

        assert reason is not None, address
        assert kind in reason, address
        assert "SIEM_ALLOWED_NETWORKS" in reason, address


def test_the_allow_list_opens_exactly_what_it_names() -> None:
    """A closed address is open as soon as a network of the allow-list contains it."""
    for address in CLOSED:
        assert objection(ip_address(address), [ip_network(address)]) is None, address
        assert (
            objection(ip_address(address), [ip_network("9.9.9.9"), ip_network("2620:fe::fe")]) is not None
        ), address


def test_an_address_that_carries_another_is_closed_until_either_is_listed() -> None:
    """An embedded IPv4 address is refused unless it, or the whole address, is on the allow-list."""
    for address in CARRIERS:
        assert objection(ip_address(address), []) is not None, address
        assert objection(ip_address(address), [ip_network("10.0.0.0/8")]) is None, address
        assert objection(ip_address(address), [ip_network(address)]) is None, address


@pytest.mark.parametrize(
    ("address", "carries"),
    [
        ("64:ff9b:1:a00:5:0:c0a8:1", ("10.0.5.0", "192.168.0.1")),
        ("2001:0:a00:5::3f57:fefe", ("10.0.0.5", "192.168.1.1")),
    ],
    ids=["NAT64 with a prefix of any length", "Teredo"],
)
def test_an_address_that_may_carry_either_of_two_is_open_only_with_both(
    address: str, carries: tuple[str, str]
) -> None:
    """It may be translated to either: one that is listed does not open the other."""
    one, other = map(ip_network, carries)
    assert objection(ip_address(address), [one]) is not None
    assert objection(ip_address(address), [other]) is not None
    assert objection(ip_address(address), [one, other]) is None


def test_a_carrier_of_a_public_address_is_closed() -> None:
    """Even a harmless embedded address is refused: no SIEM is reached that way unasked."""
    for carrier in ["::ffff:8.8.8.8", "64:ff9b::8.8.8.8", "2002:808:808::1"]:
        assert objection(ip_address(carrier), []) is not None, carrier


def test_loopback_of_ipv6_is_not_opened_by_an_ipv4_network() -> None:
    """`::1` is no carrier of `0.0.0.1`."""
    assert objection(ip_address("::1"), [ip_network("0.0.0.0/0")]) is not None


def test_metadata_services_are_closed_whatever_is_allowed() -> None:
    """Neither a wide network nor the very address on the allow-list opens a metadata service."""
    for address in METADATA:
        reason = objection(ip_address(address), [*EVERYTHING, ip_network(address)])

        assert reason is not None, address
        assert "metadata" in reason, address
        assert "no setting opens it" in reason, address
