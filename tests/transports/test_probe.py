"""The way to a SIEM, stretch by stretch, over real sockets: each fact is there when the next one is not."""

import contextlib
import datetime as dt
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from tests.transports.certificates import demanding, self_signed, server_context
from tests.transports.dead_addresses import full_queue
from tests.transports.endpoint import Endpoint, Visit, answers
from worker.integrations import TlsOptions
from worker.model.errors import ConnectFailed, DeadlinePassed, InvalidIntegration, NameUnknown, TlsFailed
from worker.transports.guard import Guard
from worker.transports.probe import (
    Candidate,
    Handshake,
    ProbedConnection,
    candidates,
    connect_first,
    speaks_tls,
)

HOST = "127.0.0.1"
#: Long enough for every answer on loopback.
AMPLE = 10.0
#: As long as a test waits for what must not come.
BRIEF = 0.05


def _reads(visit: Visit) -> None:
    while visit.connection.recv(65536):
        pass


@contextlib.contextmanager
def _connected(guard: Guard, endpoint: Endpoint) -> Iterator[ProbedConnection]:
    with contextlib.closing(connect_first(guard, HOST, [HOST], endpoint.port, AMPLE)) as connection:
        yield connection


def _trusting(ca: trustme.CA) -> TlsOptions:
    return TlsOptions(ca_pem=ca.cert_pem.bytes().decode())


def _handshake(guard: Guard, endpoint: Endpoint, options: TlsOptions, host: str = HOST) -> Handshake:
    with _connected(guard, endpoint) as connection:
        return connection.shake_hands(options, host, AMPLE)


@pytest.mark.parametrize(
    ("host", "found"),
    [
        ("127.0.0.1", Candidate("127.0.0.1", None, is_listed=True)),
        ("2130706433", Candidate("127.0.0.1", None, is_listed=True)),
        ("8.8.8.8", Candidate("8.8.8.8", None, is_listed=False)),
        ("2606:4700::1111", Candidate("2606:4700::1111", None, is_listed=False)),
    ],
)
def test_an_open_address_says_what_opens_it(guard: Guard, host: str, found: Candidate) -> None:
    """Whether the allow-list was needed shows whether the workers need it, too."""
    assert candidates(guard, host, 443, AMPLE, datagrams=False) == [found]


@pytest.mark.parametrize("datagrams", [False, True])
@pytest.mark.parametrize(
    ("host", "reason"), [("10.0.0.5", "a private address"), ("fe80::1%lo", "link-local")]
)
def test_a_closed_address_says_why(guard: Guard, host: str, reason: str, *, datagrams: bool) -> None:
    """It is no error here, so that the open ones beside it can be reported as well."""
    [found] = candidates(guard, host, 514, AMPLE, datagrams=datagrams)

    assert found.objection is not None
    assert reason in found.objection
    assert not found.is_listed


def test_an_unknown_name_has_no_candidates(guard: Guard) -> None:
    """What does not resolve is said so before anything is judged."""
    with pytest.raises(NameUnknown, match=r"no-such-host\.invalid does not resolve"):
        candidates(guard, "no-such-host.invalid", 443, AMPLE, datagrams=False)


def test_a_connection_knows_its_address(guard: Guard) -> None:
    """The first address that answers is taken, and nothing was missed before it."""
    with Endpoint(_reads) as endpoint, _connected(guard, endpoint) as connection:
        assert (connection.ip, connection.missed) == (HOST, ())


def test_a_dead_address_is_missed(guard: Guard) -> None:
    """A name with a dead address works, and costs every delivery time: that address is named."""
    with (
        Endpoint(_reads) as endpoint,
        contextlib.closing(
            connect_first(guard, "siem.example.com", ["127.0.0.2", HOST], endpoint.port, AMPLE)
        ) as connection,
    ):
        assert connection.ip == HOST
        assert connection.missed == (f"connection refused by 127.0.0.2:{endpoint.port}",)


def test_nobody_listens(guard: Guard) -> None:
    """Of several addresses, each says why it could not be connected to."""
    port = _closed_port()

    with pytest.raises(ConnectFailed, match=rf"^connection refused by 127\.0\.0\.1:{port}$"):
        connect_first(guard, "siem.example.com", [HOST], port, AMPLE)
    with pytest.raises(
        ConnectFailed, match=rf"127\.0\.0\.1:{port}; connection refused by 127\.0\.0\.2:{port}$"
    ):
        connect_first(guard, "siem.example.com", [HOST, "127.0.0.2"], port, AMPLE)


