"""A relay in front of a server, whose connections can freeze: open, silent, taking nothing any more.

So look connections behind a firewall that has forgotten them, or to a host that is gone. New ones work.
"""

import socket
import threading
from contextlib import suppress
from types import TracebackType
from typing import Self

_PIECE = 65536
#: How long a connection that carries nothing looks away from whether it is frozen, in seconds.
_LOOK_UP = 0.05


class Relay:
    """Relays to a port on loopback while its `with` block lasts."""

    def __init__(self, upstream: int) -> None:
        """Listen on a port of its own."""
        self.accepted = 0
        self._upstream = upstream
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._frozen = threading.Event()
        self._over = threading.Event()
        self._threads: list[threading.Thread] = []
        self._sockets: list[socket.socket] = []

    def freeze(self) -> None:
        """Forward nothing more over the connections that are open now."""
        self._frozen.set()
        self._frozen = threading.Event()

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        for sock in (self._listener, *self._sockets):
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        for sock in (self._listener, *self._sockets):
            sock.close()

    def _start(self, target: object, *args: object) -> None:
        assert callable(target)
        thread = threading.Thread(target=target, args=args)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                self.accepted += 1
                far = socket.create_connection(("127.0.0.1", self._upstream))
                self._sockets += [near, far]
                for one, other in ((near, far), (far, near)):
                    one.settimeout(_LOOK_UP)
                    self._start(self._forward, one, other, self._frozen)

    def _forward(self, source: socket.socket, target: socket.socket, frozen: threading.Event) -> None:
        with suppress(OSError):
            while not frozen.is_set():
                try:
                    piece = source.recv(_PIECE)
                except TimeoutError:
                    continue
                if frozen.is_set():
                    break
                if not piece:
                    target.shutdown(socket.SHUT_WR)
                    return
                target.sendall(piece)
            self._over.wait()
