"""A Splunk that follows a script: real sockets, one thread per connection.

Requests come in, and a script, which can be changed at any time, says what becomes of each: which of
its events are taken, and what the client gets to see. Everything is recorded; leaving the `with` block
closes every socket, and raises what a script raised.
"""

import gzip
import http.server
import socket
import ssl
import threading
import time
import zlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from email.message import Message
from types import TracebackType
from typing import Any, Self

from tests.ports import free_port
from tests.receivers.scripts import Action, Request, Script, Wire, event_ids, ok
from worker.demo.splunk import ACK_PATH, EVENT_PATHS, read_envelopes

_PATIENCE = 30.0
#: Between two pieces of a body that is read slowly, in seconds.
_PAUSE = 0.02


class HecReceiver:
    """Listens while its `with` block lasts; `script` decides on every request.

    `port` 0 takes a free one; with `tls`, a server-side context, it speaks HTTPS. All recorded data may
    be read from any thread.
    """

    def __init__(
        self,
        script: Script | None = None,
        *,
        tls: ssl.SSLContext | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        rate: float | None = None,
    ) -> None:
        """Bind at once, so that `url` is known; answering begins with the `with` block.

        Bodies are read at `rate` bytes a second, if it is given.
        """
        self.script: Script = script or ok()
        self._changed = threading.Condition()
        self._requests: list[Request] = []
        self._accepted: list[Any] = []
        self._failures: list[BaseException] = []
        self.rate = rate
        self._server = _Server((host, port or free_port()), self, tls)
        if rate is not None:
            self._server.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        scheme = "http" if tls is None else "https"
        self.port: int = self._server.server_address[1]
        self.base_url = f"{scheme}://{host}:{self.port}"
        self.url = f"{self.base_url}/services/collector/event"

    def __enter__(self) -> Self:
        """Begin to answer."""
        self._server.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Hang up on all clients, and report what went wrong inside a script."""
        self._server.stop()
        if error is None and self._failures:
            raise self._failures[0]

    @property
    def requests(self) -> list[Request]:
        """Every request whose body came whole, answered or not, in the order of arrival."""
        with self._changed:
            return list(self._requests)

    @property
    def posts(self) -> list[Request]:
        """The requests that were posted to the collector: those that should carry events."""
        return [request for request in self.requests if request.path.partition("?")[0] in EVENT_PATHS]

    @property
    def polls(self) -> list[Request]:
        """The requests that ask which of the posts are indexed."""
        return [request for request in self.requests if request.path.partition("?")[0] == ACK_PATH]

    @property
    def events(self) -> list[Any]:
        """The events that were taken, in order, with duplicates."""
        with self._changed:
            return list(self._accepted)

    @property
    def accepted_ids(self) -> list[str]:
        """The ids of the events that were taken, in order, with duplicates."""
        return event_ids(self.events)

    def request_counts(self, event_id: str) -> int:
        """Count the requests that carried the event, whether it was taken or not."""
        return sum(event_id in request.ids for request in self.requests)

    def wait_for(self, predicate: Callable[[Self], bool], seconds: float = _PATIENCE) -> None:
        """Return as soon as the predicate holds; it is asked after every request and every acceptance.

        Raises AssertionError, which says what had come until then, when `seconds` have passed.
        """
        with self._changed:
            if self._changed.wait_for(lambda: predicate(self), seconds):
                return
            came = f"{len(self._requests)} requests, {len(self._accepted)} events taken"
        raise AssertionError(f"not within {seconds} s; until then {came}")

    def wait_for_events(self, count: int, seconds: float = _PATIENCE) -> None:
        """Return as soon as `count` events were taken, duplicates included."""
        self.wait_for(lambda receiver: len(receiver.events) >= count, seconds)

    def wait_for_requests(self, count: int, seconds: float = _PATIENCE) -> None:
        """Return as soon as `count` requests have come, answered or not."""
        self.wait_for(lambda receiver: len(receiver.requests) >= count, seconds)

    def decide(self, request: Request) -> Action:
        """Record a request, ask the script, and record what it took; called by the connections."""
        with self._changed:
            self._requests.append(request)
            self._changed.notify_all()
        action = self.script(request)
        with self._changed:
            self._accepted.extend(action.takes)
            self._changed.notify_all()
        return action

    def fail(self, error: BaseException) -> None:
        """Keep what a script raised for the end of the `with` block."""
        self._failures.append(error)


class _Server(http.server.HTTPServer):
    """Owns the sockets and threads, so that none outlives the receiver."""

    request_queue_size = 128

    def __init__(self, address: tuple[str, int], receiver: HecReceiver, tls: ssl.SSLContext | None) -> None:
        super().__init__(address, _Connection)
        self.receiver = receiver
        self.closing = threading.Event()
        self._tls = tls
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        self._spawn(self.serve_forever, 0.02)

    def stop(self) -> None:
        if self._threads:
            self.shutdown()
        self.closing.set()
        with self._lock:
            for connection in self._open:
                _shut_down(connection)
        for thread in self._threads:
            thread.join(_PATIENCE)
        self.server_close()

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept; the TLS handshake is left to the connection's own thread."""
        connection, address = super().get_request()
        if self._tls is not None:
            connection = self._tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        return connection, address

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            self._open.add(request)
        self._spawn(self._serve, request, client_address)

    def _serve(self, request: socket.socket, client_address: Any) -> None:
        try:
            self.finish_request(request, client_address)
        except OSError:
            pass  # the client went away, or failed the handshake: its test knows
        except Exception as error:  # noqa: BLE001 - raised again by the receiver, in the test's thread
            self.receiver.fail(error)
        finally:
            with self._lock:
                self._open.discard(request)
                request.close()

    def _spawn(self, target: Callable[..., None], *args: Any) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()


