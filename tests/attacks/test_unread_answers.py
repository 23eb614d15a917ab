"""Clients that ask and never read the answer hold no more connections than there may be, and not for long."""

import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass

import pytest
from fastapi import FastAPI
from fastapi.responses import Response

from tests.attacks.doors import answer_of
from tests.fleet import wait_until
from worker.api import connections
from worker.api.server import Server, TimeoutProtocol, server_of
from worker.settings import Settings

CONNECTIONS = 10
#: More than the kernel takes from a server for a client that does not read, by the buffers below, and less
#: than asyncio holds before it has the writer wait.
ANSWER = 40_000
_BUFFER = 2048
_REQUEST = b"GET / HTTP/1.1\r\nHost: test\r\n\r\n"


@dataclass
class Door:
    """A server with little room, and the address that it listens at."""

    server: Server
    address: tuple[str, int]

    def asked(self, requests: int) -> socket.socket:
        """Connect, ask so many times at once, and wait for an answer; leave it unread."""
        connection = socket.socket()
        connection.settimeout(20)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
        connection.connect(self.address)
        with suppress(ConnectionError):  # it may be turned away at once
            connection.sendall(_REQUEST * requests)
        _begun(connection)
        return connection

    @property
    def held(self) -> int:
        """How many connections the server has."""
        return len(self.server.server_state.connections)


@pytest.fixture
def door(monkeypatch: pytest.MonkeyPatch) -> Iterator[Door]:
    """Serve one answer from a thread; an idle connection may go at once."""
    monkeypatch.setattr(connections, "GRACE", 1e-6)
    app = FastAPI()
    app.add_api_route("/", _answer)
    server = server_of(app, Settings(api_connections=CONNECTIONS))
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    wait_until(lambda: server.started, "it answers")
    yield Door(server, listener.getsockname())
    server.should_exit = True
    thread.join()


def _begun(connection: socket.socket) -> bytes:
    """Return how the answer begins; nothing if the connection was cut."""
    try:
        return connection.recv(12, socket.MSG_PEEK)
    except ConnectionError:
        return b""


async def _answer() -> Response:
    return Response(b"x" * ANSWER)


def test_they_hold_no_more_than_there_may_be(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many come; and an answer that is not taken in time ends its connection."""
    monkeypatch.setattr(TimeoutProtocol, "ANSWER_SECONDS", 1.0)
    with ExitStack() as attack:
        for number in range(3 * CONNECTIONS):
            attack.enter_context(door.asked(1 + number % 2))
            assert door.held <= CONNECTIONS
        assert wait_until(lambda: door.held == 0, "all have gone")


@pytest.mark.usefixtures("_ample_time")
def test_an_answer_that_is_being_read_is_not_cut_short(door: Door) -> None:
    """Its connection is busy: another one of the same address, for which there is no room, is refused."""
    with ExitStack() as attack:
        slow = attack.enter_context(door.asked(1))
        others = [_begun(attack.enter_context(door.asked(1))) for _ in range(2 * CONNECTIONS)]
        assert b"HTTP/1.1 429" in others
        slow.shutdown(socket.SHUT_WR)
        assert answer_of(slow).count(b"x") == ANSWER


@pytest.fixture
def _ample_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TimeoutProtocol, "ANSWER_SECONDS", 60.0)
