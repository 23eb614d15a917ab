"""What can be found out about a receiver that never answers, and how much is claimed of it."""

import contextlib
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import trustme

from tests.destinations.checks.examinations import HOST, examined, results
from tests.fleet import wait_until
from tests.transports.certificates import server_context
from tests.transports.endpoint import Endpoint, Visit
from worker.destinations.syslog_cef import checks as examine_syslog
from worker.transports.check_guards import PeerReaction, WatchedGuard

CA = trustme.CA()
#: The first byte of a peer that begins TLS: a handshake (RFC 8446, 5.1).
_CLIENT_HELLO = b"\x16"


class Reader:
    """A behaviour that reads to the end of each connection, keeps what came, and closes in good order."""

    def __init__(self) -> None:
        """Begin with nothing read."""
        self.messages: list[bytes] = []

    def __call__(self, visit: Visit) -> None:
        """Read to the end."""
        content = b"".join(iter(lambda: visit.connection.recv(65536), b""))
        self.messages += [content] if content else []
        if isinstance(visit.connection, ssl.SSLSocket):
            with contextlib.suppress(OSError, ValueError):  # the client may not wait for that
                visit.connection.unwrap()


def _syslog(scheme: str, port: int, **options: Any) -> dict[str, Any]:
    url = f"{scheme}://{HOST}:{port}"
    return {"type": "syslog_cef", "url": url, "timeout_seconds": 2.0} | options


@contextmanager
def _receiving_datagrams() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind((HOST, 0))
        yield receiver


@pytest.fixture
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait less for what does not come."""
    monkeypatch.setattr(examine_syslog, "_WATCH", 0.1)


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait longer for what does come, however busy this machine is."""
    monkeypatch.setattr(examine_syslog, "_WATCH", 30.0)


@pytest.mark.usefixtures("_impatient")
def test_a_silent_receiver_has_been_sent_to() -> None:
    """Nothing answers, so no more is claimed than that the event has left, and how to look for it."""
    reader = Reader()
    with Endpoint(reader) as endpoint:
        checks = examined(_syslog("syslog", endpoint.port))
    [message] = reader.messages
    event_id = message.partition(b" externalId=")[2].partition(b" ")[0].decode()

    assert set(results(checks).values()) == {"ok", "skipped"}
    assert checks["test event"].message == (
        f"sent, under the id {event_id}: "
        "nothing answers in syslog, so only a search in the SIEM shows whether it came"
    )
    assert b"no action is needed" in message


@pytest.mark.usefixtures("_impatient")
def test_a_receiver_that_confirms_has_read_it() -> None:
    """With `confirm_by_shutdown` the receiver has read to the end; whether it kept it, it does not say.

    The event goes out before that without it, with the same id: a receiver that hangs up on whatever it is
    sent would pass for one that confirms.
    """
    reader = Reader()
    with Endpoint(reader) as endpoint:
        check = examined(_syslog("syslog", endpoint.port, confirm_by_shutdown=True))["test event"]

    assert check.result == "ok"
    assert check.message.startswith("received, under the id test_")
    assert len(reader.messages) == 2
    assert len(set(reader.messages)) == 1


@pytest.mark.usefixtures("_impatient")
def test_a_receiver_that_never_closes_does_not_confirm() -> None:
    """It has the event, and every delivery to it would be repeated: the switch is named.

    It is not asked for TLS either: a peer that stays silent has not hung up on plain text.
    """
    received: list[bytes] = []

    def hold(visit: Visit) -> None:
        while piece := visit.connection.recv(65536):
            received.append(piece)
        visit.endpoint.over.wait()

    with Endpoint(hold) as endpoint:
        config = _syslog("syslog", endpoint.port, confirm_by_shutdown=True, timeout_seconds=0.3)
        check = examined(config)["test event"]

    assert check.result == "failed"
    assert "`confirm_by_shutdown` off" in (check.hint or "")
    assert [piece for piece in received if not piece.startswith(b"<134>")] == []


def test_a_receiver_that_hangs_up_is_no_receiver() -> None:
    """What it was sent may be lost; what to look for is named, and no switch that would only hide it."""

    def hang_up(visit: Visit) -> None:
        visit.connection.recv(65536)

    with Endpoint(hang_up) as endpoint:
        check = examined(_syslog("syslog", endpoint.port))["test event"]

    assert check.result == "failed"
    assert "closed the connection behind the" in check.message
    assert "the other `framing`" in (check.hint or "")
    assert "confirm_by_shutdown" not in (check.hint or "")


