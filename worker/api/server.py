"""Serves the API over HTTP/1.1, with limits on how long a request and an answer may take.

Standing behind a proxy that speaks TLS is how it is meant to be run in production.

Connections that take too long, over a head or an answer. Input: bytes; output: requests, or the end.

Uvicorn limits how long a connection may be idle, but neither how long a line and headers may take that come
a byte at a time, nor how long an answer may wait for a client that does not read: a thousand such connections
would be all that the API may have. Nor does it limit how many of them one address may have:
`worker.api.connections` does.
"""

import asyncio
import logging
import socket
from collections.abc import Callable
from types import FrameType
from typing import ClassVar, cast

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from worker.api.connections import ConnectionLimit, RejectedConnection
from worker.model.listening import listening_refused
from worker.model.log_events import API_LISTENING
from worker.settings import Settings


class TimeoutProtocol(H11Protocol):
    """HTTP/1.1 that ends a connection whose head does not come, or whose answers are not taken, in time."""

    #: From the connection, or from the first byte after an answer, to the end of the headers, in seconds.
    HEAD_SECONDS: ClassVar[float] = 15.0

    #: How long an answer may wait until what was sent of it is taken, in seconds.
    ANSWER_SECONDS: ClassVar[float] = 30.0

    #: Shared by the connections of one server.
    room: ClassVar[ConnectionLimit]

    idle_since: float | None = None
    _head_due: asyncio.TimerHandle | None = None
    _taken_due: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn does
        """Begin to wait for the first head, if there is room for another connection."""
        peer = transport.get_extra_info("peername")
        self.idle_since = self.loop.time()
        why = self.room.enter(self, peer[0] if peer else "")
        if why is not None:
            transport.set_protocol(RejectedConnection(transport, why))
            return
        # Whatever the kernel does not take at once is waited for: a close would wait for it, too, for ever.
        transport.set_write_buffer_limits(high=0)
        super().connection_made(transport)
        self._wait_for_head()

    def data_received(self, data: bytes) -> None:
        """Take bytes; wait on for a head that is not whole, and no more for one that is."""
        super().data_received(data)
        if self._has_request():
            self.idle_since = None
            self._wait_no_more()
        else:
            self._wait_for_head()

    def on_response_complete(self) -> None:
        """Be idle, unless another request is there already, or the answer is not taken yet."""
        super().on_response_complete()
        self._rest()

    def make_room(self) -> None:
        """End an idle connection, for another one needs the room."""
        self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing any more."""
        self.room.leave(self)
        self._wait_no_more()
        self._is_taken()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Be busy until the other side has read, and end the connection if it does not."""
        super().pause_writing()
        self.idle_since = None
        self._taken_due = self.loop.call_later(self.ANSWER_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        """Go on: all was taken."""
        super().resume_writing()
        self._is_taken()
        self._rest()

    def _rest(self) -> None:
        if not self._has_request() and self._taken_due is None:
            self.idle_since = self.loop.time()

    def _is_taken(self) -> None:
        if self._taken_due is not None:
            self._taken_due.cancel()
            self._taken_due = None

    def _has_request(self) -> bool:
        cycle = cast("RequestResponseCycle | None", self.cycle)  # none before the first request
        return cycle is not None and not cycle.response_complete

    def _wait_for_head(self) -> None:
        if self._head_due is None:
            self._head_due = self.loop.call_later(self.HEAD_SECONDS, self.transport.close)

    def _wait_no_more(self) -> None:
        if self._head_due is not None:
            self._head_due.cancel()
            self._head_due = None


#: How long a connection may be idle between requests, and what is under way may still take once it is asked
#: to end, in seconds.
KEEP_ALIVE = 15
GRACE = 15
#: A request's line and headers together, in bytes.
LONGEST_HEAD = 32 * 1024

#: The server, for those who only start and end it.
Server = uvicorn.Server

log = logging.getLogger(__name__)


def bind_socket(config: Settings) -> socket.socket:
    """Listen where the settings say. Raises InvalidSetting when that cannot be."""
    family = socket.AF_INET6 if ":" in config.api_host else socket.AF_INET
    try:
        listener = socket.create_server((config.api_host, config.api_port), family=family)
    except OSError as error:
        hint = "give another one, or 0 for any that is free"
        raise listening_refused("SIEM_API", config.api_host, config.api_port, error, hint) from None
    # Asyncio does this only for sockets that name their protocol; else each answer waits 40 ms for an ACK.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    API_LISTENING.log(log, url=listener_url(listener))
    return listener


def listener_url(listener: socket.socket) -> str:
    """Return the address to give to a client of this machine."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class _AnnouncedEnd(uvicorn.Server):
    """A server that says at once that a signal ends it."""

    def __init__(self, config: uvicorn.Config, ends: Callable[[], None]) -> None:
        super().__init__(config)
        self._ends = ends

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._ends()
        super().handle_exit(sig, frame)


def server_of(app: FastAPI, config: Settings, ends: Callable[[], None] = lambda: None) -> uvicorn.Server:
    """Return the server; `run(sockets=[listener])` serves until SIGTERM or SIGINT, or `should_exit`.

    `ends` is called as soon as a signal asks for the end.
    """
    proxies = [str(network) for network in config.api_trusted_proxies]
    return _AnnouncedEnd(
        uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            server_header=False,
            ws="none",
            http=_protocol(config),
            proxy_headers=bool(proxies),
            forwarded_allow_ips=proxies,
            timeout_keep_alive=KEEP_ALIVE,
            timeout_graceful_shutdown=GRACE,
            h11_max_incomplete_event_size=LONGEST_HEAD,
        ),
        ends,
    )


def _protocol(config: Settings) -> type[TimeoutProtocol]:
    """Return the protocol of one server, whose connections share its room."""

    class OfThisServer(TimeoutProtocol):
        room = ConnectionLimit(config.api_connections, config.api_trusted_proxies)

    return OfThisServer
