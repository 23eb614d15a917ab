"""The connections that a flight keeps open: which of them are dead or have had their time.

libcurl looks only once a second, and would send a request over a dead connection in between; and it never
asks where the name leads meanwhile. Input: what libcurl reports of its connections. Output: whether the
one that it is about to use may carry another request.
"""

import select
import socket
import ssl
from collections.abc import Callable, Sequence
from contextlib import suppress
from time import monotonic
from typing import Any

import pycurl

from worker.transports.budget import BUDGET
from worker.transports.dialer import Address
from worker.transports.guard import Guard, Lifetime

#: What libcurl says of a certificate are names and values.
_PAIR = 2
#: The two addresses and the two ports of a connection, as libcurl reports them.
Ends = tuple[str, str, int, int]

#: `select` sees no descriptor from this one on.
_SELECT_LIMIT = 1024
#: How often the lifetime of a connection is looked at while its flight lasts, in seconds.
_LOOK_AGAIN = 0.25
#: The other side will send nothing more. Not every system has a flag for it; those report it as POLLHUP.
_CLOSED = getattr(select, "POLLRDHUP", 0)


class KeptConnections:
    """The descriptors of the connections of one flight."""

    def __init__(self, lifetime: Callable[[str], Lifetime]) -> None:
        """Begin with none; `lifetime` gives one to a new connection, by the address that it leads to."""
        self._lifetime = lifetime
        self._lifetimes: dict[Ends, Lifetime] = {}
        self._next_looks: dict[Ends, float] = {}
        #: Whether some descriptor is beyond what `select` can see.
        self.some_are_unseen = False
        self._descriptors: dict[Ends, int] = {}
        self._ends: dict[int, Ends] = {}
        self._exclusive: set[Ends] = set()
        #: Whether none has its time for now: what they lead to knows of earlier requests.
        self.all_stay = False

    def notice(self, descriptor: int) -> None:
        """Hear of a descriptor that libcurl is about to connect."""
        self.some_are_unseen |= descriptor >= _SELECT_LIMIT

    def learn(self, ends: Ends, opened: Sequence[int]) -> None:
        """Remember a new connection, which has one of these descriptors: libcurl dials several at once."""
        for descriptor in opened:
            if _own_port(descriptor) == ends[3]:
                # A descriptor that is used again belonged to a connection that is closed.
                before = self._ends.get(descriptor, ends)
                self._descriptors.pop(before, None)
                self._exclusive.discard(before)
                self._lifetimes.pop(before, None)
                self._next_looks.pop(before, None)
                self._descriptors[ends] = descriptor
                self._lifetimes[ends] = self._lifetime(ends[0])
                self._ends[descriptor] = ends

    def learn_exclusive(self, ends: Ends) -> None:
        """Remember that this connection carries one request at a time, as HTTP/1.1 does."""
        self._exclusive.add(ends)

    def is_exclusive(self, ends: Ends | None) -> bool:
        """Whether an answer of HTTP/1.1 has come over this connection."""
        return ends in self._exclusive

    def recheck_addresses(self) -> None:
        """Look at the lifetime of each connection when it is used next."""
        self._next_looks.clear()

    def has_had_its_time(self, ends: Ends) -> bool:
        """Whether this connection is too old, or leads where the name does no longer.

        To ask that for each request would cost more than all else here: it is asked four times a second.
        """
        now = monotonic()
        if self.all_stay or now < self._next_looks.get(ends, 0.0):
            return False
        self._next_looks[ends] = now + _LOOK_AGAIN
        lifetime = self._lifetimes.get(ends)
        return lifetime is not None and lifetime.is_over(waits=False)

    def descriptor(self, ends: Ends | None) -> int | None:
        """Return the descriptor of this connection, or None where it is not known."""
        return None if ends is None else self._descriptors.get(ends)

    def is_dead(self, ends: Ends) -> bool:
        """Whether the other side has closed this connection."""
        descriptor = self._descriptors.get(ends)
        if descriptor is None:
            return False
        poll = select.poll()
        poll.register(descriptor, _CLOSED)
        return bool(poll.poll(0))


class Renewing:
    """Whether one connection has had its time, which is looked at four times a second at most."""

    __slots__ = ("_lifetime", "next_look")

    def __init__(self, lifetime: Lifetime) -> None:
        """Look at the first use; zero as `next_look` has it looked at again."""
        self._lifetime = lifetime
        self.next_look = 0.0

    def is_over(self, now: float) -> bool:
        """Whether the connection is too old, or leads where the name does no longer; `now` is monotonic."""
        if now < self.next_look:
            return False
        self.next_look = now + _LOOK_AGAIN
        return self._lifetime.is_over(waits=False)


def _own_port(descriptor: int) -> int | None:
    """Return the port at our end, or None if libcurl has closed the descriptor again."""
    try:
        borrowed = socket.socket(fileno=descriptor)
        try:
            port: int = borrowed.getsockname()[1]
        finally:
            borrowed.detach()
    except (OSError, IndexError):  # it may be of another owner by now, and no socket of the internet
        return None
    return port


def is_connected(descriptor: int) -> bool:
    """Whether this descriptor, which libcurl has not closed, has reached its other end."""
    try:
        borrowed = socket.socket(fileno=descriptor)
        try:
            borrowed.getpeername()
        finally:
            borrowed.detach()
    except OSError:
        return False
    return True


def note_certificate(easy: Any, guard: Guard) -> None:
    """Note when the certificate ends that was shown on the connection which this handle has opened."""
    for certificate in easy.getinfo_raw(pycurl.INFO_CERTINFO)[:1]:
        ends = dict(entry for entry in certificate if len(entry) == _PAIR).get(b"Expire date", b"")
        with suppress(ValueError):
            guard.note_certificate(ssl.cert_time_to_seconds(ends.decode()))


def in_brackets(addresses: Sequence[Address]) -> str:
    """Write addresses as libcurl wants them behind the name that they are those of."""
    return ",".join(f"[{one.ip}]" if ":" in one.ip else one.ip for one in addresses)


def open_multi(connections: int) -> Any:
    """Return a multi handle that keeps so many connections; `close_multi` closes it."""
    multi = pycurl.CurlMulti()
    BUDGET.count_flights(1)
    multi.setopt(pycurl.M_MAXCONNECTS, connections)
    return multi


def close_multi(multi: Any) -> None:
    """Close a multi handle with its connections."""
    multi.close()
    BUDGET.count_flights(-1)
