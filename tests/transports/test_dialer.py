"""Dials to names with several addresses, of which some are dead: real sockets of loopback.

The deadlines are an hour, so that a share of it for each dead address would outlast the test by far.
"""

import contextlib
import errno
import socket
from collections.abc import Iterator
from ipaddress import ip_network
from typing import Any

import pytest
import trustme

from tests.ports import free_port
from tests.receivers.syslog import SyslogReceiver
from tests.transports import ways
from tests.transports.certificates import server_context
from tests.transports.curl.flights import post, posting
from tests.transports.dead_addresses import full_queue
from tests.transports.endpoint import Endpoint, Visit, answers
from tests.transports.names import HOST, MovableName
from tests.transports.syslog.streams import lines, stream_to
from worker.integrations import TlsOptions
from worker.model.errors import ConnectFailed, ConnectTimedOut, OutOfResources
from worker.model.outages import Resource
from worker.transports.deadline import DeadlineSocket
from worker.transports.dialer import Address, UnresponsiveAddresses, by_turns
from worker.transports.guard import Guard
from worker.transports.http import HttpTransport

LIVE = "127.0.0.1"
DEAD = [f"127.0.0.{last}" for last in range(2, 12)]
HOUR = 3600.0
SHORT = 0.4


@contextlib.contextmanager
def dead(count: int, port: int) -> Iterator[list[str]]:
    """Give so many addresses where nothing answers."""
    with contextlib.ExitStack() as stack:
        for ip in DEAD[:count]:
            stack.enter_context(full_queue(ip, port))
        yield DEAD[:count]