def _shut_down(connection: socket.socket) -> None:
    """Wake the thread that reads or writes; past the SSL layer, whose own shutdown is not thread-safe."""
    with suppress(OSError):
        socket.socket.shutdown(connection, socket.SHUT_RDWR)


class _Connection(http.server.BaseHTTPRequestHandler):
    """Reads requests off one connection, and acts as the script says."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def setup(self) -> None:
        if isinstance(self.request, ssl.SSLSocket):
            self.request.do_handshake()
        super().setup()

    def do_GET(self) -> None:
        arrived = time.monotonic()
        length = int(self.headers.get("Content-Length") or 0)
        wire_body = self._read(length)
        if len(wire_body) < length:
            self.close_connection = True
            return
        request = _request(self.command, self.path, self.headers, arrived, wire_body)
        action = self.server.receiver.decide(request)
        self.close_connection |= action.hangs_up
        action.manner(Wire(self.connection, self.server.closing), action.payload())

    def _read(self, length: int) -> bytes:
        """Read a body: at once, or in so many pieces a second as its rate wants."""
        rate = self.server.receiver.rate
        if rate is None:
            return self.rfile.read(length)
        body = b""
        while len(body) < length and (piece := self.rfile.read(min(int(rate * _PAUSE), length - len(body)))):
            body += piece
            self.server.closing.wait(_PAUSE)
        return body

    do_POST = do_GET  # noqa: N815 - http.server calls it by this name

    def log_message(self, *_args: Any) -> None:
        """Stay silent: the requests are recorded."""


def _request(method: str, path: str, headers: Message, arrived: float, wire_body: bytes) -> Request:
    body = wire_body
    if headers.get("Content-Encoding", "").lower() == "gzip":
        with suppress(OSError, EOFError, zlib.error):  # what is no gzip stays as it is, and is no JSON either
            body = gzip.decompress(wire_body)
    return Request(method, path, headers, arrived, wire_body, body, _events(body))


def _events(body: bytes) -> Sequence[Any]:
    """Return what stands under `event` in the envelopes, whether Splunk would take it or not."""
    return [value["event"] for value in read_envelopes(body) if isinstance(value, dict) and "event" in value]
