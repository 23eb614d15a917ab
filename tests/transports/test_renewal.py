"""Connections that are kept have a longest life, and follow their name: over HTTP, libcurl, syslog and UDP.

Two receivers stand at two addresses of loopback, on the same port, and both stay up all the while. The time
between two look-ups, and the longest life, are zero or endless here: no test waits for a clock.
"""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from ipaddress import ip_network
from typing import Any

import pytest
import trustme

from tests.fleet import wait_until
from tests.ports import free_port
from tests.receivers.syslog import SyslogReceiver, SyslogUdpReceiver
from tests.transports.certificates import server_context
from tests.transports.curl.flights import post, posting
from tests.transports.endpoint import Endpoint, answers
from tests.transports.http2 import Http2, offering_http2
from tests.transports.names import HOST, MovableName
from tests.transports.syslog.streams import SOON, datagrams_to, lines, messages, octets, stream_to
from worker.integrations import TlsOptions
from worker.model.errors import AddressRefused, NameUnknown
from worker.transports.curl.posts import CurlTransport
from worker.transports.guard import Guard, Renewal
from worker.transports.http import HttpTransport

A, B, CLOSED = "127.0.0.1", "127.0.0.2", "10.0.0.5"
NETWORKS = [ip_network("127.0.0.0/8")]
ENDLESS = 1e9
#: Looks the name up before each request, and lets connections live.
FOLLOWS = Renewal(longest_life=ENDLESS, look_up_every=0.0)
#: Lets none live beyond its first request.
EPHEMERAL = Renewal(longest_life=0.0, look_up_every=0.0)
AT_EASE = Renewal(longest_life=ENDLESS, look_up_every=ENDLESS)

Send = Callable[[], object]
#: Where a way leads: gives what sends once, and what counts how many connections each address has had.
Counts = Callable[[], tuple[int, int]]
Way = contextlib.AbstractContextManager[tuple[Send, Counts]]


@contextlib.contextmanager
def _endpoints(ca: trustme.CA, *, encrypts: bool, http2: bool = False) -> Iterator[tuple[str, Counts]]:
    def endpoint(ip: str, port: int) -> Endpoint:
        tls = server_context(ca.issue_cert(HOST)) if encrypts else None
        if http2 and tls is not None:
            return Endpoint(Http2().behaviour(), tls=offering_http2(tls), host=ip, port=port)
        return Endpoint(answers(), tls=tls, host=ip, port=port)

    port = free_port()
    with endpoint(A, port) as one, endpoint(B, port) as other:
        yield one.url(HOST), lambda: (one.accepted, other.accepted)


def _trusting(ca: trustme.CA) -> TlsOptions:
    return TlsOptions(ca_pem=ca.cert_pem.bytes().decode())


@contextlib.contextmanager
def _http(guard: Guard, ca: trustme.CA, *, encrypts: bool) -> Iterator[tuple[Send, Counts]]:
    with (
        _endpoints(ca, encrypts=encrypts) as (url, counts),
        contextlib.closing(HttpTransport(guard, _trusting(ca), connections=2)) as transport,
    ):
        yield lambda: transport.post(url, {}, b"x", SOON), counts


@contextlib.contextmanager
def _one_by_one(guard: Guard, ca: trustme.CA, *, encrypts: bool) -> Iterator[tuple[Send, Counts]]:
    with (
        _endpoints(ca, encrypts=encrypts) as (url, counts),
        contextlib.closing(CurlTransport(guard, _trusting(ca))) as transport,
    ):
        yield lambda: transport.post(url, {}, b"x", SOON), counts


@contextlib.contextmanager
def _libcurl(guard: Guard, ca: trustme.CA, *, encrypts: bool, http2: bool) -> Iterator[tuple[Send, Counts]]:
    with (
        _endpoints(ca, encrypts=encrypts, http2=http2) as (url, counts),
        posting(guard, url, _trusting(ca)) as many,
    ):
        # As behind a first answer, by which it is learned what is spoken in TLS.
        many.dialect.learn(is_shared=http2)
        yield lambda: post(many), counts


@contextlib.contextmanager
def _syslog(guard: Guard, ca: trustme.CA, *, encrypts: bool) -> Iterator[tuple[Send, Counts]]:
    tls = server_context(ca.issue_cert(HOST)) if encrypts else None
    with SyslogReceiver(tls=tls, host=A) as one, SyslogReceiver(tls=tls, host=B, port=one.port) as other:
        options: dict[str, Any] = {"ca_pem": _trusting(ca).ca_pem} if encrypts else {}
        with stream_to(f"{one.scheme}://{HOST}:{one.port}", guard=guard, **options) as stream:
            frames = octets(1) if encrypts else lines(1)
            yield lambda: stream.send(frames, SOON), lambda: (one.accepted, other.accepted)


@contextlib.contextmanager
def _udp(guard: Guard, _ca: trustme.CA) -> Iterator[tuple[Send, Counts]]:
    """Count messages in place of connections."""
    with SyslogUdpReceiver(host=A) as one, SyslogUdpReceiver(host=B, port=one.port) as other:
        sent = 0

        def counts() -> tuple[int, int]:
            wait_until(lambda: len(one.messages) + len(other.messages) >= sent, "every datagram has arrived")
            return len(one.messages), len(other.messages)

        with datagrams_to(f"syslog+udp://{HOST}:{one.port}", guard=guard) as way:

            def send() -> None:
                nonlocal sent
                way.send(messages(1), SOON)
                sent += 1

            yield send, counts