@pytest.mark.parametrize("count", [1, 2, len(DEAD)])
@pytest.mark.slow
def test_dead_addresses_cost_a_moment_each(guard: Guard, monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """The next one is dialled beside them (RFC 8305); there may be more than are dialled at once."""
    with Endpoint(answers()) as endpoint, dead(count, endpoint.port) as ips:
        MovableName(monkeypatch, *ips, LIVE)
        with guard.dial(HOST, endpoint.port, HOUR) as sock:
            assert sock.peer_ip == LIVE
            assert sock.getpeername()[0] == LIVE
            assert sock.gettimeout() == pytest.approx(HOUR, rel=0.1)


def test_a_dead_address_is_dialled_last_for_a_while(guard: Guard, monkeypatch: pytest.MonkeyPatch) -> None:
    """It costs its moment once, not at each connection."""
    with Endpoint(answers()) as endpoint, dead(2, endpoint.port) as ips:
        MovableName(monkeypatch, *ips, LIVE)
        guard.dial(HOST, endpoint.port, HOUR).close()
        found = guard.addresses(HOST, endpoint.port)

    assert [address.ip for address in found] == [LIVE, *ips]


def test_every_way_gets_past_a_dead_address(guard: Guard, monkeypatch: pytest.MonkeyPatch) -> None:
    """HTTP, libcurl and syslog."""
    with Endpoint(answers()) as endpoint, dead(2, endpoint.port) as ips:
        MovableName(monkeypatch, *ips, LIVE)
        with contextlib.closing(HttpTransport(guard, TlsOptions(), connections=1)) as transport:
            assert transport.post(endpoint.url(HOST), {}, b"x", HOUR).status == 200
    with Endpoint(answers()) as endpoint, dead(2, endpoint.port) as ips:
        MovableName(monkeypatch, *ips, LIVE)
        with posting(guard, endpoint.url(HOST)) as many:
            assert post(many, seconds=HOUR).status == 200
        assert guard.addresses(HOST, endpoint.port)[0].ip == LIVE
    with SyslogReceiver() as receiver, dead(2, receiver.port) as ips:
        MovableName(monkeypatch, *ips, LIVE)
        with stream_to(f"syslog://{HOST}:{receiver.port}", guard=guard) as stream:
            stream.send(lines(1), HOUR)
        receiver.wait_for(1)


def _never_shakes_hands(visit: Visit) -> None:
    while visit.connection.recv(65536):
        pass


@pytest.mark.parametrize("way", ways.WAYS)
def test_an_address_that_hangs_in_tls_is_not_the_first_again(
    guard: Guard, ca: trustme.CA, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """Its time is over then; but the next attempt goes to another address."""
    tls = server_context(ca.issue_cert(HOST))
    options = TlsOptions(ca_pem=ca.cert_pem.bytes().decode())
    port = free_port()
    with (
        Endpoint(_never_shakes_hands, port=port),
        Endpoint(answers(), tls=tls, host=DEAD[0], port=port),
    ):
        MovableName(monkeypatch, LIVE, DEAD[0])
        monkeypatch.setattr(ways, "SECONDS", SHORT)
        with pytest.raises(ConnectTimedOut, match="TLS handshake"):
            ways.WAYS[way](guard, HOST, port, options, 100)
        assert guard.addresses(HOST, port)[0].ip == DEAD[0]
        with guard.dial(HOST, port, HOUR) as sock:
            assert sock.peer_ip == DEAD[0]


def test_all_addresses_are_named_when_none_answers(guard: Guard, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each with what became of it."""
    port = free_port()
    with dead(2, port) as ips:
        MovableName(monkeypatch, ips[0], LIVE, ips[1])
        with pytest.raises(ConnectTimedOut) as failed:
            guard.dial(HOST, port, SHORT)

    assert str(failed.value) == (
        f"no connection to {HOST} within 0.4 s: no answer from {ips[0]}:{port}; "
        f"connection refused by {LIVE}:{port}; no answer from {ips[1]}:{port}"
    )


def test_refusals_take_no_time(guard: Guard, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing listens at any of many addresses, that is known at once; the first four are named."""
    port = free_port()
    MovableName(monkeypatch, *(f"127.0.1.{last}" for last in range(1, 200)))
    with pytest.raises(
        ConnectFailed, match=rf"^connection refused by 127.0.1.1:{port}; .* and 195 more addresses$"
    ):
        guard.dial(HOST, port, HOUR)


def test_the_losers_are_closed(guard: Guard, monkeypatch: pytest.MonkeyPatch) -> None:
    """One descriptor is left of a dial to four addresses."""
    with Endpoint(answers()) as endpoint, dead(3, endpoint.port) as ips:
        MovableName(monkeypatch, *ips, LIVE)
        opened: list[DeadlineSocket] = []
        real = DeadlineSocket.__init__

        def note(sock: DeadlineSocket, *options: Any) -> None:
            real(sock, *options)
            opened.append(sock)

        monkeypatch.setattr(DeadlineSocket, "__init__", note)
        with guard.dial(HOST, endpoint.port, HOUR) as sock:
            assert [one for one in opened if one.fileno() >= 0] == [sock]
        assert len(opened) == 4


@pytest.mark.parametrize("way", ["plain", "after others"])
def test_a_family_that_this_machine_lacks_is_no_shortage(monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    """EADDRNOTAVAIL of one family, and a refusal by the other, is a refusal; of all there is, a shortage."""
    guard = Guard([ip_network("127.0.0.0/8"), ip_network("::1/128")])
    ips = ["::1"] if way == "plain" else ["::1", LIVE]
    MovableName(monkeypatch, *ips)
    real = DeadlineSocket.connect_ex

    def connect(sock: DeadlineSocket, target: tuple[object, ...]) -> int:
        return errno.EADDRNOTAVAIL if sock.family is socket.AF_INET6 else real(sock, target)

    monkeypatch.setattr(DeadlineSocket, "connect_ex", connect)
    with pytest.raises(ConnectFailed) as failed:
        guard.dial(HOST, free_port(), HOUR)
    assert isinstance(failed.value, OutOfResources) is (way == "plain")


@pytest.mark.parametrize("ips", [["::1"], ["::1", "::2"]], ids=len)
def test_a_machine_without_ipv6_is_no_shortage(monkeypatch: pytest.MonkeyPatch, ips: list[str]) -> None:
    """It never passes: the events count attempts, and the people on call read of a failing integration."""
    MovableName(monkeypatch, *ips)

    def connect(_sock: socket.socket, _target: tuple[object, ...]) -> int:
        return (
            errno.EADDRNOTAVAIL
        )  # as Linux answers with net.ipv6.conf.all.disable_ipv6, of datagrams as well

    monkeypatch.setattr(socket.socket, "connect_ex", connect)
    with pytest.raises(ConnectFailed, match=r"no route to \[::1\]") as failed:
        Guard([ip_network("::/0")]).dial(HOST, free_port(), HOUR)
    assert not isinstance(failed.value, OutOfResources)


def test_no_local_port_for_datagrams_is_a_shortage(monkeypatch: pytest.MonkeyPatch) -> None:
    """Linux says EAGAIN where TCP has EADDRNOTAVAIL."""
    monkeypatch.setattr(DeadlineSocket, "connect_ex", lambda *_: errno.EAGAIN)
    with pytest.raises(OutOfResources) as short:
        Guard([ip_network("127.0.0.0/8")]).dial_datagrams(LIVE, 9, HOUR)
    assert short.value.resource is Resource.PORTS


def _address(ip: str) -> Address:
    family = socket.AF_INET6 if ":" in ip else socket.AF_INET
    return Address(family, socket.SOCK_STREAM, socket.IPPROTO_TCP, (ip, 443))


def test_families_are_dialled_by_turns() -> None:
    """A network that drops all of IPv6 costs one address's moment (RFC 8305, section 4)."""
    found = [_address(ip) for ip in ("::1", "::2", "::3", "10.0.0.1", "10.0.0.2")]

    assert [one.ip for one in by_turns(found)] == ["::1", "10.0.0.1", "::2", "10.0.0.2", "::3"]
    assert by_turns([]) == []


def test_silent_addresses_come_last() -> None:
    """The others keep the order of the resolver, by which a name spreads its load."""
    silent = UnresponsiveAddresses()
    found = [_address(f"10.0.0.{last}") for last in range(1, 6)]
    silent.note("10.0.0.1", 443)
    silent.note("10.0.0.4", 443)
    silent.note("10.0.0.2", 8443)

    assert [one.ip[-1] for one in silent.last(found)] == ["2", "3", "5", "1", "4"]
