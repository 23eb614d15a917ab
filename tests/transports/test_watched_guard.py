"""What the other side does behind a sending, seen on the very socket that its sender was given."""

import contextlib
import socket
from collections.abc import Iterator

import pytest
import trustme

from tests.transports.certificates import server_context
from tests.transports.endpoint import Behaviour, Endpoint, Visit
from worker.integrations import TlsOptions
from worker.model.errors import AddressRefused
from worker.transports.check_guards import PeerReaction, WatchedGuard
from worker.transports.deadline import DeadlineSocket
from worker.transports.guard import Guard
from worker.transports.tls import client_context

HOST = "127.0.0.1"
AMPLE = 10.0
BRIEF = 0.05


def _reads(visit: Visit) -> None:
    while visit.connection.recv(65536):
        pass


def _answers(visit: Visit) -> None:
    visit.connection.recv(65536)
    visit.connection.sendall(b"?")
    _reads(visit)


def _resets(visit: Visit) -> None:
    visit.connection.recv(1)  # what is left unread makes a reset of the end


@pytest.fixture
def watched(guard: Guard) -> WatchedGuard:
    """Watch what the tests' guard connects."""
    return WatchedGuard(guard)


@contextlib.contextmanager
def _sending(watched: WatchedGuard, endpoint: Endpoint) -> Iterator[DeadlineSocket]:
    with watched.dial(HOST, endpoint.port, AMPLE) as sock:
        sock.sendall(b"<134>an event\n")
        yield sock


@pytest.mark.parametrize(
    ("behaviour", "reaction"),
    [
        (_answers, PeerReaction.ANSWERED),
        (_resets, PeerReaction.HUNG_UP),
        (lambda visit: visit.connection.recv(65536), PeerReaction.HUNG_UP),
    ],
)
def test_a_reaction_is_seen(watched: WatchedGuard, behaviour: Behaviour, reaction: PeerReaction) -> None:
    """An answer, an end and a reset are waited for; nothing of an answer is taken from who reads it."""
    with Endpoint(behaviour) as endpoint, _sending(watched, endpoint) as sock:
        assert watched.reaction(AMPLE) is reaction
        if reaction is PeerReaction.ANSWERED:
            assert sock.receive_at_once(10) == b"?"
            assert watched.reaction(BRIEF) is PeerReaction.ANSWERED


def test_silence_is_no_reaction(watched: WatchedGuard) -> None:
    """Receivers of syslog are silent, and that is all that can be known of them."""
    with Endpoint(_reads) as endpoint, _sending(watched, endpoint):
        assert watched.reaction(BRIEF) is PeerReaction.NONE


def test_a_closed_port_for_datagrams_answers(watched: WatchedGuard) -> None:
    """The system of the other side says by ICMP that nothing listens there."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind((HOST, 0))
        port = taken.getsockname()[1]
    with watched.dial_datagrams(HOST, port, AMPLE) as sock:
        sock.send(b"<134>an event")

        assert watched.reaction(AMPLE) is PeerReaction.REFUSED


def test_an_open_port_for_datagrams_is_silent(watched: WatchedGuard) -> None:
    """What listens there does not answer either."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind((HOST, 0))
        with watched.dial_datagrams(HOST, receiver.getsockname()[1], AMPLE) as sock:
            sock.send(b"<134>an event")

            assert watched.reaction(BRIEF) is PeerReaction.NONE


def test_what_is_closed_or_encrypted_cannot_be_watched(watched: WatchedGuard, ca: trustme.CA) -> None:
    """Its user has read what came, or reads it in TLS: there is nothing to see here."""
    assert watched.reaction(AMPLE) is PeerReaction.NONE
    with Endpoint(_reads) as endpoint:
        with _sending(watched, endpoint):
            pass
        assert watched.reaction(AMPLE) is PeerReaction.NONE
    trusting = client_context(TlsOptions(ca_pem=ca.cert_pem.bytes().decode()))
    with (
        Endpoint(_reads, tls=server_context(ca.issue_cert(HOST))) as endpoint,
        trusting.wrap_socket(watched.dial(HOST, endpoint.port, AMPLE), server_hostname=HOST),
    ):
        assert watched.reaction(AMPLE) is PeerReaction.NONE


def test_it_judges_as_the_guard_that_it_was_given() -> None:
    """To watch is not to open."""
    with pytest.raises(AddressRefused, match="loopback"):
        WatchedGuard(Guard([])).dial(HOST, 443, AMPLE)
