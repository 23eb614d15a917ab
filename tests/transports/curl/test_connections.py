"""Which of the kept connections the other side has closed, by real sockets and what libcurl says of them."""

import socket
from collections.abc import Iterator

import pytest

from tests.transports.curl.flights import PATIENCE, land, post, posting
from tests.transports.endpoint import Endpoint, answers
from tests.transports.few_descriptors import few_descriptors
from tests.transports.names import endless
from worker.model.errors import OutOfResources
from worker.transports.curl.connections import Ends, KeptConnections
from worker.transports.guard import Guard

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    """Give two ends of a connection over loopback: ours and theirs."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours = socket.create_connection(listener.getsockname())
        theirs, _ = listener.accept()
    with ours, theirs:
        yield ours, theirs


def ends_of(sock: socket.socket) -> Ends:
    """Describe a connection as libcurl does."""
    (own_ip, own_port), (ip, port) = sock.getsockname(), sock.getpeername()
    return ip, own_ip, port, own_port


def test_a_connection_is_dead_once_the_other_side_has_closed_it(pair: Pair) -> None:
    """Whatever still lies unread in it, as the end of TLS does."""
    ours, theirs = pair
    kept = KeptConnections(endless)
    kept.learn(ends_of(ours), [ours.fileno()])
    ends = ends_of(ours)

    assert not kept.is_dead(ends)
    theirs.sendall(b"not read yet")
    assert not kept.is_dead(ends)
    theirs.close()
    assert kept.is_dead(ends)


def test_of_several_descriptors_the_right_one_is_learned(pair: Pair) -> None:
    """Several addresses are dialled at once; those that lost are closed, or another's by now."""
    ours, theirs = pair
    closed = socket.socket()
    gone = closed.fileno()
    closed.close()
    kept = KeptConnections(endless)
    with socket.socket() as other, socket.socket(socket.AF_UNIX) as local:
        kept.learn(ends_of(ours), [gone, other.fileno(), local.fileno(), ours.fileno()])
        theirs.close()

        assert kept.is_dead(ends_of(ours))


def test_an_unknown_connection_is_used(pair: Pair) -> None:
    """To send over a dead one costs an attempt; to send over none would stop everything."""
    ours, theirs = pair
    theirs.close()

    assert not KeptConnections(endless).is_dead(ends_of(ours))


def test_a_descriptor_belongs_to_one_connection(pair: Pair) -> None:
    """When a number is used again, what it stood for before is forgotten."""
    ours, theirs = pair
    kept = KeptConnections(endless)
    before: Ends = ("127.0.0.1", "127.0.0.1", 9, ours.getsockname()[1])
    kept.learn(before, [ours.fileno()])
    kept.learn(ends_of(ours), [ours.fileno()])
    theirs.close()

    assert kept.is_dead(ends_of(ours))
    assert not kept.is_dead(before)


@pytest.mark.parametrize("left", [0, 1])
def test_a_process_without_descriptors_says_so(guard: Guard, left: int) -> None:
    """Instead of a reason that is unknown; the one that is left is not enough, for pycurl duplicates it."""
    with Endpoint(answers()) as endpoint, posting(guard, endpoint.url()) as many:
        post(many)  # libcurl needs some of its own to begin with
        many.close()
        with many.flight(10):
            pass
        with few_descriptors(left), pytest.raises(OutOfResources) as short:
            post(many)

        assert str(short.value) == f"cannot connect to 127.0.0.1:{endpoint.port}: Too many open files"


def test_a_request_may_ask_for_a_connection_of_its_own(guard: Guard) -> None:
    """One that met the end of a kept connection must not meet that of another one."""
    with Endpoint(answers()) as endpoint, posting(guard, endpoint.url()) as many:
        post(many)
        with many.flight(PATIENCE) as flight:
            for dials in (False, True, False):
                flight.start(dials, (), b"x", PATIENCE, dials=dials)
                assert [key for key, _ in land(flight)] == [dials]

        assert endpoint.accepted == 2
