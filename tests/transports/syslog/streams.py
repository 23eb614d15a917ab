"""Ways to a syslog receiver, made for one test, and messages to send on them."""

from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_network
from typing import Any

import trustme

from worker.destinations.syslog_cef.sender import syslog_transport
from worker.destinations.syslog_cef.syslog import framed
from worker.integrations.syslog_cef import SyslogCef
from worker.transports.guard import Guard
from worker.transports.syslog.datagrams import SyslogDatagrams
from worker.transports.syslog.stream import SyslogStream

GUARD = Guard([ip_network("127.0.0.0/8"), ip_network("::1/128")])
SOON = 10.0


def messages(count: int, *, start: int = 0, padding: int = 0) -> list[bytes]:
    """Make messages that differ."""
    return [b"<134>message %d %s" % (start + number, b"x" * padding) for number in range(count)]


def lines(count: int, *, start: int = 0, padding: int = 0) -> list[bytes]:
    """Put such messages into frames with newlines."""
    return framed(messages(count, start=start, padding=padding), counts_octets=False)


def octets(count: int, *, start: int = 0) -> list[bytes]:
    """Put such messages into frames behind their length."""
    return framed(messages(count, start=start), counts_octets=True)


@contextmanager
def stream_to(
    url: str, *, connections: int = 4, guard: Guard = GUARD, **options: Any
) -> Iterator[SyslogStream]:
    """Give a stream to the receiver, with these options of its destination."""
    config = SyslogCef.model_validate({"url": url} | options)
    stream = syslog_transport(config, guard, connections=connections)
    assert isinstance(stream, SyslogStream)
    try:
        yield stream
    finally:
        stream.close()


@contextmanager
def datagrams_to(url: str, *, guard: Guard = GUARD, **options: Any) -> Iterator[SyslogDatagrams]:
    """Give what sends datagrams to the receiver."""
    way = syslog_transport(SyslogCef.model_validate({"url": url} | options), guard, connections=2)
    assert isinstance(way, SyslogDatagrams)
    try:
        yield way
    finally:
        way.close()


def trusting(ca: trustme.CA) -> dict[str, Any]:
    """Return the options of an integration that trusts the CA alone."""
    return {"ca_pem": ca.cert_pem.bytes().decode()}


def identified(ca: trustme.CA, own: trustme.LeafCert) -> dict[str, Any]:
    """Return the options of one that shows this certificate as well."""
    return trusting(ca) | {
        "client_cert_pem": own.cert_chain_pems[0].bytes().decode(),
        "client_key_pem": own.private_key_pem.bytes().decode(),
    }
