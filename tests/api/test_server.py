"""Heads of requests that come a byte at a time: the connection ends, and quick clients notice nothing."""

import socket
from contextlib import closing
from urllib.parse import urlsplit

import pytest

from tests.api.conftest import Api
from tests.fleet import Fleet, wait_until
from worker.api.server import TimeoutProtocol, bind_socket

REQUEST = b"GET /healthz HTTP/1.1\r\nHost: test\r\n\r\n"


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TimeoutProtocol, "HEAD_SECONDS", 0.5)


@pytest.mark.parametrize("sent", [b"", b"GET /healthz HTTP/1.1\r\nHost: test\r\n"])
def test_a_head_that_comes_too_slowly_ends_the_connection(api: Api, sent: bytes) -> None:
    """However often a drop comes: the time is for all of it, and there is no request to answer."""
    with _connected(api) as connection:
        connection.sendall(sent)

        assert wait_until(lambda: _dripped(connection), "the connection is closed") == b"end"


def test_the_head_of_a_later_request_has_no_more_time(api: Api) -> None:
    """Not even on a connection that has been well used."""
    with _connected(api) as connection:
        connection.sendall(REQUEST)
        answer = b""
        while not answer.endswith(b"}"):
            answer += connection.recv(65_536)
        connection.sendall(REQUEST[:20])

        assert wait_until(lambda: _dripped(connection), "the connection is closed") == b"end"


def test_a_request_that_is_quick_may_be_answered_late(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """The time is for the head alone: once that is there, it may run out without harm."""
    monkeypatch.setattr(TimeoutProtocol, "HEAD_SECONDS", 0.05)
    body = b'{"type": "webhook", "url": "https://hook.example.com/in"}'
    key = api.keys["ours", "admin"].encode()
    head = b"POST /api/v1/integrations/siem HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\n"
    with _connected(api) as connection:
        connection.sendall(
            head + b"Authorization: Bearer %b\r\nContent-Length: %d\r\n\r\n" % (key, len(body))
        )
        connection.settimeout(0.3)  # the head's time runs out while the body is awaited
        with pytest.raises(TimeoutError):
            connection.recv(1)
        connection.settimeout(30)
        connection.sendall(body)

        assert connection.recv(65_536).startswith(b"HTTP/1.1 201 ")


def test_answers_that_are_not_read_end_the_connection(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who asks a lot and reads nothing holds no connection with it."""
    monkeypatch.setattr(TimeoutProtocol, "ANSWER_SECONDS", 0.3)
    with _connected(api) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(0)
        asked = b"GET /openapi.json HTTP/1.1\r\nHost: test\r\n\r\n" * 100

        assert wait_until(lambda: _is_cut_off(connection, asked), "the connection is cut")


def test_answers_are_sent_at_once(bare_fleet: Fleet) -> None:
    """No connection waits for its client to acknowledge the head of an answer before it sends the rest."""
    with closing(bind_socket(bare_fleet.settings.model_copy(update={"api_port": 0}))) as listener:
        with socket.create_connection(listener.getsockname()), listener.accept()[0] as accepted:
            no_delay = accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)

        assert no_delay != 0


def _is_cut_off(connection: socket.socket, asked: bytes) -> bool:
    try:
        connection.send(asked)
    except BlockingIOError:
        return False
    except ConnectionError:
        return True
    return False


def _connected(api: Api) -> socket.socket:
    address = urlsplit(api.url)
    connection = socket.create_connection((address.hostname, address.port))
    connection.settimeout(30)
    return connection


def _dripped(connection: socket.socket) -> bytes:
    """Send one more byte of a header; say `end` once the other side has closed, with whatever came before."""
    connection.settimeout(0.05)
    try:
        connection.sendall(b"x")
        return connection.recv(65_536) + b"end"
    except TimeoutError:
        return b""
    except ConnectionError:
        return b"end"