def test_everybody_is_silent(guard: Guard) -> None:
    """Silence of all addresses is distinguished from a refusal: it is a firewall that keeps silent."""
    with full_queue(HOST) as port, pytest.raises(DeadlinePassed, match=f"no answer from 127.0.0.1:{port}"):
        connect_first(guard, HOST, [HOST, HOST], port, BRIEF)


def test_a_handshake_shows_the_chain_that_is_trusted(guard: Guard, ca: trustme.CA) -> None:
    """The server's own certificate comes first, the one that we trust last, although it was not shown."""
    leaf = ca.create_child_ca().issue_cert(HOST, "localhost", common_name="splunk")
    with Endpoint(_reads, tls=server_context(leaf)) as endpoint:
        found = _handshake(guard, endpoint, _trusting(ca))

    assert found.version == "TLSv1.3"
    assert found.failure is None
    assert len(found.chain) == 3
    assert found.chain[0].subject == "splunk"
    assert set(found.chain[0].names) == {HOST, "localhost"}
    assert "Testing CA" in found.chain[0].issuer
    assert [one.is_self_signed for one in found.chain] == [False, False, True]


def test_days_are_counted_down(guard: Guard, ca: trustme.CA) -> None:
    """Whole days are left until the end, and fewer than none behind it."""
    end = dt.datetime.now(dt.UTC) + dt.timedelta(days=10, hours=1)
    with Endpoint(_reads, tls=server_context(ca.issue_cert(HOST, not_after=end))) as endpoint:
        found = _handshake(guard, endpoint, _trusting(ca))

    assert found.chain[0].days_left == 10
    assert found.chain[0].ends == end.replace(microsecond=0)


def test_an_expired_certificate_is_shown_all_the_same(guard: Guard, ca: trustme.CA) -> None:
    """The handshake fails as a delivery would, and yet one learns which certificate it was."""
    past = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
    with Endpoint(_reads, tls=server_context(ca.issue_cert(HOST, not_after=past))) as endpoint:
        found = _handshake(guard, endpoint, _trusting(ca))

    assert isinstance(found.failure, TlsFailed)
    assert "has expired" in str(found.failure)
    assert found.chain[0].ends == past
    assert found.chain[0].days_left < -2000


def test_a_certificate_of_another_host_is_shown(guard: Guard, ca: trustme.CA) -> None:
    """The names that it does carry are what the url should have used."""
    with Endpoint(_reads, tls=server_context(ca.issue_cert("splunk.example.com"))) as endpoint:
        found = _handshake(guard, endpoint, _trusting(ca))

    assert "another name" in str(found.failure)
    assert found.chain[0].names == ("splunk.example.com",)


def test_a_certificate_of_nobody_known_is_shown(guard: Guard, tmp_path: Path) -> None:
    """It is reported by its name, so that one knows what to give as ca_pem."""
    certificate, key = self_signed()
    (tmp_path / "both.pem").write_bytes(certificate + key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "both.pem")
    with Endpoint(_reads, tls=context) as endpoint:
        found = _handshake(guard, endpoint, TlsOptions())

    assert "is self-signed" in str(found.failure)
    assert [one.subject for one in found.chain] == ["receiver"]


def test_without_verification_the_chain_is_what_is_shown(guard: Guard, ca: trustme.CA) -> None:
    """No CA vouches for it, and it is worth knowing all the same."""
    with Endpoint(_reads, tls=server_context(ca.issue_cert("other.example.com"))) as endpoint:
        found = _handshake(guard, endpoint, TlsOptions(verify_tls=False))

    assert found.failure is None
    assert [one.names for one in found.chain] == [("other.example.com",)]


