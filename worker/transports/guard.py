"""The one gate to customers' networks: a host and a port come in, a connected socket goes out.

Every address that a name resolves to is judged, and the very address that was judged is dialled:
there is no second look-up that could answer differently. A connection is used for minutes at most, and no
longer than its address is one of the name's that may be dialled (`Lifetime`).
"""

import socket
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_address
from random import uniform
from time import monotonic

from worker.model.errors import AddressRefused
from worker.transports.budget import BUDGET
from worker.transports.deadline import DeadlineSocket
from worker.transports.dialer import Address, UnresponsiveAddresses, dial_first
from worker.transports.ranges import IpNetwork, objection
from worker.transports.resolver import LOOK_UP_TIMEOUT, Judged, Names, begin_look_up, look_up

#: Connections that were made together end apart: each lives for a part of the longest life between these.
_SPREAD = (0.75, 1.0)


@dataclass(frozen=True, slots=True)
class Renewal:
    """After how many seconds a connection is used no more, at most, and a name in use is looked up again."""

    longest_life: float = 270.0
    look_up_every: float = 15.0


class Guard:
    """Judges where integrations may connect to, and connects.

    `allowed` are the networks of `Settings.allowed_networks`, open although they are not public.
    """

    def __init__(self, allowed: Sequence[IpNetwork], renewal: Renewal | None = None) -> None:
        """Keep the allow-list."""
        self._allowed = tuple(allowed)
        self._renewal = renewal or Renewal()
        self._names = Names(self._renewal.look_up_every)
        self._silent = UnresponsiveAddresses()
        #: Whose setting that is, in words.
        self.basis = "SIEM_ALLOWED_NETWORKS here"
        #: Called for each connection with TLS: when the certificate of the server ends, in seconds since
        #: 1970 UTC.
        self.note_certificate: Callable[[float], None] = _note_nothing

    def noting(self, note_certificate: Callable[[float], None]) -> "Guard":
        """Return this guard, with the same memory, for connections whose certificates are noted so."""
        noting = copy(self)
        noting.note_certificate = note_certificate
        return noting

    def addresses(
        self,
        host: str,
        port: int,
        kind: socket.SocketKind = socket.SOCK_STREAM,
        timeout: float = LOOK_UP_TIMEOUT,
    ) -> list[Address]:
        """Look the host up; return the addresses that may be dialled, in the order to dial them.

        Raises what `judged` raises, and AddressRefused if all of its addresses are closed.
        """
        judged = self.judged(host, port, kind, timeout)
        self._names.learn((host, port), judged)
        return self._open_ones(host, judged)

    def known_addresses(self, host: str, port: int, timeout: float = LOOK_UP_TIMEOUT) -> list[Address]:
        """Return what `addresses` would, by a look-up that may be seconds old; raises the same.

        Where the resolver fails, that is the last answer that there was.
        """
        self._refresh(host, port)
        judged = self._names.judged((host, port), self._renewal.longest_life)
        return self._open_ones(host, judged) if judged else self.addresses(host, port, timeout=timeout)

    def judged(
        self, host: str, port: int, kind: socket.SocketKind, timeout: float
    ) -> dict[Address, str | None]:
        """Return every address of the host, in the resolver's order, and why it may not be dialled, or None.

        Raises what `look_up` raises.
        """
        return {address: self._objection(address) for address in look_up(host, port, kind, timeout)}

    def dial(self, host: str, port: int, timeout: float, first: str = "") -> DeadlineSocket:
        """Connect over TCP to the first address that answers (RFC 8305); `timeout` in seconds bounds it all.

        The address `first` has a head start, if the name still has it. The socket obeys the deadline in force
        (`worker.transports.deadline`); its own timeout is left at `timeout`. Raises what `addresses` raises,
        ConnectFailed, ConnectTimedOut, and OutOfResources when this process has no place for the connection
        (`worker.transports.budget`).
        """
        return self._dial_in_place(host, port, socket.SOCK_STREAM, timeout, first)

    def dial_datagrams(self, host: str, port: int, timeout: float) -> DeadlineSocket:
        """Connect a UDP socket to the first of the addresses that a route leads to; nothing is sent.

        In all else as `dial`. Only a connected one hears that nothing listens at the other end.
        """
        return self._dial_in_place(host, port, socket.SOCK_DGRAM, timeout)

    def _dial_in_place(
        self, host: str, port: int, kind: socket.SocketKind, timeout: float, first: str = ""
    ) -> DeadlineSocket:
        end = monotonic() + timeout
        BUDGET.wait_for_place(timeout, f"a connection to {host}:{port}")
        sock = self._dial(host, port, kind, max(0.0, end - monotonic()), first)
        BUDGET.note(sock.fileno())
        return sock

    def _dial(
        self, host: str, port: int, kind: socket.SocketKind, timeout: float, first: str = ""
    ) -> DeadlineSocket:
        end = monotonic() + timeout
        found = self.addresses(host, port, kind, timeout)
        found.sort(key=lambda address: address.ip != first)
        dialled = dial_first(host, found, end, timeout)
        for address in dialled.silent:
            self.note_silent(address.ip, port)
        dialled.sock.peer_ip = dialled.address.ip
        return dialled.sock

    def note_silent(self, ip: str, port: int) -> None:
        """Dial this address behind the others of its name for a while: it does not answer, or not in TLS."""
        self._silent.note(ip, port)

    def lifetime(self, host: str, port: int, ip: str) -> "Lifetime":
        """Return for how long a connection may be used that was just made to this address of the host."""
        life = self._renewal.longest_life * uniform(*_SPREAD)  # noqa: S311 - spreads load, guards nothing
        return Lifetime(self, host, port, ip, monotonic() + life)

    def is_over(self, lifetime: "Lifetime", *, waits: bool) -> bool:
        """Whether a lifetime is over; see there."""
        host, port = lifetime.host, lifetime.port
        wants = lifetime.ends if monotonic() >= lifetime.ends else 0.0
        self._refresh(host, port, wants=wants, waits=waits)
        judged = self._names.judged((host, port), self._renewal.longest_life)
        is_left = judged is not None and all(
            address.ip != lifetime.ip or reason is not None for address, reason in judged.items()
        )
        return is_left or 0.0 < wants <= self._names.heard((host, port))

    def _refresh(self, host: str, port: int, *, wants: float = 0.0, waits: bool = True) -> None:
        begin = partial(begin_look_up, host, port, socket.SOCK_STREAM)
        self._names.refresh((host, port), begin, self.judge, wants=wants, waits=waits)

    def _open_ones(self, host: str, judged: Judged) -> list[Address]:
        open_ones = [address for address, reason in judged.items() if reason is None]
        if not open_ones:
            raise AddressRefused(_refusal(host, judged))
        return self._silent.last(open_ones)

    def judge(self, address: Address) -> str | None:
        """Return why the very address may not be dialled and what would help, or None if it may be."""
        return self._objection(address)

    def _objection(self, address: Address) -> str | None:
        # A scope (fe80::1%eth0) says which interface, not which address.
        return objection(ip_address(address.target[0].partition("%")[0]), self._allowed)


@dataclass(frozen=True, slots=True)
class Lifetime:
    """For how long a connection to `ip` may be used for another request; `ends` is in monotonic seconds.

    That is until its host's name leads elsewhere, or to no address that is open, and not beyond `ends`. But
    where the resolver has no answer at that time, the connection is as good as any, and is used until it has.
    """

    guard: Guard
    host: str
    port: int
    ip: str
    ends: float

    def is_over(self, *, waits: bool = True) -> bool:
        """Whether to make another connection for the next request.

        May begin a look-up in the background; with `waits`, may wait half a second for one that is overdue.
        """
        return self.guard.is_over(self, waits=waits)


def _note_nothing(_ends: float) -> None:
    """Keep nothing of a certificate."""


def _refusal(host: str, objections: Judged) -> str:
    address, reason = next(iter(objections.items()))
    ip = address.target[0]
    others = f" (and {len(objections) - 1} more)" if len(objections) > 1 else ""
    subject = ip if ip == host else f"{host} resolves to {ip}{others}, which"
    return f"{subject} {reason}"
