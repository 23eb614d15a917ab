"""A scripted peer on loopback: each connection it accepts is handed to a behaviour, in a thread of its own.

The behaviours say byte by byte what the peer sends; leaving the `with` block ends them all.
"""

import contextlib
import errno
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Self

from tests.ports import free_port

OK = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 11\r\n\r\n{"code": 0}'


@dataclass
class Visit:
    """One accepted connection, as a behaviour sees it; `number` counts from 1."""

    connection: socket.socket
    endpoint: "Endpoint"
    number: int
    unread: bytes = b""

    def request(self) -> bytes:
        """Read one whole request; empty when the client has closed."""
        while b"\r\n\r\n" not in self.unread:
            if not self._receive():
                return b""
        head, _, _ = self.unread.partition(b"\r\n\r\n")
        end = len(head) + 4 + _content_length(head)
        while len(self.unread) < end and self._receive():
            pass
        request, self.unread = self.unread[:end], self.unread[end:]
        self.endpoint.requests.append(request)
        return request

    def drip(self, content: Iterator[bytes]) -> None:
        """Send piece by piece, with a pause after each, until the client has had enough."""
        for piece in content:
            self.connection.sendall(piece)
            if self.endpoint.over.wait(0.01):
                return

    def _receive(self) -> bool:
        received = self.connection.recv(65536)
        self.unread += received
        return bool(received)


Behaviour = Callable[[Visit], None]


@dataclass
class Endpoint:
    """Listens on loopback while the `with` block runs; counts what it accepts, keeps what it is sent."""

    behaviour: Behaviour
    tls: ssl.SSLContext | None = None
    receive_buffer: int = 0
    #: Whether it reads what a client that it refuses still sends; else its system resets the connection.
    lingers: bool = True
    host: str = "127.0.0.1"
    port: int = 0
    accepted: int = 0
    requests: list[bytes] = field(default_factory=list)
    #: Set when a behaviour has come to its end and its connection is closed.
    left: threading.Event = field(default_factory=threading.Event)
    over: threading.Event = field(default_factory=threading.Event)
    _open: list[socket.socket] = field(default_factory=list)
    _threads: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._listener = socket.create_server((self.host, self.port or free_port()))
        if self.receive_buffer:
            self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self.receive_buffer)
        self.port = self._listener.getsockname()[1]
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        for sock in (self._listener, *self._open):
            with contextlib.suppress(OSError):
                # SSLSocket's own would take TLS away from the thread that reads, which then reads records.
                socket.socket.shutdown(sock, socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        self._listener.close()

    def url(self, host: str = "127.0.0.1", path: str = "/services/collector/event") -> str:
        """Return an address of this endpoint."""
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}{path}"

    def _start(self, target: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=target, args=args)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError as error:
                # A test may have left no descriptor to this process, for a moment.
                if error.errno != errno.EMFILE or self.over.wait(0.01):
                    return
                continue
            self.accepted += 1
            self._open.append(connection)
            self._start(self._receive, connection, self.accepted)

    def _receive(self, connection: socket.socket, number: int) -> None:
        try:
            with contextlib.suppress(OSError):
                if self.tls:
                    connection = self._shake_hands(connection, self.tls)
                self.behaviour(Visit(connection, self, number))
        finally:
            connection.close()
            self.left.set()

    def _shake_hands(self, connection: socket.socket, tls: ssl.SSLContext) -> socket.socket:
        encrypted = tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        self._open.append(encrypted)
        try:
            encrypted.do_handshake()
        except OSError:
            with encrypted:
                if not self.lingers:
                    raise
                # Read what is still on its way: closing over it would reset the connection, alert and all.
                while socket.socket.recv(encrypted, 65536):
                    pass
            raise
        return encrypted


def answers(reply: bytes = OK) -> Behaviour:
    """Answer every request with the reply, and keep the connection."""

    def behave(visit: Visit) -> None:
        while visit.request():
            visit.connection.sendall(reply)

    return behave


def answers_once(reply: bytes = OK) -> Behaviour:
    """Answer one request with the reply, then close."""

    def behave(visit: Visit) -> None:
        visit.request()
        visit.connection.sendall(reply)

    return behave


def answers_then_leaves(count: int, reply: bytes = OK) -> Behaviour:
    """Answer so many requests of each connection, and end it when the next one has come."""

    def behave(visit: Visit) -> None:
        for _ in range(count):
            if visit.request():
                visit.connection.sendall(reply)
        visit.request()

    return behave


def _content_length(head: bytes) -> int:
    for line in head.lower().split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name == b"content-length":
            return int(value)
    return 0
