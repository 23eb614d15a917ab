"""Whether the other end of a connection is still there: five fates, in plain TCP and in TLS 1.2 and 1.3.

In TLS 1.3 a peek at the socket sees a session ticket and is blind for the end behind it; only reading helps.
"""

import contextlib
import ssl
import threading
from collections.abc import Callable, Iterator

import pytest
import trustme

from tests.receivers.syslog import SyslogReceiver
from tests.receivers.syslog_behaviours import Behaviour, Visit, closes, half_closes, on_cue, resets, stalls
from tests.transports.certificates import server_context
from tests.transports.names import endless
from tests.transports.syslog.streams import GUARD, SOON
from worker.integrations import TlsOptions
from worker.model.errors import ConnectionLost
from worker.transports.deadline import Deadline
from worker.transports.syslog.connection import SyslogConnection
from worker.transports.syslog.flow_control import StallTimeout, Window
from worker.transports.tls import client_context

Connecting = Callable[[Behaviour], contextlib.AbstractContextManager[tuple[SyslogConnection, SyslogReceiver]]]
VERSIONS = {"tls 1.2": ssl.TLSVersion.TLSv1_2, "tls 1.3": ssl.TLSVersion.TLSv1_3}


@pytest.fixture(params=["plain", *VERSIONS])
def connecting(request: pytest.FixtureRequest, ca: trustme.CA) -> Connecting:
    """Give what connects, in one of three ways, to a receiver that behaves so."""
    version = VERSIONS.get(request.param)
    server = server_context(ca.issue_cert("127.0.0.1")) if version else None
    if server and version:
        server.minimum_version = server.maximum_version = version

    @contextlib.contextmanager
    def connect(behaviour: Behaviour) -> Iterator[tuple[SyslogConnection, SyslogReceiver]]:
        with SyslogReceiver(behaviour, tls=server) as receiver:
            sock = GUARD.dial("127.0.0.1", receiver.port, SOON)
            peer = f"127.0.0.1:{receiver.port}"
            connection = SyslogConnection(sock, peer, endless(sock.peer_ip), Window())
            if server:
                context = client_context(TlsOptions(ca_pem=ca.cert_pem.bytes().decode()))
                connection.begin_tls(context, TlsOptions(), "127.0.0.1", Deadline(SOON, "receiver"))
            try:
                yield connection, receiver
            finally:
                connection.close()

    return connect


def cut_off(visit: Visit) -> None:
    """Close without TLS's close_notify."""


def test_a_connection_that_stands_is_open(connecting: Connecting) -> None:
    """However often it is asked, and although TLS 1.3 has sent session tickets."""
    with connecting(stalls) as (connection, _):
        assert [connection.is_open() for _ in range(5)] == [True] * 5


ENDS = {"closed": closes(0), "half closed": half_closes(0), "cut off": cut_off}


@pytest.mark.parametrize("ending", ENDS.values(), ids=ENDS)
def test_an_end_is_noticed(connecting: Connecting, ending: Behaviour) -> None:
    """With a close_notify or without, closed or half closed."""
    cue = threading.Event()
    with connecting(on_cue(cue, ending)) as (connection, receiver):
        assert connection.is_open()
        cue.set()
        receiver.wait_for_ends(1)

        assert not connection.is_open()


@pytest.mark.parametrize("ending", ENDS.values(), ids=ENDS)
def test_an_end_right_behind_the_handshake_is_noticed(connecting: Connecting, ending: Behaviour) -> None:
    """The tickets of TLS 1.3 are still unread then, and do not hide it."""
    with connecting(ending) as (connection, receiver):
        receiver.wait_for_ends(1)

        assert not connection.is_open()


def test_a_reset_is_noticed(connecting: Connecting) -> None:
    """It is distinguished from an end: bytes may have been thrown away."""
    cue = threading.Event()
    with connecting(on_cue(cue, resets(0))) as (connection, receiver):
        assert connection.is_open()
        cue.set()
        receiver.wait_for_ends(1)

        with pytest.raises(ConnectionLost, match=rf"^127\.0\.0\.1:{receiver.port} reset the connection$"):
            connection.is_open()


def test_bytes_that_nobody_read_are_a_reset(connecting: Connecting) -> None:
    """RFC 1122, 4.2.2.13: a system that throws bytes away on closing says so."""
    cue = threading.Event()

    def goes_without_reading(_: Visit) -> None:
        cue.wait(10)

    with connecting(goes_without_reading) as (connection, receiver):
        patience = StallTimeout(Deadline(SOON, "receiver"), "receiver", SOON)
        connection.carry([b"<134>nobody reads this\n"], patience)
        cue.set()
        receiver.wait_for_ends(1)

        with pytest.raises(ConnectionLost, match="reset the connection"):
            connection.is_open()


def test_a_peer_that_sends_without_end_is_no_receiver(connecting: Connecting) -> None:
    """A look reads off what has come, but not for ever."""

    def chatters(visit: Visit) -> None:
        visit.connection.settimeout(None)
        with contextlib.suppress(OSError):
            while not visit.receiver.over.is_set():
                visit.connection.sendall(b"x" * 1_000_000)

    with connecting(chatters) as (connection, receiver):
        with pytest.raises(ConnectionLost, match="sends without end, where a syslog receiver is silent"):
            _look_until_it_fails(connection)
        connection.close()
        receiver.wait_for_ends(1)


def test_closing_in_order_is_no_reset(connecting: Connecting) -> None:
    """What the peer has sent is read off first: closing over it would be a reset, and TLS says goodbye."""
    said = threading.Event()
    heard: list[bytes] = []

    def talks_then_listens(visit: Visit) -> None:
        visit.connection.settimeout(10)
        visit.connection.sendall(b"hello")
        said.set()
        heard.append(visit.connection.recv(100))

    with connecting(talks_then_listens) as (connection, receiver):
        assert said.wait(10)
        connection.close()
        receiver.wait_for_ends(1)

    assert heard == [b""]


def _look_until_it_fails(connection: SyslogConnection) -> None:
    while True:
        connection.is_open()
