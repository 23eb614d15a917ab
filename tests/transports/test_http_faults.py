"""Everything that can go wrong with HTTP over real sockets, by both ways, and how it is reported."""

import socket
import struct

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.transports.endpoint import OK, Endpoint, Visit, answers, answers_once
from tests.transports.ways import PostTo, each_http, one_by_one, over_libcurl, over_sockets
from worker.model.errors import (
    AddressRefused,
    ConnectFailed,
    ConnectionLost,
    InvalidIntegration,
    NameUnknown,
    TransportError,
)
from worker.transports.guard import Guard

SECRET = "hunter2-hunter2"
HEADERS = {"Authorization": f"Splunk {SECRET}", "Content-Type": "application/json"}


def failure(posting_to: PostTo, guard: Guard, url: str) -> TransportError | None:
    """Return what the sending fails with, if it does."""
    try:
        with posting_to(guard, url, HEADERS) as post:
            post(b"x")
    except TransportError as error:
        return error
    return None


#: What comes instead of a whole answer, and what is said of it.
NO_ANSWERS = {
    b"": "closed the connection without an answer",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nab": "broke off its answer half-way",
    b"SSH-2.0-OpenSSH_9.9\r\n": "did not answer in HTTP",
    b"\x15\x03\x01\x00\x02\x02\x46": "did not answer in HTTP",
    b"HTTP/9.9 200 OK\r\n\r\n": "did not answer in HTTP",
    b"HTTP/1.1 200 OK\r\nContent-Length: 1, 2\r\n\r\nab": "did not answer in HTTP",
}
#: Of these, the other way has tests of its own, or makes something else.
NO_ANSWERS_BY_WAY: dict[PostTo, dict[bytes, str]] = {
    over_sockets: {
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n": "broke off its answer half-way",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n": "broke off its answer half-way",
        b"HTTP/1.1 2000 OK\r\n\r\n": "did not answer in HTTP",
    },
    one_by_one: {
        b"HTTP/1.1 20": "closed the connection without an answer",
        b"HTTP/1.1 103 Early Hints\r\n\r\n": "closed the connection without an answer",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf": "broke off its answer half-way",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab": "broke off its answer half-way",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 6_000 + b"\r\n": "did not answer in HTTP",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 400_000 + b"\r\n\r\n": "did not answer in HTTP",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n" + OK: "gave no final answer, only 101",
    },
    over_libcurl: {
        b"HTTP/1.1 20": "closed the connection without an answer",
        b"HTTP/1.1 103 Early Hints\r\n\r\n": "closed the connection without an answer",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf": "broke off its answer half-way",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab": "broke off its answer half-way",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 6_000 + b"\r\n": "did not answer in HTTP",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 400_000 + b"\r\n\r\n": "did not answer in HTTP",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n" + OK: "gave no final answer, only 101",
    },
}


@each_http
def test_an_answer_that_is_none_is_reported(guard: Guard, posting_to: PostTo) -> None:
    """Whatever comes instead of a whole HTTP answer, the message says what it was and where from."""
    for reply, words in (NO_ANSWERS | NO_ANSWERS_BY_WAY[posting_to]).items():
        with Endpoint(answers_once(reply)) as endpoint:
            lost = failure(posting_to, guard, endpoint.url())

        assert isinstance(lost, ConnectionLost), reply[:60]
        assert str(lost).startswith(f"127.0.0.1:{endpoint.port} {words}"), reply[:60]
        assert endpoint.accepted == 1, reply[:60]


@each_http
def test_a_reset_is_reported(guard: Guard, posting_to: PostTo) -> None:
    """A peer that resets the connection, as crashing servers do, is named as such."""

    def resets(visit: Visit) -> None:
        visit.request()
        # To close without lingering is to reset.
        visit.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    with (
        Endpoint(resets) as endpoint,
        posting_to(guard, endpoint.url()) as post,
        pytest.raises(ConnectionLost, match="reset the connection"),
    ):
        post(b"x")


