"""Many requests in flight from one thread: how many, over which connections, and where those lead."""

import contextlib
import os
import resource
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import trustme

from tests.transports.certificates import server_context
from tests.transports.curl.flights import land, post, post_all, posting
from tests.transports.endpoint import OK, Behaviour, Endpoint, Visit, answers
from worker.integrations import TlsOptions
from worker.transports.curl.answer import CurlResponse
from worker.transports.guard import Guard

ALONE = b"alone"
BODIES = [b"%06d" % number for number in range(200)]


def _echoing() -> Behaviour:
    def behave(visit: Visit) -> None:
        while request := visit.request():
            visit.connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n" + request[-6:])

    return behave


def _heard(outcomes: dict[bytes, Any]) -> dict[bytes, bytes]:
    """Return the body of each answer, and nothing for what is none."""
    return {key: one.body for key, one in outcomes.items() if isinstance(one, CurlResponse)}


def test_each_request_gets_its_own_answer(guard: Guard) -> None:
    """Two hundred requests, eight at a time, over eight connections that are kept."""
    with Endpoint(_echoing()) as endpoint, posting(guard, endpoint.url(), connections=8) as many:
        for _ in range(2):
            assert _heard(post_all(many, BODIES)) == {body: body for body in BODIES}

        assert endpoint.accepted == 8


class Crossing:
    """Answers no request until so many requests are there at once."""

    def __init__(self, parties: int) -> None:
        """Wait for that many."""
        self.barrier = threading.Barrier(parties, timeout=10)

    def __call__(self, visit: Visit) -> None:
        """Behave so."""
        while request := visit.request():
            if not request.endswith(ALONE):
                self.barrier.wait()
            visit.connection.sendall(OK)


@pytest.mark.parametrize("encrypts", [False, True])
def test_requests_are_in_flight_together(
    guard: Guard,
    ca: trustme.CA,
    encrypts: bool,  # noqa: FBT001 - pytest passes it by name
) -> None:
    """As many as there are connections, and no more; over TLS once the first answer was heard."""
    crossing = Crossing(8)
    tls = server_context(ca.issue_cert("127.0.0.1")) if encrypts else None
    trusting = TlsOptions(ca_pem=ca.cert_pem.bytes().decode())
    with (
        Endpoint(crossing, tls=tls) as endpoint,
        posting(guard, endpoint.url(), trusting, connections=8) as many,
    ):
        if encrypts:
            post(many, ALONE)
        with many.flight(10) as flight:
            for number in range(8):
                assert flight.has_room
                flight.start(number, (), b"x", 10)
            assert not flight.has_room
            landed = land(flight)

        assert sorted(str(key) for key, _ in landed) == [str(number) for number in range(8)]
        # That of the first answer is left once it is known that HTTP/1.1 is spoken.
        assert endpoint.accepted == 8 + encrypts


def test_threads_have_flights_of_their_own(guard: Guard) -> None:
    """Several threads post at once, each over its own connections, which outlive it."""
    heard: list[dict[bytes, bytes]] = []

    def work() -> None:
        heard.append(_heard(post_all(many, BODIES)))

    with Endpoint(_echoing()) as endpoint, posting(guard, endpoint.url(), connections=4) as many:
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        post(many)

        assert heard == [{body: body for body in BODIES}] * 4
        assert endpoint.accepted <= 16


def test_closing_lets_the_other_side_go(guard: Guard) -> None:
    """Idle connections are closed at once, those of a flight that is under way when it ends."""
    with Endpoint(answers()) as endpoint, posting(guard, endpoint.url()) as many:
        post(many)
        many.close()
        assert endpoint.left.wait(10)

        endpoint.left.clear()
        with many.flight(10) as flight:
            many.close()
            flight.start("late", (), b"x", 10)
            [(_, answer)] = land(flight)
            assert not endpoint.left.is_set()
        assert endpoint.left.wait(10)
        assert isinstance(answer, CurlResponse)
        assert post(many).status == 200


def test_what_is_abandoned_leaves_no_trace(guard: Guard) -> None:
    """A flight that ends in an error breaks its requests off; the next one starts afresh."""

    def stalls_first(visit: Visit) -> None:
        if visit.endpoint.accepted == 1:
            visit.request()
            visit.request()
        answers()(visit)

    with Endpoint(stalls_first) as endpoint, posting(guard, endpoint.url()) as many:
        with contextlib.suppress(LookupError), many.flight(10) as flight:
            flight.start("never", (), b"x", 10)
            flight.landed(0.01)
            raise LookupError

        assert post(many).status == 200
        assert endpoint.accepted == 2


@pytest.fixture
def many_descriptors() -> Iterator[None]:
    """Let this process have three thousand."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 3_000)), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@contextlib.contextmanager
def _taken_up_to(limit: int) -> Iterator[None]:
    """Take every descriptor below the limit."""
    with contextlib.ExitStack() as stack:
        while True:
            stack.callback(os.close, descriptor := os.dup(1))
            if descriptor >= limit:
                break
        yield


@pytest.mark.usefixtures("many_descriptors")
def test_descriptors_beyond_the_reach_of_select(guard: Guard) -> None:
    """In a process with thousands of connections, requests land as well."""
    with _taken_up_to(1_100), Endpoint(_echoing()) as endpoint, posting(guard, endpoint.url()) as many:
        assert _heard(post_all(many, BODIES)) == {body: body for body in BODIES}


@pytest.mark.usefixtures("many_descriptors")
def test_what_select_sees_hides_nothing(guard: Guard) -> None:
    """An answer on a wide descriptor is heard although a narrow one, which `select` sees, is silent."""
    heard = threading.Event()

    def behave(visit: Visit) -> None:
        while request := visit.request():
            if request.endswith(b"narrow"):
                heard.wait(20)
            visit.connection.sendall(OK)

    with Endpoint(behave) as endpoint, posting(guard, endpoint.url()) as many, many.flight(10) as flight:
        flight.start("narrow", (), b"narrow", 10)
        while not endpoint.requests:
            flight.landed(0.01)
        with _taken_up_to(1_100):
            flight.start("wide", (), b"wide", 10)
            landed: dict[Any, Any] = {}
            while "wide" not in landed:
                landed |= dict(flight.landed(10))
        heard.set()
        landed |= dict(land(flight))

    assert {key: type(outcome) for key, outcome in landed.items()} == {
        "wide": CurlResponse,
        "narrow": CurlResponse,
    }
