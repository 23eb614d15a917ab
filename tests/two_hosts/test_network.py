"""The network of these tests carries what it should, and drops what it should."""

import os
import socket
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryFile

import pytest

from tests import warm_start
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


def test_a_program_runs_where_it_was_started(network: Network) -> None:
    """Also one that could begin as a fork of a process elsewhere."""
    siem = str(Path(sys.executable).with_name("siem"))
    environment = {**os.environ, "SIEM_REDIS_URL": "redis://127.0.0.1:1/0"}
    read, write = map(os.fdopen, os.pipe(), ("rb", "wb"))
    with read, write, TemporaryFile() as nothing:
        # From now on there is one that forks.
        assert warm_start.start([siem, "--version"], environment, (read, nothing, nothing)).wait() == 0
        with network.on("here"):
            here = _namespace("thread-self")
            # It waits for what it is to publish.
            process = warm_start.start([siem, "publish"], environment, (read, nothing, nothing))
        found = _namespace(str(process.pid))
        process.kill()
        process.wait()

    assert found == here


def _namespace(process: str) -> Path:
    return Path("/proc", process, "ns/net").readlink()


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