@pytest.mark.parametrize("confirms", [False, True])
@pytest.mark.parametrize("scheme", ["syslog", "syslog+tls"])
def test_a_receiver_that_hangs_up_late_fails_too(scheme: str, *, confirms: bool) -> None:
    """Over TLS as well, and with confirmation, for which its own end must not pass."""

    def close_soon(visit: Visit) -> None:
        visit.connection.recv(65536)
        visit.endpoint.over.wait(0.5)
        if isinstance(visit.connection, ssl.SSLSocket):
            with contextlib.suppress(OSError, ValueError):
                visit.connection.unwrap()

    tls = server_context(CA.issue_cert(HOST)) if scheme == "syslog+tls" else None
    options = {"ca_pem": CA.cert_pem.bytes().decode()} if tls else {}
    with Endpoint(close_soon, tls=tls) as endpoint:
        config = _syslog(scheme, endpoint.port, confirm_by_shutdown=confirms, **options)
        check = examined(config)["test event"]

    assert check.result == "failed"
    assert "closed the connection behind the" in check.message


def test_a_receiver_that_waits_for_tls_does_not_confirm() -> None:
    """It reads to the end and closes, as syslog-ng does where it wants TLS: all of it would be lost."""
    context = server_context(CA.issue_cert(HOST))

    def want_tls(visit: Visit) -> None:
        if visit.connection.recv(1, socket.MSG_PEEK) == _CLIENT_HELLO:
            context.wrap_socket(visit.connection, server_side=True).close()
        else:
            visit.connection.recv(65536)
            visit.endpoint.over.wait(0.02)

    with Endpoint(want_tls) as endpoint:
        check = examined(_syslog("syslog", endpoint.port, confirm_by_shutdown=True))["test event"]

    assert check.result == "failed"
    assert check.message == f"{HOST}:{endpoint.port} speaks TLS, and the url does not"


def test_what_answers_is_no_syslog_port() -> None:
    """A web server answers to anything: syslog receivers are silent."""

    def answer(visit: Visit) -> None:
        visit.connection.recv(65536)
        visit.connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        visit.endpoint.over.wait()

    with Endpoint(answer) as endpoint:
        check = examined(_syslog("syslog", endpoint.port))["test event"]

    assert check.result == "failed"
    assert "answered it, where a syslog receiver is silent" in check.message


@pytest.mark.usefixtures("_impatient")
def test_a_silent_receiver_is_never_asked_for_tls() -> None:
    """Our half of a handshake would be a message to it, and would wake the people on call."""
    reader = Reader()
    with Endpoint(reader) as endpoint:
        examined(_syslog("syslog", endpoint.port))
        examined(_syslog("syslog", endpoint.port, confirm_by_shutdown=True))

    assert [message for message in reader.messages if not message.startswith(b"<134>")] == []


@pytest.mark.usefixtures("_impatient")
@pytest.mark.parametrize("confirms", [False, True])
def test_tls_is_spoken_as_deliveries_speak_it(confirms: bool) -> None:  # noqa: FBT001 - pytest passes by name
    """Counted octets (RFC 5425, 4.3), and, if wanted, the receiver's close_notify as a confirmation."""
    reader = Reader()
    with Endpoint(reader, tls=server_context(CA.issue_cert(HOST))) as endpoint:
        ca = CA.cert_pem.bytes().decode()
        checks = examined(_syslog("syslog+tls", endpoint.port, ca_pem=ca, confirm_by_shutdown=confirms))
        wait_until(lambda: reader.messages, "the event is read to its end")
    length, _, message = reader.messages[0].partition(b" ")

    assert checks["test event"].result == "ok"
    assert int(length) == len(message)
    assert set(reader.messages) == {reader.messages[0]}


@pytest.mark.usefixtures("_impatient")
def test_the_configuration_is_summed_up() -> None:
    """Framing, header and limit are what a receiver must agree to: they are named, to be compared."""
    with _receiving_datagrams() as receiver:
        port = receiver.getsockname()[1]
        udp = examined(_syslog("syslog+udp", port), test_event=False)
    with Endpoint(Reader()) as endpoint:
        tcp = examined(_syslog("syslog", endpoint.port, header="rfc5424"), test_event=False)

    assert udp["configuration"].message == (
        f"syslog_cef, syslog+udp://{HOST}:{port}, rfc3164, "
        "one datagram a message, at most 2048 bytes a message"
    )
    assert "rfc5424, a newline behind each message, at most 8000 bytes" in tcp["configuration"].message
    assert tcp["test event"].result == "skipped"


def test_a_port_for_datagrams_that_refuses_late_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """From far away, the refusal comes after the sender has left: here, only a stand-in can be that slow."""
    monkeypatch.setattr(WatchedGuard, "reaction", lambda *_: PeerReaction.REFUSED)
    with _receiving_datagrams() as receiver:
        check = examined(_syslog("syslog+udp", receiver.getsockname()[1]))["test event"]

    assert check.result == "failed"
    assert "nothing listens on that UDP port" in check.message
    assert "listens on UDP" in (check.hint or "")
