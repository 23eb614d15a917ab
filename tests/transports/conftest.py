"""What the tests of the transports share: a guard that lets loopback in, a transport, a CA."""

from collections.abc import Iterator
from ipaddress import ip_network

import pytest
import trustme

from worker.integrations import TlsOptions
from worker.transports.guard import Guard
from worker.transports.http import HttpTransport


@pytest.fixture
def guard() -> Guard:
    """Let loopback in, as an operator would for a SIEM on the same machine."""
    return Guard([ip_network("127.0.0.0/8")])


@pytest.fixture
def transport(guard: Guard) -> Iterator[HttpTransport]:
    """Speak HTTP with default TLS options."""
    transport = HttpTransport(guard, TlsOptions(), connections=2)
    yield transport
    transport.close()


@pytest.fixture(scope="session")
def ca() -> trustme.CA:
    """Sign the certificates of receivers."""
    return trustme.CA()
