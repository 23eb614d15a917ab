"""Everything that can go wrong with HTTP over real sockets, and how it is told."""

import contextlib
import socket
import struct

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.transports.endpoint import Endpoint, Visit, answers, answers_once
from worker.integrations import TlsOptions
from worker.model.errors import (
    AddressRefused,
    ConnectFailed,
    ConnectionLost,
    InvalidIntegration,
    NameUnknown,
    TransportError,
)
from worker.transports.guard import Guard
from worker.transports.http import HttpTransport

SECRET = "hunter2-hunter2"
HEADERS = {"Authorization": f"Splunk {SECRET}", "Content-Type": "application/json"}


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (b"", "closed the connection without an answer"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n", "broke off its answer half-way"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "broke off its answer half-way"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nab", "broke off its answer half-way"),
        (b"SSH-2.0-OpenSSH_9.9\r\n", "did not answer in HTTP"),
        (b"\x15\x03\x01\x00\x02\x02\x46", "did not answer in HTTP"),
        (b"HTTP/9.9 200 OK\r\n\r\n", "did not answer in HTTP"),
        (b"HTTP/1.1 2000 OK\r\n\r\n", "did not answer in HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1, 2\r\n\r\nab", "did not answer in HTTP"),
    ],
)
def test_an_answer_that_is_none_is_told(transport: HttpTransport, reply: bytes, words: str) -> None:
    """Whatever comes instead of a whole HTTP answer, the message says what it was and where from."""
    with Endpoint(answers_once(reply)) as endpoint, pytest.raises(ConnectionLost) as lost:
        transport.post(endpoint.url(), HEADERS, b"x", 10)

    assert str(lost.value).startswith(f"127.0.0.1:{endpoint.port} {words}")
    assert endpoint.accepted == 1


def test_a_reset_is_told(transport: HttpTransport) -> None:
    """A peer that resets the connection, as crashing servers do, is named as such."""

    def behave(visit: Visit) -> None:
        visit.request()
        # To close without lingering is to reset.
        visit.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    with Endpoint(behave) as endpoint, pytest.raises(ConnectionLost, match="reset the connection"):
        transport.post(endpoint.url(), HEADERS, b"x", 10)


def test_failures_to_connect_come_through(transport: HttpTransport) -> None:
    """What the guard says is what the caller hears."""
    with pytest.raises(AddressRefused, match=r"10\.0\.0\.5"):
        transport.post("http://10.0.0.5:8088/x", HEADERS, b"x", 10)
    with pytest.raises(AddressRefused, match=r"^::1 is a loopback address"):
        transport.post("https://[::1]:8088/x", HEADERS, b"x", 10)
    with pytest.raises(NameUnknown, match="no-such-host"):
        transport.post("http://no-such-host.invalid/x", HEADERS, b"x", 10)
    with pytest.raises(ConnectFailed, match=r"connection refused by 127\.0\.0\.1:1"):
        transport.post("http://127.0.0.1:1/x", HEADERS, b"x", 10)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "siem.example.com",
        "ftp://siem.example.com/",
        "http://",
        "http://a:99999/",
        "http://[::1/",
        "https://.a/",
    ],
)
def test_a_url_that_is_none_is_told(transport: HttpTransport, url: str) -> None:
    """The field is named, and what would be right."""
    with pytest.raises(InvalidIntegration, match=r"url: cannot be used; give an address like https://"):
        transport.post(url, HEADERS, b"x", 10)


@pytest.mark.parametrize("value", [f"{SECRET}\r\nX: y", f"{SECRET}\n", f"{SECRET}\0", f"{SECRET}€"])
def test_a_header_cannot_be_broken_out_of(transport: HttpTransport, value: str) -> None:
    """A value with a line break is refused before anything is sent, by its name, not repeated."""
    with Endpoint(answers()) as endpoint, pytest.raises(InvalidIntegration) as refused:
        transport.post(endpoint.url(), {"X-Api-Key": value}, b"x", 10)

    assert refused.value.field == "header X-Api-Key"
    assert SECRET not in str(refused.value)
    assert endpoint.accepted == 0


@pytest.mark.parametrize("name", ["", "a b", "a:b", "a\r\nb", "ä"])
def test_a_header_name_cannot_be_broken_out_of(transport: HttpTransport, name: str) -> None:
    """The same holds for names."""
    with pytest.raises(InvalidIntegration, match="header"):
        transport.post("http://127.0.0.1:1/", {name: "value"}, b"x", 10)


@given(
    head=st.sampled_from(
        [b"", b"HTTP/1.1 ", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"]
    ),
    rest=st.binary(max_size=200),
)
@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_nothing_else_escapes(guard: Guard, head: bytes, rest: bytes) -> None:
    """Whatever bytes come back, the outcome is a reply or one of our own errors without the secret in it."""
    transport = HttpTransport(guard, TlsOptions(), connections=1)
    with contextlib.closing(transport), Endpoint(answers_once(head + rest)) as endpoint:
        error = _failure(transport, endpoint)

    assert type(error) in {type(None), ConnectionLost}
    assert SECRET not in f"{error} {error!r}"
    assert error is None or error.__context__ is None


def _failure(transport: HttpTransport, endpoint: Endpoint) -> TransportError | None:
    try:
        transport.post(endpoint.url(), HEADERS, b"x", 10)
    except TransportError as error:
        return error
    return None
