"""What is closed is closed by every way: one table of hosts, tried over HTTP, libcurl, TCP, TLS and UDP."""

import contextlib
import socket
from collections.abc import Callable, Sequence
from ipaddress import ip_network
from typing import Any

import pytest

from tests.transports.curl.flights import post, posting
from tests.transports.syslog.streams import datagrams_to, stream_to
from worker.integrations import TlsOptions
from worker.model.errors import AddressRefused
from worker.transports.guard import Guard
from worker.transports.http import HttpTransport

NOTHING_ALLOWED = Guard([])
EVERYTHING_ALLOWED = Guard([ip_network("0.0.0.0/0"), ip_network("::/0")])
SOON = 5.0

#: However an address is written; what no allow-list opens stands below.
LOOPBACK = (
    *("127.0.0.1", "2130706433", "0x7f.1", "0x7f000001", "127.1", "0177.0.0.1", "0.0.0.0", "localhost"),
    *("[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::1]"),
)
CLOSED = (*LOOPBACK, "10.0.0.5", "172.16.0.1", "192.168.1.1", "100.64.0.1", "224.0.0.1", "255.255.255.255")
METADATA = ("169.254.169.254", "2852039166", "0xa9fea9fe", "[::ffff:a9fe:a9fe]", "[fd00:ec2::254]")

Way = Callable[[Guard, str], Any]


def over_http(guard: Guard, host: str) -> None:
    """Post as to Splunk."""
    with contextlib.closing(HttpTransport(guard, TlsOptions(), connections=1)) as transport:
        transport.post(f"http://{host}:9/", {}, b"x", SOON)


def over_https(guard: Guard, host: str) -> None:
    """Post as to Splunk, over TLS."""
    with contextlib.closing(HttpTransport(guard, TlsOptions(), connections=1)) as transport:
        transport.post(f"https://{host}:9/", {}, b"x", SOON)


def over_libcurl(guard: Guard, host: str) -> None:
    """Post as to a webhook."""
    with posting(guard, f"http://{host}:9/") as many:
        post(many, seconds=SOON)


def over_libcurl_and_tls(guard: Guard, host: str) -> None:
    """Post as to a webhook, over TLS."""
    with posting(guard, f"https://{host}:9/") as many:
        post(many, seconds=SOON)


def over_tcp(guard: Guard, host: str) -> None:
    """Send a line of syslog."""
    with stream_to(f"syslog://{host}:9", guard=guard) as stream:
        stream.send([b"x\n"], SOON)


def over_tls(guard: Guard, host: str) -> None:
    """Send a frame of syslog over TLS."""
    with stream_to(f"syslog+tls://{host}:9", guard=guard) as stream:
        stream.send([b"1 x"], SOON)


def over_udp(guard: Guard, host: str) -> None:
    """Send a datagram of syslog."""
    with datagrams_to(f"syslog+udp://{host}:9", guard=guard) as datagrams:
        datagrams.send([b"x"], SOON)


WAYS = (over_http, over_https, over_libcurl, over_libcurl_and_tls, over_tcp, over_tls, over_udp)


def refusals(way: Way, guard: Guard, hosts: Sequence[str]) -> dict[str, str]:
    """Try each host by this way; return the words with which it was refused."""
    words = dict.fromkeys(hosts, "not refused")
    for host in hosts:
        try:
            way(guard, host)
        except AddressRefused as refused:
            words[host] = str(refused)
    return words


@pytest.mark.parametrize("way", WAYS)
def test_no_way_leads_to_a_closed_address(way: Way) -> None:
    """Loopback, private, shared and multicast addresses are refused before dialling, in every spelling."""
    words = refusals(way, NOTHING_ALLOWED, CLOSED)

    assert {host: text for host, text in words.items() if "SIEM_ALLOWED_NETWORKS" not in text} == {}


@pytest.mark.parametrize("way", WAYS)
def test_no_setting_opens_the_way_to_metadata(way: Way) -> None:
    """The services that hand out credentials stay closed although everything is allowed."""
    words = refusals(way, EVERYTHING_ALLOWED, METADATA)

    assert {host: text for host, text in words.items() if "no setting opens it" not in text} == {}


@pytest.mark.parametrize("way", WAYS)
def test_proxies_of_the_environment_open_nothing(way: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor are they used: a proxy would look the name up and dial by rules of its own."""
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.getsockname()[1]}")
        with pytest.raises(AddressRefused):
            way(NOTHING_ALLOWED, "10.0.0.5")
        proxy.setblocking(False)  # noqa: FBT003 - the standard library's signature

        with pytest.raises(BlockingIOError):
            proxy.accept()
