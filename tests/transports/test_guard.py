"""The guard with real sockets; only the resolver is replaced, where no real one would give such answers."""

import socket
import threading
from ipaddress import ip_network
from typing import Any

import pytest

from tests.transports.dead_addresses import full_queue
from tests.transports.endpoint import Endpoint, answers
from worker.model.errors import AddressRefused, ConnectFailed, DeadlinePassed, NameUnknown
from worker.transports.guard import Guard

NOTHING_ALLOWED = Guard([])


class Resolver:
    """Answers look-ups from a script, one list of addresses per look-up, the last one for ever."""

    def __init__(self, *script: list[str]) -> None:
        """Take the script."""
        self.script = list(script)
        self.asked: list[str] = []

    def __call__(self, host: str, port: int, **options: Any) -> list[Any]:
        """Stand in for `socket.getaddrinfo`."""
        if options.get("flags"):
            raise socket.gaierror(socket.EAI_NONAME, "not a number")
        self.asked.append(host)
        ips = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        return [_row(ip, port) for ip in ips]


def _row(ip: str, port: int) -> tuple[Any, ...]:
    family = socket.AF_INET6 if ":" in ip else socket.AF_INET
    target = (ip, port, 0, 0) if ":" in ip else (ip, port)
    return (family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", target)


def test_every_spelling_of_loopback_is_refused() -> None:
    """However an address is written, what is judged is the address itself."""
    hosts = (
        *("127.0.0.1", "2130706433", "0x7f.1", "0x7f000001", "127.1", "0177.0.0.1", "017700000001"),
        *("::1", "::ffff:127.0.0.1", "::ffff:7f00:1", "0:0:0:0:0:0:0:1", "0", "0.0.0.0", "::"),
        *("localhost", "LOCALHOST"),
    )
    words = {host: refusal(NOTHING_ALLOWED, host) for host in hosts}

    assert {host: text for host, text in words.items() if host not in text} == {}
    assert {host: text for host, text in words.items() if "SIEM_ALLOWED_NETWORKS" not in text} == {}


def refusal(guard: Guard, host: str) -> str:
    """Return the words with which the host is refused."""
    try:
        guard.addresses(host, 8088)
    except AddressRefused as refused:
        return str(refused)
    return "not refused"


def test_metadata_is_refused_although_everything_is_allowed() -> None:
    """The metadata service stays closed in every spelling, with or without a scope."""
    everything = Guard([ip_network("0.0.0.0/0"), ip_network("::/0")])
    hosts = ("169.254.169.254", "0xa9fea9fe", "2852039166", "fe80::1%lo", "::ffff:a9fe:a9fe")
    words = {host: refusal(everything, host) for host in hosts}

    assert {host: text for host, text in words.items() if "no setting opens it" not in text} == {}


def test_a_listed_network_is_open(guard: Guard) -> None:
    """What the allow-list names may be dialled, and prints as people write it."""
    assert [str(address) for address in guard.addresses("127.1", 8088)] == ["127.0.0.1:8088"]


def test_addresses_for_datagrams(guard: Guard) -> None:
    """The kind of socket is the caller's choice: syslog wants datagrams, too."""
    (address,) = guard.addresses("127.0.0.1", 514, socket.SOCK_DGRAM)

    assert address.kind is socket.SOCK_DGRAM


def test_closed_addresses_of_a_mixed_name_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a name with open and closed addresses, only the open ones are left, in their order."""
    monkeypatch.setattr(socket, "getaddrinfo", Resolver(["10.0.0.5", "8.8.8.8", "::1", "2606:4700::1111"]))

    found = [str(address) for address in NOTHING_ALLOWED.addresses("siem.example.com", 443)]

    assert found == ["8.8.8.8:443", "[2606:4700::1111]:443"]


def test_a_name_with_only_closed_addresses_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The refusal names the host, an address and what would help."""
    monkeypatch.setattr(socket, "getaddrinfo", Resolver(["10.0.0.5", "10.0.0.6"]))

    with pytest.raises(AddressRefused) as refused:
        NOTHING_ALLOWED.addresses("siem.example.com", 443)

    assert str(refused.value) == (
        "siem.example.com resolves to 10.0.0.5 (and 1 more), which is a private address: "
        "list its network in SIEM_ALLOWED_NETWORKS if a SIEM stands there"
    )


def test_a_name_that_changes_its_mind_gains_nothing(monkeypatch: pytest.MonkeyPatch, guard: Guard) -> None:
    """One look-up per connection: what was judged is dialled, and the next one is judged by its own."""
    resolver = Resolver(["127.0.0.1"], ["10.0.0.5"])
    monkeypatch.setattr(socket, "getaddrinfo", resolver)

    with Endpoint(answers()) as endpoint:
        with guard.dial("rebinding.example.com", endpoint.port, timeout=5) as sock:
            assert sock.getpeername() == ("127.0.0.1", endpoint.port)
        assert resolver.asked == ["rebinding.example.com"]
        with pytest.raises(AddressRefused, match=r"10\.0\.0\.5"):
            guard.dial("rebinding.example.com", endpoint.port, timeout=5)


def test_the_dot_at_the_end_reaches_the_resolver(monkeypatch: pytest.MonkeyPatch) -> None:
    """`siem.` is a complete name, to which the resolver must not add its search list."""
    resolver = Resolver(["8.8.8.8"])
    monkeypatch.setattr(socket, "getaddrinfo", resolver)

    NOTHING_ALLOWED.addresses("siem.", 443)

    assert resolver.asked == ["siem."]


@pytest.mark.parametrize(
    "host", ["no-such-host.invalid", "a..b", "x" * 64 + ".example", "nul\0byte", "\ud800", "fe80::1%nope"]
)
def test_a_name_that_is_none_is_said_so(host: str) -> None:
    """What does not resolve, or cannot, is an unknown name."""
    with pytest.raises(NameUnknown, match="check"):
        NOTHING_ALLOWED.addresses(host, 443)


def test_a_resolver_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch, guard: Guard) -> None:
    """The deadline holds for the look-up of the name, too."""
    release = threading.Event()

    def hang(*_: object, **options: Any) -> list[Any]:
        if options.get("flags"):
            raise socket.gaierror(socket.EAI_NONAME, "not a number")
        release.wait()
        return []

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    try:
        with pytest.raises(DeadlinePassed, match="did not resolve within"):
            guard.dial("slow.example.com", 443, timeout=0.05)
    finally:
        release.set()


