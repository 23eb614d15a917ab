"""Connections to Redis that cost few system calls, and the pool that keeps them.

While events trickle in, each round trip finds the processor's caches cold, and most of what it costs is the
way to Redis and back: redis-py asks before each read, each write and each use of a connection whether the
socket is ready. Here the kernel bounds how long a read or a write may take, and one call says whether a
connection that rested is still there. Connections through TLS, sentinels or a socket file are redis-py's own.
"""

import os
import socket
import struct
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import redis
from hiredis import Reader, pack_command
from redis.connection import Connection, ConnectionPool

#: Bytes of a first read and of the next, if that was full: a claimed chunk is some hundred kilobytes.
_SMALL, _LARGE = 1 << 14, 1 << 18
#: Words of at least so many bytes are sent as they stand: a chunk is not to be copied once more.
_LARGE_WORD = 1 << 14
#: What follows is sent in the same packet, where the system can be told so.
_MORE_FOLLOWS = getattr(socket, "MSG_MORE", 0)
_MORE = object()
#: To join the two at each look would cost as much as the look.
_PEEK = int(socket.MSG_PEEK | socket.MSG_DONTWAIT)
#: A connection that was used so short a time ago, in seconds, is taken to be there still: a look costs as
#: much as a command. What breaks meanwhile is found by the exchange, as if it broke in that.
_FRESH = 0.01


class LeanConnection(Connection):
    """A connection by TCP, whose socket blocks for as long as the kernel was told to let it."""

    _replies: Reader
    #: When it was used last (monotonic seconds).
    _used_at = 0.0

    def _connect(self) -> Any:
        """Connect; return the socket."""
        connected: socket.socket = super()._connect()  # type: ignore[no-untyped-call]  # so is redis-py
        whole, rest = divmod(self.socket_timeout or 0, 1)
        limit = struct.pack("@ll", int(whole), round(rest * 1_000_000))
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            connected.setsockopt(socket.SOL_SOCKET, option, limit)
        connected.settimeout(None)
        self._replies = Reader(replyError=self._parser.parse_error, notEnoughData=_MORE)
        return connected

    def is_at_rest(self) -> bool:
        """Whether it is connected, and nothing has come that was not asked for, such as its end."""
        sock: socket.socket | None = self._sock
        if sock is None or sock.gettimeout() is not None:  # who set another time-out asks before each read
            return False
        if time.monotonic() - self._used_at < _FRESH:
            return True
        try:
            sock.recv(1, _PEEK)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    def exchange(self, commands: Sequence[Sequence[Any]]) -> list[Any]:
        """Send commands as they stand; return their replies, errors among them.

        Raises redis-py's TimeoutError or ConnectionError: then the connection is of no further use.
        """
        return self.exchange_packed(_pieces(commands), len(commands))

    def exchange_packed(self, pieces: Sequence[bytes], count: int) -> list[Any]:
        """Do the same with so many commands that are written out, in pieces."""
        sock: Any = self._sock
        try:
            *first, last = pieces
            for piece in first:
                sock.sendall(piece, _MORE_FOLLOWS)
            sock.sendall(last)
            replies = self._receive(sock, count)
        except (BlockingIOError, TimeoutError):
            raise redis.TimeoutError("Timeout reading from socket") from None
        except OSError as error:
            words = f"Error while reading from {self.host}:{self.port} : {error.args}"
            raise redis.ConnectionError(words) from error
        self._used_at = now = time.monotonic()
        self.next_health_check = int(now + self.health_check_interval)
        return replies

    def _receive(self, sock: socket.socket, count: int) -> list[Any]:
        replies, size, reader = list[Any](), _SMALL, self._replies
        while len(replies) < count:
            while (reply := reader.gets()) is _MORE:
                came = sock.recv(size)
                if not came:
                    raise redis.ConnectionError("Connection closed by server.")
                reader.feed(came)
                size = _LARGE if len(came) == size else size
            if isinstance(reply, redis.ConnectionError):  # so redis-py takes that a server is starting
                raise reply
            replies.append(reply)
        return replies

    def send_packed_command(self, command: Any, check_health: bool = True) -> None:  # noqa: FBT001, FBT002 - redis-py's signature
        """Send as redis-py does."""
        try:
            super().send_packed_command(command, check_health)  # type: ignore[no-untyped-call]  # so is redis-py
        except redis.ConnectionError as error:
            _raise_timeout(error)
            raise

    def read_response(self, *args: Any, **options: Any) -> Any:
        """Read as redis-py does."""
        try:
            return super().read_response(*args, **options)
        except redis.ConnectionError as error:
            _raise_timeout(error)
            raise


def _raise_timeout(error: redis.ConnectionError) -> None:
    """Raise TimeoutError if the kernel ended a wait: redis-py takes that for a lost connection."""
    if isinstance(error.__context__, BlockingIOError):
        raise redis.TimeoutError("Timeout reading from socket") from error


def _pieces(commands: Sequence[Sequence[Any]]) -> list[bytes]:
    """Return what to send: small commands joined, and large words uncopied between them."""
    if any(map(_has_large, commands)):
        return join_small(part for command in commands for part in _parts(command))
    return [b"".join([pack_command(tuple(command)) for command in commands])]


def _has_large(command: Sequence[Any]) -> bool:
    for word in command:  # noqa: SIM110 - `any` takes twice as long, for each command there is
        if isinstance(word, bytes) and len(word) >= _LARGE_WORD:
            return True
    return False


def _parts(command: Sequence[Any]) -> Iterator[bytes]:
    if not _has_large(command):
        yield pack_command(tuple(command))
        return
    yield b"*%d\r\n" % len(command)
    for word in command:
        value = word if isinstance(word, bytes) else str(word).encode()
        yield b"$%d\r\n" % len(value)
        yield value
        yield b"\r\n"


def join_small(parts: Iterable[bytes]) -> list[bytes]:
    """Join parts of commands, but for those that are large; the last is never empty."""
    pieces, small = list[bytes](), list[bytes]()
    for part in parts:
        if len(part) >= _LARGE_WORD:
            pieces += b"".join(small), part
            small = []
        else:
            small.append(part)
    return [*pieces, b"".join(small)]


class LeanPool(ConnectionPool):
    """Hands out connections that rest; leaves others, and whatever is out of the ordinary, to redis-py."""

    def get_connection(self, *_: Any, **__: Any) -> Any:
        """Return a connection that is ready for a command."""
        with self._lock:
            resting = self._available_connections
            if resting and self.pid == os.getpid() and resting[-1].is_at_rest():
                connection = resting.pop()
                self._in_use_connections.add(connection)
                return connection
        return super().get_connection()

    def release(self, connection: Any) -> None:
        """Take a connection back."""
        with self._lock:
            if connection in self._in_use_connections and self.pid == os.getpid() == connection.pid:
                self._in_use_connections.remove(connection)
                self._available_connections.append(connection)
                return
        super().release(connection)


def client_of(url: str, **options: Any) -> redis.Redis:
    """Return a client with these options. Raises ValueError where the URL is no address of Redis."""
    if not url.startswith("redis://"):
        return redis.Redis.from_url(url, **options)
    client = redis.Redis(connection_pool=LeanPool.from_url(url, connection_class=LeanConnection, **options))
    client.auto_close_connection_pool = True
    return client
