"""Dials addresses of a name in turn (RFC 8305, section 5), however many of them are dead.

Input: judged addresses, in the order to dial them. Output: a connected socket, and which of the others
were silent although they were dialled before.
"""

import contextlib
import errno
import os
import select
import socket
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain, zip_longest
from time import monotonic
from typing import Any

from worker.model.errors import ConnectFailed, ConnectTimedOut, OutOfResources
from worker.transports.budget import BUDGET
from worker.transports.deadline import DeadlineSocket
from worker.transports.shortages import shortage

#: For so many seconds an address that stayed silent while another one answered is dialled last.
_SILENT_FOR = 60.0


@dataclass(frozen=True, slots=True)
class Address:
    """A place that may be dialled: what `socket.socket` and its `connect` want. Prints as "ip:port"."""

    family: socket.AddressFamily
    kind: socket.SocketKind
    protocol: int
    target: tuple[Any, ...]

    @property
    def ip(self) -> str:
        """The address without its port."""
        return str(self.target[0])

    def __str__(self) -> str:
        host, port = self.target[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class UnresponsiveAddresses:
    """Addresses that were dialled without success recently. Shared by threads.

    Not the one that answered is remembered but those that did not: so the resolver's order, by which
    a name spreads its load, stays in force among the others.
    """

    def __init__(self) -> None:
        """Begin without any."""
        self._lock = threading.Lock()
        self._until: dict[tuple[str, int], float] = {}

    def note(self, ip: str, port: int) -> None:
        """Dial this address last for a minute."""
        now = monotonic()
        with self._lock:
            self._until = {one: until for one, until in self._until.items() if until > now}
            self._until[ip, port] = now + _SILENT_FOR

    def last(self, found: Sequence[Address]) -> list[Address]:
        """Return the addresses in the order to dial them: families by turns, those that were silent last."""
        if not self._until:
            return by_turns(found)
        now = monotonic()
        silent = [one for one in found if self._until.get((one.ip, one.target[1]), now) > now]
        return by_turns([one for one in found if one not in silent]) + by_turns(silent)


def by_turns(found: Sequence[Address]) -> list[Address]:
    """Interleave the families, beginning with that of the first (RFC 8305, section 4)."""
    first = [one for one in found if one.family is found[0].family]
    others = [one for one in found if one.family is not found[0].family]
    return [one for one in chain.from_iterable(zip_longest(first, others)) if one is not None]


#: An address that has neither answered nor refused within so many seconds gets company (RFC 8305, section 8).
STAGGER = 0.25
#: So many addresses are dialled at once; then the oldest, which has had six staggers, gives way to the next.
#: Where this process has no place for so many, it does so sooner.
_MOST_AT_ONCE = 6
_MOST_REASONS = 4

#: A peer that vanished without a word is found after a minute of silence, or once it has left unacknowledged
#: for 20 s what it was sent (RFC 5482; in milliseconds).
TCP_OPTIONS = (
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    *(
        (socket.IPPROTO_TCP, getattr(socket, name), value)
        for name, value in (
            ("TCP_KEEPIDLE", 30),
            ("TCP_KEEPINTVL", 10),
            ("TCP_KEEPCNT", 3),
            ("TCP_USER_TIMEOUT", 20_000),
        )
        if hasattr(socket, name)  # not every system has all of them
    ),
)


@dataclass(frozen=True, slots=True)
class Dialled:
    """A connected socket, its address, and those that were dialled before it and have not answered."""

    sock: DeadlineSocket
    address: Address
    silent: Sequence[Address] = ()


@dataclass(slots=True)
class _Dial:
    """The addresses of one dial: still to come, under way, and failed (with a system's error number)."""

    waiting: deque[Address]
    pending: dict[int, tuple[DeadlineSocket, Address]] = field(default_factory=dict)
    failures: dict[Address, int] = field(default_factory=dict)
    poll: select.poll = field(default_factory=select.poll)

    def start(self, address: Address) -> bool:
        """Begin to connect, and return whether that has not failed at once; `connected` gets the outcome."""
        if len(self.pending) == _MOST_AT_ONCE or (self.pending and not BUDGET.has_place()):
            self.drop(next(iter(self.pending)), errno.ETIMEDOUT)
        try:
            sock = DeadlineSocket(address.family, address.kind, address.protocol)
        except OSError as error:
            self.failures[address] = error.errno or 0
            return False
        BUDGET.note(sock.fileno())
        self.pending[sock.fileno()] = (sock, address)
        self.poll.register(sock, select.POLLOUT)
        try:
            for level, option, value in TCP_OPTIONS if address.kind is socket.SOCK_STREAM else ():
                sock.setsockopt(level, option, value)
            sock.settimeout(0)
            number = sock.connect_ex(address.target)
        except OSError as error:
            number = error.errno or 0
        if number in {0, errno.EINPROGRESS}:
            return True
        self.drop(sock.fileno(), number)
        return False

    def drop(self, descriptor: int, number: int) -> None:
        """Close one of them, which has failed."""
        sock, address = self.pending.pop(descriptor)
        self.poll.unregister(descriptor)
        sock.close()
        self.failures[address] = number

    def connected(self, seconds: float) -> tuple[DeadlineSocket, Address] | None:
        """Wait for so long; return one that is connected, which is no longer among those under way."""
        for descriptor, _ in self.poll.poll(seconds * 1000):
            sock, _ = self.pending[descriptor]
            if number := sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                self.drop(descriptor, number)
            else:
                self.poll.unregister(descriptor)
                return self.pending.pop(descriptor)
        return None

    def close(self) -> None:
        """Close what is still under way."""
        for sock, _ in self.pending.values():
            sock.close()
        self.pending.clear()


def dial_first(host: str, addresses: Sequence[Address], end: float, timeout: float) -> Dialled:
    """Connect to the first of the addresses that answers, until `end` (monotonic seconds).

    Each begins when the one before it has failed, or has been silent for a quarter of a second; all stay in
    the race. The socket's own timeout is set to `timeout` seconds, which messages name. Raises ConnectFailed
    when all have failed, and ConnectTimedOut when some were silent to the end: both name the addresses.
    """
    # With so many addresses that the time is short, the pace is such that each still gets its turn.
    stagger = min(STAGGER, max(0.0, end - monotonic()) / (len(addresses) + 1))
    dial = _Dial(deque(addresses))
    with contextlib.closing(dial):
        while (left := end - monotonic()) > 0 and (dial.waiting or dial.pending):
            if dial.waiting and not dial.start(dial.waiting.popleft()) and dial.waiting:
                continue
            found = _first(dial, min(stagger, left) if dial.waiting else left)
            if found is not None:
                sock, address = found
                sock.settimeout(timeout)
                return Dialled(sock, address, _silent(dial, addresses, address))
        silent = {address for _, address in dial.pending.values()}
    numbers = dial.failures | dict.fromkeys(silent, errno.ETIMEDOUT)
    raise _no_connection(host, [(one, numbers[one]) for one in addresses if one in numbers], timeout)


def _first(dial: _Dial, seconds: float) -> tuple[DeadlineSocket, Address] | None:
    """Wait for the first that is connected, or until one has failed, or the time is over."""
    until = monotonic() + seconds
    before = len(dial.failures)
    while dial.pending and len(dial.failures) == before:
        left = max(0.0, until - monotonic())
        if (found := dial.connected(left)) is not None or not left:
            return found
    return None


def _silent(dial: _Dial, addresses: Sequence[Address], winner: Address) -> list[Address]:
    """Return which addresses had more time than the winner, and have not answered."""
    pending = {address for _, address in dial.pending.values()}
    dropped = {address for address, number in dial.failures.items() if number == errno.ETIMEDOUT}
    return [one for one in addresses[: addresses.index(winner)] if one in pending | dropped]


def _no_connection(
    host: str, failures: Sequence[tuple[Address, int]], timeout: float
) -> ConnectFailed | ConnectTimedOut:
    failures = [(address, reason_for(number, address)) for address, number in failures]
    words = [failure(number, address) for address, number in failures]
    more = len(words) - _MOST_REASONS
    reasons = "; ".join([*words[:_MOST_REASONS], *([f"and {more} more addresses"] if more > 0 else [])])
    numbers = {number for _, number in failures}
    if (ours := _shortage(numbers, reasons)) is not None:
        return ours
    if not numbers or errno.ETIMEDOUT in numbers:
        return ConnectTimedOut(
            f"no connection to {host} within {timeout:.3g} s: {reasons or 'no time was left'}"
        )
    return ConnectFailed(reasons)


def _shortage(numbers: set[int], reasons: str) -> OutOfResources | None:
    """Return what was lacking here, if it may be why no address could be reached."""
    telling = numbers if len(numbers) == 1 else numbers - {errno.EADDRNOTAVAIL}
    return next((lack for number in telling if (lack := shortage(number, reasons)) is not None), None)


def reason_for(number: int, address: Address) -> int:
    """Return why an address cannot be reached, as the system's number; `number` is what the system said.

    It says EADDRNOTAVAIL both for a lack of local ports, which passes, and where this machine has no address
    of the family, as containers without IPv6: no route, which does not. A datagram needs such an address as
    well, but none of TCP's ports; for a lack of its own ports the system says EAGAIN.
    """
    if number == errno.EAGAIN:
        return errno.EADDRNOTAVAIL
    if number != errno.EADDRNOTAVAIL:
        return number
    with contextlib.suppress(OSError), socket.socket(address.family, socket.SOCK_DGRAM) as sock:
        if sock.connect_ex(address.target) == errno.EADDRNOTAVAIL:
            return errno.ENETUNREACH
    return number


def failure(number: int, address: Address) -> str:
    """Return in words why no connection was made; `number` is the system's, or 0."""
    if number == errno.ETIMEDOUT:
        return f"no answer from {address}"
    if number == errno.ECONNREFUSED:
        return f"connection refused by {address}"
    if number in {errno.EHOSTUNREACH, errno.ENETUNREACH}:
        return f"no route to {address}"
    return f"cannot connect to {address}: {os.strerror(number) if number else 'unknown reason'}"