def test_a_connection_is_prompt_and_notices_a_dead_peer(guard: Guard) -> None:
    """Small segments are not held back, and keepalive is on."""
    with Endpoint(answers()) as endpoint, guard.dial("localhost", endpoint.port, timeout=5) as sock:
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)


def test_a_refused_connection_is_said_so(guard: Guard) -> None:
    """Nothing listens there: the message says where that was."""
    port = _closed_port()

    with pytest.raises(ConnectFailed, match=rf"^connection refused by 127\.0\.0\.1:{port}$"):
        guard.dial("127.0.0.1", port, timeout=5)


def test_a_missing_route_is_said_so(guard: Guard) -> None:
    """No route leads there: TCP cannot reach a broadcast address."""
    with pytest.raises(ConnectFailed, match=r"^no route to 127\.255\.255\.255:443$"):
        guard.dial("127.255.255.255", 443, timeout=5)


def test_a_silent_address_leaves_time_for_the_next(monkeypatch: pytest.MonkeyPatch, guard: Guard) -> None:
    """Addresses are tried in turn, each with a fair share of the time."""
    with Endpoint(answers()) as endpoint, full_queue("127.0.0.2", endpoint.port):
        monkeypatch.setattr(socket, "getaddrinfo", Resolver(["127.0.0.2", "127.0.0.1"]))

        with guard.dial("siem.example.com", endpoint.port, timeout=1) as sock:
            assert sock.getpeername()[0] == "127.0.0.1"


def test_an_address_that_stays_silent_runs_into_the_deadline(guard: Guard) -> None:
    """A peer that does not complete the connection is given up in time."""
    with full_queue("127.0.0.2") as port, pytest.raises(DeadlinePassed, match=f"127.0.0.2:{port}"):
        guard.dial("127.0.0.2", port, timeout=0.1)


def _closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port
