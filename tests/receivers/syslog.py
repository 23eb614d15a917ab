"""A syslog receiver with a behaviour that a test chooses: real sockets, one thread for each connection.

A behaviour has a connection to itself: it reads, or not, and ends it in the way that it is named for. What is
read is taken apart strictly and kept; what is no frame fails the test at the end of the `with` block.
"""

import contextlib
import socket
import ssl
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import suppress
from types import TracebackType
from typing import Self

from tests.ports import free_port
from tests.receivers.syslog_behaviours import TICK, Behaviour, Over, Visit, checked, reads
from worker.demo.syslog_receiver import Bounds, NotSyslog, counted_frame, newline_frame

PATIENCE = 30.0
_BOUNDS: dict[str, Bounds] = {"newline": newline_frame, "octet_counted": counted_frame}


class _Receiver(ABC):
    """What receivers have in common: they can be started and stopped, on the same port, and keep messages."""

    scheme: str

    def __init__(self, host: str, port: int) -> None:
        self.host = host
        self.port = port or free_port()
        self.over = threading.Event()
        self._changed = threading.Condition()
        self._messages: list[bytes] = []
        self._faults: list[NotSyslog] = []
        self._threads: list[threading.Thread] = []
        self._sock: socket.socket | None = None

    @property
    def url(self) -> str:
        """The address, as an integration has it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"

    @property
    def messages(self) -> list[bytes]:
        """The messages that came whole, in order, with duplicates."""
        with self._changed:
            return list(self._messages)

    def wait_for(self, count: int, seconds: float = PATIENCE) -> list[bytes]:
        """Return the messages once there are so many. Raises AssertionError when that takes too long."""
        with self._changed:
            if not self._changed.wait_for(lambda: len(self._messages) >= count, seconds):
                raise AssertionError(f"not within {seconds} s: {len(self._messages)} of {count} messages")
            return list(self._messages)

    def start(self) -> None:
        """Listen, on the same port as before."""
        self.over.clear()
        self._sock = self._listen()
        self.port = self._sock.getsockname()[1]
        self._spawn(self._serve, self._sock)

    def stop(self) -> None:
        """Close everything as a killed process would: in the middle of whatever is going on."""
        self.over.set()
        while self._threads:
            self._threads.pop().join(PATIENCE)

    def restart(self) -> None:
        """Stop, and listen again."""
        self.stop()
        self.start()

    def keep(self, messages: list[bytes]) -> None:
        """Record what has come."""
        with self._changed:
            self._messages += messages
            self._changed.notify_all()

    def fail(self, fault: NotSyslog) -> None:
        """Keep what was wrong for the end of the `with` block."""
        self._faults.append(fault)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        if error is None and self._faults:
            raise self._faults[0]

    def _spawn(self, target: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        thread.start()
        self._threads.append(thread)

    @abstractmethod
    def _listen(self) -> socket.socket: ...

    @abstractmethod
    def _serve(self, sock: socket.socket) -> None: ...


class SyslogReceiver(_Receiver):
    """Listens on TCP, or with a server-side context on TLS, while its `with` block lasts.

    `framing` is newline or octet_counted; left out, what is the default of the way. `receive_buffer` is the
    size of the system's buffer, in bytes; 0 leaves it as it is.
    """

    def __init__(
        self,
        behaviour: Behaviour = reads,
        *,
        tls: ssl.SSLContext | None = None,
        framing: str | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        receive_buffer: int = 0,
    ) -> None:
        """Prepare; the behaviour may be changed at any time, for the connections that follow."""
        super().__init__(host, port)
        self.scheme = "syslog" if tls is None else "syslog+tls"
        self.behaviour = behaviour
        self.bounds = _BOUNDS[framing or ("newline" if tls is None else "octet_counted")]
        self.accepted = 0
        self._endings = 0
        self._tls = tls
        self._receive_buffer = receive_buffer

    def note_end(self) -> None:
        """Count a connection that was ended, or half of it, on this side."""
        with self._changed:
            self._endings += 1
            self._changed.notify_all()

    def wait_for_ends(self, count: int) -> None:
        """Return as soon as so many connections were ended on this side."""
        with self._changed:
            assert self._changed.wait_for(lambda: self._endings >= count, PATIENCE)

    def _listen(self) -> socket.socket:
        sock = socket.socket(socket.AF_INET6 if ":" in self.host else socket.AF_INET)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if self._receive_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._receive_buffer)
        sock.bind((self.host, self.port))
        sock.listen(128)
        return sock

    def _serve(self, sock: socket.socket) -> None:
        sock.settimeout(TICK)
        with sock:
            while not self.over.is_set():
                with suppress(TimeoutError):
                    connection, _ = sock.accept()
                    self.accepted += 1
                    self._spawn(self._receive, connection, self.accepted)

    def _receive(self, plain: socket.socket, number: int) -> None:
        with _encrypted(plain, self._tls) as connection, suppress(OSError, Over):
            try:
                if isinstance(connection, ssl.SSLSocket):
                    connection.settimeout(PATIENCE)
                    connection.do_handshake()
                self.behaviour(Visit(self, connection, number))
            except NotSyslog as fault:
                self.fail(fault)
        self.note_end()


@contextlib.contextmanager
def _encrypted(plain: socket.socket, tls: ssl.SSLContext | None) -> Iterator[socket.socket]:
    wrapped = (
        plain if tls is None else tls.wrap_socket(plain, server_side=True, do_handshake_on_connect=False)
    )
    with wrapped:
        yield wrapped


class SyslogUdpReceiver(_Receiver):
    """Takes datagrams, a message each, while its `with` block lasts."""

    scheme = "syslog+udp"

    def __init__(self, *, host: str = "127.0.0.1", port: int = 0) -> None:
        """Prepare."""
        super().__init__(host, port)

    def _listen(self) -> socket.socket:
        sock = socket.socket(socket.AF_INET6 if ":" in self.host else socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind((self.host, self.port))
        return sock

    def _serve(self, sock: socket.socket) -> None:
        sock.settimeout(TICK)
        with sock:
            while not self.over.is_set():
                with suppress(TimeoutError):
                    datagram = sock.recv(65_536)
                    try:
                        self.keep([checked(datagram)])
                    except NotSyslog as fault:
                        self.fail(fault)
