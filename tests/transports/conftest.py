"""What the tests of the transports share: a guard that lets loopback in, a transport, a CA."""

from collections.abc import Iterator
from ipaddress import ip_network

import pytest
import trustme

from worker.integrations import TlsOptions
from worker.transports.curl.posts import CurlTransport
from worker.transports.guard import Guard
from worker.transports.http import HttpTransport


@pytest.fixture
def guard() -> Guard:
    """Let loopback in, as an operator would for a SIEM on the same machine."""
    return Guard([ip_network("127.0.0.0/8")])


@pytest.fixture(params=["sockets", "libcurl"])
def stack(request: pytest.FixtureRequest) -> str:
    """Run the test over both stacks that post one request after the other."""
    return str(request.param)


def transport_over(stack: str, guard: Guard, tls: TlsOptions) -> HttpTransport | CurlTransport:
    """Make a transport of that stack."""
    return CurlTransport(guard, tls) if stack == "libcurl" else HttpTransport(guard, tls, connections=2)


@pytest.fixture
def transport(guard: Guard, stack: str) -> Iterator[HttpTransport | CurlTransport]:
    """Speak HTTP with default TLS options."""
    transport = transport_over(stack, guard, TlsOptions())
    yield transport
    transport.close()


@pytest.fixture
def sockets(guard: Guard) -> Iterator[HttpTransport]:
    """Speak HTTP as to what a person waits for, with default TLS options."""
    transport = HttpTransport(guard, TlsOptions(), connections=2)
    yield transport
    transport.close()


@pytest.fixture(scope="session")
def ca() -> trustme.CA:
    """Sign the certificates of receivers."""
    return trustme.CA()
