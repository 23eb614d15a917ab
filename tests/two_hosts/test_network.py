"""The network of these tests carries what it should, and drops what it should."""

import socket
from collections.abc import Iterator
from contextlib import suppress

import pytest

from tests.two_hosts.network import Network, can_make

_PORT = 4000


@pytest.fixture
def network() -> Iterator[Network]:
    """Give two hosts."""
    if not can_make():
        pytest.skip("network namespaces cannot be made here")
    with Network("here", "there") as made:
        yield made


@pytest.fixture
def datagrams(network: Network) -> Iterator[socket.socket]:
    """Give a socket that receives on the second host."""
    with network.on("there"), socket.socket(type=socket.SOCK_DGRAM) as made:
        made.bind((network.addresses["there"], _PORT))
        made.settimeout(10)
        yield made


def _send(network: Network, text: bytes) -> None:
    with network.on("here"), socket.socket(type=socket.SOCK_DGRAM) as sender, suppress(OSError):
        sender.sendto(text, (network.addresses["there"], _PORT))


def test_a_cut_drops_what_is_sent_meanwhile(network: Network, datagrams: socket.socket) -> None:
    """Behind it, everything passes again."""
    _send(network, b"before")
    with network.cut(("here", "there")):
        _send(network, b"meanwhile")
    _send(network, b"behind")

    assert [datagrams.recv(100), datagrams.recv(100)] == [b"before", b"behind"]


def test_a_cut_may_be_one_way(network: Network, datagrams: socket.socket) -> None:
    """What the other host sends passes."""
    with network.cut_one_way(("there", "here")):
        _send(network, b"passes")

        assert datagrams.recv(100) == b"passes"


def test_other_namespaces_are_out_of_reach(network: Network) -> None:
    """The addresses exist in these namespaces alone."""
    addresses = {name for name in network.addresses.values() if _is_own(name)}

    assert addresses == set()


def _is_own(address: str) -> bool:
    with socket.socket(type=socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
        return True