def test_a_peer_in_plain_text_shows_nothing(guard: Guard) -> None:
    """There is no chain where there is no TLS."""
    with Endpoint(answers(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as endpoint:
        with _connected(guard, endpoint) as connection:
            found = connection.shake_hands(TlsOptions(), HOST, BRIEF)
        assert isinstance(found.failure, DeadlinePassed)
    with Endpoint(lambda visit: visit.connection.sendall(b"220 ready\r\n")) as endpoint:
        found = _handshake(guard, endpoint, TlsOptions())

    assert "does not speak TLS" in str(found.failure)
    assert found.chain == ()


def test_a_pem_that_is_none_is_named(guard: Guard) -> None:
    """That is the integration's fault, and no fact about the server."""
    with Endpoint(_reads) as endpoint, pytest.raises(InvalidIntegration, match="ca_pem"):
        _handshake(guard, endpoint, TlsOptions(ca_pem="no PEM"))


@pytest.mark.parametrize(
    ("tickets", "version", "said"),
    [
        (2, ssl.TLSVersion.TLSv1_3, True),
        (0, ssl.TLSVersion.TLSv1_3, False),
        (2, ssl.TLSVersion.TLSv1_2, True),
    ],
)
def test_a_server_says_that_we_are_let_in(
    guard: Guard,
    ca: trustme.CA,
    tickets: int,
    version: ssl.TLSVersion,
    said: bool,  # noqa: FBT001 - pytest passes it by name
) -> None:
    """A session ticket says so in TLS 1.3 (RFC 8446, 4.6.1), the handshake in TLS 1.2; silence does not."""
    context = server_context(ca.issue_cert(HOST))
    context.num_tickets = tickets
    context.maximum_version = version
    with Endpoint(_reads, tls=context) as endpoint, _connected(guard, endpoint) as connection:
        connection.shake_hands(_trusting(ca), HOST, AMPLE)

        assert connection.hear_whether_let_in(AMPLE if said else BRIEF) is said


def test_a_refusal_behind_the_handshake_is_heard(guard: Guard, ca: trustme.CA) -> None:
    """TLS 1.3 turns us away only after the handshake has succeeded (RFC 8446, 4.4.2.4)."""
    context = demanding(server_context(ca.issue_cert(HOST)), ca)
    with Endpoint(_reads, tls=context) as endpoint, _connected(guard, endpoint) as connection:
        assert connection.shake_hands(_trusting(ca), HOST, AMPLE).failure is None
        with pytest.raises(TlsFailed, match="demands a client certificate"):
            connection.hear_whether_let_in(AMPLE)


def test_a_server_that_hangs_up_behind_the_handshake_is_reported(guard: Guard, ca: trustme.CA) -> None:
    """It has not said why, so a client certificate is named as no more than a possibility."""
    context = server_context(ca.issue_cert(HOST))
    context.num_tickets = 0
    with (
        Endpoint(lambda visit: visit.connection.close(), tls=context) as endpoint,
        _connected(guard, endpoint) as connection,
    ):
        connection.shake_hands(_trusting(ca), HOST, AMPLE)
        with pytest.raises(TlsFailed, match="behind the TLS handshake, without a word: if it wants a client"):
            connection.hear_whether_let_in(AMPLE)


def test_who_speaks_first_has_let_us_in(guard: Guard, ca: trustme.CA) -> None:
    """A greeting comes from behind the server's judgement."""
    context = server_context(ca.issue_cert(HOST))
    context.num_tickets = 0

    def greet(visit: Visit) -> None:
        visit.connection.sendall(b"220 ready\r\n")
        _reads(visit)

    with Endpoint(greet, tls=context) as endpoint, _connected(guard, endpoint) as connection:
        connection.shake_hands(_trusting(ca), HOST, AMPLE)

        assert connection.hear_whether_let_in(AMPLE)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("demands", [False, True])
def test_a_port_that_speaks_tls_is_known(
    guard: Guard,
    ca: trustme.CA,
    version: ssl.TLSVersion,
    demands: bool,  # noqa: FBT001 - pytest passes it by name
) -> None:
    """Whichever CA it trusts, and whichever trusts it: even a refusal in TLS is TLS."""
    context = server_context(trustme.CA().issue_cert("other.example.com"))
    context.minimum_version = context.maximum_version = version
    with Endpoint(_reads, tls=demanding(context, ca) if demands else context) as endpoint:
        assert speaks_tls(guard, HOST, endpoint.port, AMPLE)


def test_a_port_without_tls_is_known(guard: Guard) -> None:
    """Plain text, silence and no listener at all are not TLS."""
    with Endpoint(lambda visit: visit.connection.sendall(b"HTTP/1.1 400 Bad\r\n\r\n")) as endpoint:
        assert not speaks_tls(guard, HOST, endpoint.port, AMPLE)
    with Endpoint(_reads) as endpoint:
        assert not speaks_tls(guard, HOST, endpoint.port, BRIEF)
    assert not speaks_tls(guard, HOST, _closed_port(), AMPLE)
    assert not speaks_tls(Guard([]), HOST, 443, AMPLE)


def _closed_port() -> int:
    with socket.create_server((HOST, 0)) as listener:
        port: int = listener.getsockname()[1]
        return port
