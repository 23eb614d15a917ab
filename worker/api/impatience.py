"""Connections that take too long, over a head or an answer. Come in: bytes; go out: requests, or the end.

Uvicorn limits how long a connection may be idle, but neither how long a line and headers may take that come
a byte at a time, nor how long an answer may wait for somebody who does not read: a thousand such connections
would be all that the API may have. Nor does it limit how many of them one address may have:
`worker.api.connections` does.
"""

import asyncio
from typing import ClassVar, cast

from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from worker.api.connections import ConnectionLimit
from worker.api.turning_away import RejectedConnection


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
        """End an idle connection, for somebody else needs the room."""
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
