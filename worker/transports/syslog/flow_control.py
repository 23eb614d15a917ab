"""Bytes on their way out of a TCP socket: what our system took over, and what the other has acknowledged.

A receiver that is slow but reads is waited for as long as its acknowledgements grow. So that little is sent
twice when the time ends all the same, no more is handed to our system than the receiver takes in a second or
two, and nothing more once the rest of the time would not suffice for it.
"""

import time
from collections.abc import Callable

from worker.model.errors import DeadlinePassed
from worker.transports.deadline import Deadline, DeadlineSocket
from worker.transports.unsent import unacknowledged

_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.000_1, 0.01
#: How many bytes may be under way unacknowledged: to begin with, and the bounds between which it is learned.
_FIRST_WINDOW, _LEAST_WINDOW, _MOST_WINDOW = 65_536, 8_192, 4_194_304
#: A wait for room that is shorter than this, in seconds, doubles the window; one of twice that halves it.
_GOOD_WAIT = 1.0
#: Only a wait of so many seconds shows how fast the receiver is: what its buffer takes at once does not.
_TELLING_WAIT = 0.25
_MARGIN = 1.5
#: What is acknowledged in the first second may all lie in buffers.
_TELLING_TIME = 1.0
TAKE = "take the whole {cargo}"


class StallTimeout:
    """How long the receiver of one batch is waited for: until the deadline, while it goes on taking bytes."""

    def __init__(self, deadline: Deadline, peer: str, stall: float) -> None:
        """Give up at the deadline, or when no byte was acknowledged for `stall` seconds."""
        self.deadline = deadline
        self._peer = peer
        self._stall = stall
        self._began = self._since = time.monotonic()
        self._first = self._most = 0
        self._has_resumed = False

    @property
    def taken(self) -> int:
        """How many bytes of this batch were acknowledged when that was looked at last."""
        return self._most - self._first

    @property
    def seconds(self) -> float:
        """How long the batch has been under way."""
        return time.monotonic() - self._began

    @property
    def remaining(self) -> float:
        """For how many seconds to wait for what cannot be seen to move."""
        return min(self._stall, self.deadline.remaining())

    def begin(self, acknowledged: int) -> None:
        """Count from here on."""
        self._first = self._most = acknowledged

    def look(self, acknowledged: int) -> None:
        """Note what is acknowledged. Raises DeadlinePassed when the time is over, or nothing has moved."""
        now = time.monotonic()
        if acknowledged > self._most:
            self._has_resumed |= now - self._since > _TELLING_TIME
            self._most, self._since = acknowledged, now
        if not self.deadline.remaining():
            self.deadline.passed(TAKE)
        if now - self._since >= self._stall:
            words = f"did not take the whole batch: it took nothing more for {self._stall:g} s"
            raise DeadlinePassed(f"{self._peer} {words}")

    def is_moving(self) -> bool:
        """Whether the receiver reads: its buffer takes the first bytes by itself, and no more later."""
        return self._has_resumed or self._since - self._began > max(_TELLING_TIME, self.seconds / 2)


class Window:
    """How many bytes may be unacknowledged, as learned from one receiver; shared by its connections."""

    def __init__(self) -> None:
        """Begin with what TCP itself soon has under way."""
        self.size = _FIRST_WINDOW

    def learn(self, waited: float) -> None:
        """Adapt to the seconds that it took until there was room."""
        if waited < _GOOD_WAIT:
            self.size = min(_MOST_WINDOW, self.size * 2)
        elif waited > 2 * _GOOD_WAIT:
            self.size = max(_LEAST_WINDOW, self.size // 2)


class Outflow:
    """What goes out on one socket. `see_no_error` raises what has become of the connection."""

    def __init__(self, sock: DeadlineSocket, window: Window, see_no_error: Callable[[], None]) -> None:
        """Count from now on."""
        self._sock = sock
        self._window = window
        self._see_no_error = see_no_error
        self._rate = 0.0
        self.handed = 0

    @property
    def piece(self) -> int:
        """How many bytes to hand over in one go."""
        return min(_FIRST_WINDOW, self._window.size // 2)

    def unacknowledged(self) -> int:
        """Return how many bytes, an end of our side included, the other system has not acknowledged."""
        return unacknowledged(self._sock)

    def acknowledged(self) -> int:
        """Return how many of the bytes that were handed over here the other system has acknowledged."""
        return max(0, self.handed - self.unacknowledged())

    def has_room(self, size: int, patience: StallTimeout) -> bool:
        """Wait until so many bytes may follow; return False where the rest of the time is too short for them.

        Raises DeadlinePassed, and what `see_no_error` raises.
        """
        if not self._is_open_for(size):
            began, before = time.monotonic(), self.acknowledged()
            self._await(patience, lambda: self._is_open_for(size))
            waited = time.monotonic() - began
            self._window.learn(waited)
            if waited >= _TELLING_WAIT:
                self._rate = max(1, self.acknowledged() - before) / waited
        if not self._rate:
            return True
        needed = (self.unacknowledged() + size) / self._rate * _MARGIN
        return needed <= patience.deadline.remaining()

    def push(self, data: bytes, patience: StallTimeout) -> None:
        """Hand all of it to our system. Raises OSError and DeadlinePassed."""
        view = memoryview(data)
        while view:
            try:
                sent = self._sock.send_at_once(view)
            except BlockingIOError:
                patience.look(self.acknowledged())
                time.sleep(_LONGEST_PAUSE / 2)
            else:
                self.handed += sent
                view = view[sent:]

    def drain(self, patience: StallTimeout) -> None:
        """Wait until every byte is acknowledged. Raises DeadlinePassed, and what `see_no_error` raises."""
        self._await(patience, lambda: not self.unacknowledged())

    def _is_open_for(self, size: int) -> bool:
        unacknowledged = self.unacknowledged()
        return not unacknowledged or unacknowledged + size <= self._window.size

    def _await(self, patience: StallTimeout, is_done: Callable[[], bool]) -> None:
        pause = _SHORTEST_PAUSE
        while not is_done():
            self._see_no_error()
            patience.look(self.acknowledged())
            time.sleep(min(pause, patience.deadline.remaining()))
            pause = min(pause * 2, _LONGEST_PAUSE)
        self._see_no_error()
