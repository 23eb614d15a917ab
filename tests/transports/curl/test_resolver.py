"""Where libcurl's connections lead: only where the guard finds, looked up every few seconds."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from ipaddress import ip_network
from typing import Any

import pytest

from tests.transports.curl.flights import land, post, post_all, posting
from tests.transports.endpoint import OK, Endpoint, Visit, answers
from worker.model.errors import AddressRefused, ConnectTimedOut, NameUnknown
from worker.transports.curl.client import ManyHttp
from worker.transports.dialer import Address
from worker.transports.guard import Guard, Renewal

BODIES = [b"%06d" % number for number in range(50)]


class Judging(Guard):
    """Keeps account of what it was asked."""

    seen: list[str]

    def judge(self, address: Address) -> str | None:
        """Judge as ever."""
        self.seen.append(str(address))
        return super().judge(address)


def test_every_connection_is_judged(guard: Guard) -> None:
    """Also the one that takes the place of one that was closed."""
    judging = Judging(guard._allowed)  # noqa: SLF001 - the same networks
    judging.seen = []

    def answers_once(visit: Visit) -> None:
        visit.request()
        visit.connection.sendall(OK)

    with Endpoint(answers_once) as endpoint, posting(judging, endpoint.url()) as many:
        for _ in range(3):
            post(many)
            assert endpoint.left.wait(10)
            endpoint.left.clear()

        assert judging.seen.count(f"127.0.0.1:{endpoint.port}") == 3


class Resolver:
    """Stands in for the system's: answers look-ups from a script, the last answer for ever."""

    def __init__(self, *script: list[str]) -> None:
        """Take the script."""
        self.script = list(script)
        self.asked: list[str] = []

    def __call__(self, host: str, port: int, **options: Any) -> list[Any]:
        """Look up as `socket.getaddrinfo` does."""
        if options.get("flags"):
            raise socket.gaierror(socket.EAI_NONAME, "not a number")
        self.asked.append(host)
        ips = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (ip, port)) for ip in ips]


@pytest.mark.parametrize("host", ["siem.example.com", "SIEM.example.com", "siem.example.com."])
def test_libcurl_dials_what_the_guard_found(guard: Guard, monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    """It asks no resolver itself: one that hangs would stop every request, past all deadlines."""
    resolver = Resolver(["10.0.0.5", "127.0.0.1"])
    monkeypatch.setattr(socket, "getaddrinfo", resolver)
    with Endpoint(answers()) as endpoint, posting(guard, endpoint.url(host)) as many:
        assert post(many).status == 200
        assert f"Host: siem.example.com:{endpoint.port}\r\n".encode() in endpoint.requests[0]


def test_a_name_that_moved_is_followed_at_the_next_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A look-up holds for seconds; a name that has come to lead to a closed network is refused by then."""
    guard = Guard([ip_network("127.0.0.0/8")], Renewal(look_up_every=0.0))
    monkeypatch.setattr(socket, "getaddrinfo", Resolver(["127.0.0.2"], ["127.0.0.1"], ["10.0.0.5"]))

    def answers_once(visit: Visit) -> None:
        visit.request()
        visit.connection.sendall(OK)

    with Endpoint(answers_once) as endpoint, posting(guard, endpoint.url("siem.example.com")) as many:
        with _closed_port_of("127.0.0.2", endpoint.port):
            pass
        outcomes = [_outcome(many) for _ in range(3)]

    assert outcomes == ["ConnectFailed", "CurlResponse", "AddressRefused"]


def _outcome(many: ManyHttp) -> str:
    with many.flight(10) as flight:
        flight.start("one", (), b"x", 10)
        [(_, outcome)] = land(flight)
    return type(outcome).__name__


@contextlib.contextmanager
def _closed_port_of(host: str, port: int) -> Iterator[None]:
    """Make sure that nothing listens there."""
    with socket.create_server((host, port)):
        yield


def test_a_look_up_is_not_repeated_for_every_flight(guard: Guard, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within a few seconds, flights go by the same answer."""
    resolver = Resolver(["127.0.0.1"])
    monkeypatch.setattr(socket, "getaddrinfo", resolver)
    with Endpoint(answers()) as endpoint, posting(guard, endpoint.url("siem.example.com")) as many:
        for _ in range(5):
            post(many)

    assert resolver.asked == ["siem.example.com"]


def test_a_resolver_that_hangs_is_given_up(guard: Guard, monkeypatch: pytest.MonkeyPatch) -> None:
    """All requests of the flight fail so, in the time that the flight has."""
    release = threading.Event()

    def hang(*_: object, **options: Any) -> list[Any]:
        if options.get("flags"):
            raise socket.gaierror(socket.EAI_NONAME, "not a number")
        release.wait()
        return []

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    try:
        with posting(guard, "http://slow.example.com/") as many, many.flight(0.05) as flight:
            for number in range(3):
                flight.start(number, (), b"x", 10)
            outcomes = [outcome for _, outcome in land(flight)]
    finally:
        release.set()

    assert [type(outcome) for outcome in outcomes] == [ConnectTimedOut] * 3
    assert "slow.example.com did not resolve within 0.05 s" in str(outcomes[0])


@pytest.mark.parametrize(
    ("url", "kind"), [("http://10.0.0.5/", AddressRefused), ("http://no-such-host.invalid/", NameUnknown)]
)
def test_where_there_is_no_way_no_request_takes_it(guard: Guard, url: str, kind: type[Exception]) -> None:
    """What keeps connections from being made at all is the answer to every request."""
    with posting(guard, url) as many:
        outcomes = post_all(many, BODIES)

    assert {type(outcome) for outcome in outcomes.values()} == {kind}