@each_http
def test_failures_to_connect_are_reported(guard: Guard, posting_to: PostTo) -> None:
    """In the very words of the guard, by either way."""
    failures: dict[str, tuple[type[TransportError], str]] = {
        "http://10.0.0.5:8088/x": (
            AddressRefused,
            "10.0.0.5 is a private address: list its network in",
        ),
        "https://[::1]:8088/x": (AddressRefused, "::1 is a loopback address"),
        "http://169.254.169.254/x": (AddressRefused, "169.254.169.254 is link-local, where clouds keep"),
        "http://[::ffff:169.254.169.254]/x": (AddressRefused, "no setting opens it"),
        "http://no-such-host.invalid/x": (NameUnknown, "no-such-host.invalid does not resolve"),
        "http://127.0.0.1:1/x": (ConnectFailed, "connection refused by 127.0.0.1:1"),
        "http://2130706433:1/x": (ConnectFailed, "connection refused by 127.0.0.1:1"),
        "http://LOCALHOST:1/x": (ConnectFailed, "connection refused by 127.0.0.1:1"),
        "http://127.255.255.255:443/x": (ConnectFailed, "no route to 127.255.255.255:443"),
    }
    for url, (kind, words) in failures.items():
        failed = failure(posting_to, guard, url)

        assert isinstance(failed, kind), url
        assert words in str(failed), url


@pytest.mark.parametrize("url", ["", "siem.example.com", "ftp://siem.example.com/", "http://", "https://.a/"])
@each_http
def test_a_url_that_is_none_is_reported(guard: Guard, posting_to: PostTo, url: str) -> None:
    """The field is named, and what would be right."""
    cannot_be_used = r"url: cannot be used; give an address like https://"
    with pytest.raises(InvalidIntegration, match=cannot_be_used), posting_to(guard, url) as post:
        post(b"x")


@pytest.mark.parametrize("url", ["http://a:99999/", "http://[::1/"])
def test_a_url_that_cannot_be_taken_apart_is_reported(guard: Guard, url: str) -> None:
    """The same holds for its parts."""
    cannot_be_used = r"url: cannot be used; give an address like https://"
    with pytest.raises(InvalidIntegration, match=cannot_be_used), over_sockets(guard, url) as post:
        post(b"x")


@each_http
@pytest.mark.parametrize("value", [f"{SECRET}\r\nX: y", f"{SECRET}\n", f"{SECRET}\0", f"{SECRET}€"])
def test_a_header_cannot_be_broken_out_of(guard: Guard, posting_to: PostTo, value: str) -> None:
    """A value with a line break is refused before anything is sent, by its name, not repeated."""
    with (
        Endpoint(answers()) as endpoint,
        pytest.raises(InvalidIntegration) as refused,
        posting_to(guard, endpoint.url(), {"X-Api-Key": value}) as post,
    ):
        post(b"x")

    assert refused.value.field == "header X-Api-Key"
    assert SECRET not in str(refused.value)
    assert endpoint.accepted == 0


@pytest.mark.parametrize("name", ["", "a b", "a:b", "a\r\nb", "ä"])
def test_a_header_name_cannot_be_broken_out_of(guard: Guard, name: str) -> None:
    """The same holds for names."""
    with (
        over_sockets(guard, "http://127.0.0.1:1/", {name: "value"}) as post,
        pytest.raises(InvalidIntegration, match="header"),
    ):
        post(b"x")


@each_http
@given(
    head=st.sampled_from(
        [b"", b"HTTP/1.1 ", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"]
    ),
    rest=st.binary(max_size=200),
)
@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_nothing_else_escapes(guard: Guard, posting_to: PostTo, head: bytes, rest: bytes) -> None:
    """Whatever bytes come back, the outcome is a reply or one of our own errors without the secret in it."""
    with Endpoint(answers_once(head + rest)) as endpoint:
        error = failure(posting_to, guard, endpoint.url())

    assert type(error) in {type(None), ConnectionLost}
    assert SECRET not in f"{error} {error!r}"
    assert error is None or error.__context__ is None or posting_to is over_libcurl