WAYS: dict[str, Callable[[Guard, trustme.CA], Way]] = {
    "http": lambda guard, ca: _http(guard, ca, encrypts=False),
    "https": lambda guard, ca: _http(guard, ca, encrypts=True),
    "libcurl, one by one": lambda guard, ca: _one_by_one(guard, ca, encrypts=False),
    "libcurl, one by one in tls": lambda guard, ca: _one_by_one(guard, ca, encrypts=True),
    "libcurl": lambda guard, ca: _libcurl(guard, ca, encrypts=False, http2=False),
    "libcurl in tls": lambda guard, ca: _libcurl(guard, ca, encrypts=True, http2=False),
    "libcurl in http/2": lambda guard, ca: _libcurl(guard, ca, encrypts=True, http2=True),
    "syslog": lambda guard, ca: _syslog(guard, ca, encrypts=False),
    "syslog in tls": lambda guard, ca: _syslog(guard, ca, encrypts=True),
}
every_way = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)


@every_way
def test_a_name_that_moved_is_followed(
    way: Callable[[Guard, trustme.CA], Way], ca: trustme.CA, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Although the old address is still up, and the connection to it stands."""
    name = MovableName(monkeypatch, A)
    with way(Guard(NETWORKS, FOLLOWS), ca) as (send, counts):
        send()
        send()
        assert counts() == (1, 0)
        name.ips = [B]
        send()
        send()
        assert counts() == (1, 1)


@every_way
def test_a_connection_has_a_longest_life(
    way: Callable[[Guard, trustme.CA], Way], ca: trustme.CA, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then another one takes its place, though the name still leads there."""
    MovableName(monkeypatch, A)
    with way(Guard(NETWORKS, EPHEMERAL), ca) as (send, counts):
        for _ in range(3):
            send()
        assert counts() == (3, 0)


@every_way
def test_an_address_among_several_is_kept(
    way: Callable[[Guard, trustme.CA], Way], ca: trustme.CA, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Resolvers turn the list at each look-up: that is no move."""
    name = MovableName(monkeypatch, A, B)
    with way(Guard(NETWORKS, FOLLOWS), ca) as (send, counts):
        send()
        name.ips = [B, A]
        send()
        assert counts() == (1, 0)


@every_way
def test_a_look_up_that_fails_costs_no_connection(
    way: Callable[[Guard, trustme.CA], Way], ca: trustme.CA, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A resolver that is away is no reason to part with a connection that works, not even with an old one."""
    name = MovableName(monkeypatch, A)
    with way(Guard(NETWORKS, EPHEMERAL), ca) as (send, counts):
        send()
        name.trouble = socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        send()
        send()
        assert counts() == (1, 0)
        name.trouble = None
        # The look-up that was under way when the trouble ended may still fail.
        wait_until(lambda: (send(), counts())[1] == (2, 0), "the old connection is parted with")


@every_way
def test_a_name_that_is_gone_is_left_with_the_life_of_its_connection(
    way: Callable[[Guard, trustme.CA], Way], ca: trustme.CA, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The DNS was asked, and says that there is no such name."""
    name = MovableName(monkeypatch, A)
    with way(Guard(NETWORKS, EPHEMERAL), ca) as (send, counts):
        send()
        name.trouble = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        with pytest.raises(NameUnknown):
            send()
        assert counts() == (1, 0)


@every_way
def test_a_name_that_came_to_lead_to_a_closed_network_is_left(
    way: Callable[[Guard, trustme.CA], Way], ca: trustme.CA, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The guard judges each look-up: the owner of the name gains nothing, and keeps nothing."""
    name = MovableName(monkeypatch, A)
    with way(Guard(NETWORKS, FOLLOWS), ca) as (send, counts):
        send()
        name.ips = [CLOSED]
        with pytest.raises(AddressRefused, match=rf"{HOST} resolves to {CLOSED}"):
            send()
        name.ips = [A]
        send()
        assert counts() == (2, 0)


@every_way
def test_a_name_is_not_looked_up_for_each_request(
    way: Callable[[Guard, trustme.CA], Way], ca: trustme.CA, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once in a while is enough."""
    name = MovableName(monkeypatch, A)
    with way(Guard(NETWORKS, AT_EASE), ca) as (send, counts):
        for _ in range(5):
            send()
        assert name.asked == 1
        assert counts() == (1, 0)


def test_a_look_up_holds_up_no_send(monkeypatch: pytest.MonkeyPatch) -> None:
    """A resolver that hangs is waited for once, for half a second, and by one send alone."""
    name = MovableName(monkeypatch, A)
    guard = Guard(NETWORKS, FOLLOWS)
    guard.addresses(HOST, 443)
    lifetime = guard.lifetime(HOST, 443, A)
    name.hangs_until = threading.Event()
    try:
        for _ in range(100):
            assert not lifetime.is_over()
    finally:
        name.hangs_until.set()
    assert name.asked == 2


def test_datagrams_follow_their_name(ca: trustme.CA, monkeypatch: pytest.MonkeyPatch) -> None:
    """A socket that connects nothing never breaks: a receiver that moved would be missed for ever."""
    name = MovableName(monkeypatch, A)
    with _udp(Guard(NETWORKS, FOLLOWS), ca) as (send, counts):
        send()
        name.ips = [B]
        send()
        assert counts() == (1, 1)
        name.ips = [CLOSED]
        with pytest.raises(AddressRefused):
            send()


@pytest.mark.parametrize("renewal", [EPHEMERAL, AT_EASE], ids=["ephemeral", "at ease"])
def test_a_socket_for_datagrams_has_a_longest_life(
    ca: trustme.CA, monkeypatch: pytest.MonkeyPatch, renewal: Renewal
) -> None:
    """As a connection has; each new socket is a look-up."""
    name = MovableName(monkeypatch, A)
    with _udp(Guard(NETWORKS, renewal), ca) as (send, _):
        for _ in range(3):
            send()
    assert name.asked == (1 if renewal is AT_EASE else 5)
