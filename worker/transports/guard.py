"""The one gate to customers' networks: a host and a port come in, a connected socket goes out.

Every address that a name resolves to is judged, and the very address that was judged is dialled:
there is no second look-up that could answer differently.
"""

import errno
import os
import socket
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from ipaddress import ip_address
from time import monotonic
from typing import Any

from worker.model.errors import AddressRefused, ConnectFailed, ConnectTimedOut, NameUnknown
from worker.transports.budget import BUDGET
from worker.transports.deadline import DeadlineSocket
from worker.transports.ranges import IpNetwork, objection
from worker.transports.shortages import no_thread, short_of_descriptors, shortage

#: A look-up that takes longer than this, in seconds, is given up, unless the caller says otherwise.
LOOK_UP_TIMEOUT = 10.0

_MOST_REASONS = 4


@dataclass(frozen=True, slots=True)
class Address:
    """A place that may be dialled: what `socket.socket` and its `connect` want. Prints as "ip:port"."""

    family: socket.AddressFamily
    kind: socket.SocketKind
    protocol: int
    target: tuple[Any, ...]

    def __str__(self) -> str:
        host, port = self.target[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class Guard:
    """Judges where integrations may connect to, and connects.

    `allowed` are the networks of `Settings.allowed_networks`, open although they are not public.
    """

    def __init__(self, allowed: Sequence[IpNetwork]) -> None:
        """Keep the allow-list."""
        self._allowed = tuple(allowed)

    def addresses(
        self,
        host: str,
        port: int,
        kind: socket.SocketKind = socket.SOCK_STREAM,
        timeout: float = LOOK_UP_TIMEOUT,
    ) -> list[Address]:
        """Return the addresses of the host that may be dialled, in the resolver's order.

        Raises what `judged` raises, and AddressRefused if all of its addresses are closed.
        """
        objections = self.judged(host, port, kind, timeout)
        open_ones = [address for address, reason in objections.items() if reason is None]
        if not open_ones:
            raise AddressRefused(_refusal(host, objections))
        return open_ones

    def judged(
        self, host: str, port: int, kind: socket.SocketKind, timeout: float
    ) -> dict[Address, str | None]:
        """Return every address of the host, in the resolver's order, and why it may not be dialled, or None.

        Raises NameUnknown if the name does not resolve, ConnectTimedOut if that takes longer than
        `timeout` seconds.
        """
        return {address: self._objection(address) for address in _resolve(host, port, kind, timeout)}

    def dial(self, host: str, port: int, timeout: float) -> DeadlineSocket:
        """Connect over TCP, trying the addresses in turn; `timeout` in seconds bounds it all.

        The socket obeys the deadline in force (`worker.transports.deadline`); its own timeout is
        left at `timeout`. Raises what `addresses` raises, ConnectFailed, ConnectTimedOut, and OutOfResources
        when this process has no place for the connection (`worker.transports.budget`).
        """
        return self._dial_in_place(host, port, socket.SOCK_STREAM, timeout)

    def dial_datagrams(self, host: str, port: int, timeout: float) -> DeadlineSocket:
        """Connect a UDP socket to the first of the addresses that a route leads to; nothing is sent.

        In all else as `dial`. Only a connected one hears that nothing listens at the other end.
        """
        return self._dial_in_place(host, port, socket.SOCK_DGRAM, timeout)

    def _dial_in_place(self, host: str, port: int, kind: socket.SocketKind, timeout: float) -> DeadlineSocket:
        end = monotonic() + timeout
        BUDGET.wait_for_place(timeout, f"a connection to {host}:{port}")
        sock = self._dial(host, port, kind, max(0.0, end - monotonic()))
        BUDGET.note(sock.fileno())
        return sock

    def _dial(self, host: str, port: int, kind: socket.SocketKind, timeout: float) -> DeadlineSocket:
        end = monotonic() + timeout
        found = self.addresses(host, port, kind, timeout)
        failures: list[str] = []
        number = 0
        timed_out = True
        # Each address gets a fair share of what is left, lest a dead one starve those behind it.
        for shares, address in zip(range(len(found), 0, -1), found, strict=True):
            try:
                return _connect(address, max(0.0, end - monotonic()) / shares, timeout)
            except OSError as error:
                timed_out = isinstance(error, TimeoutError)
                number = error.errno or 0
                failures.append(_failure(error, address))
        more = len(failures) - _MOST_REASONS
        reasons = "; ".join(
            [*failures[:_MOST_REASONS], *([f"and {more} more addresses"] if more > 0 else [])]
        )
        if timed_out:
            raise ConnectTimedOut(f"no connection to {host} within {timeout:g} s: {reasons}")
        raise shortage(number, reasons) or ConnectFailed(reasons)

    def judge(self, address: Address) -> str | None:
        """Say why the very address may not be dialled and what would help, or None if it may be."""
        return self._objection(address)

    def _objection(self, address: Address) -> str | None:
        # A scope (fe80::1%eth0) says which interface, not which address.
        return objection(ip_address(address.target[0].partition("%")[0]), self._allowed)


def _resolve(host: str, port: int, kind: socket.SocketKind, timeout: float) -> list[Address]:
    try:
        rows = _numeric(host, port, kind) or _look_up(host, port, kind, timeout)
    except socket.gaierror as error:
        # glibc calls a name unknown when it cannot open its files, or a socket to the DNS.
        if (lack := short_of_descriptors()) is not None:
            raise lack from None
        raise NameUnknown(f"{host} does not resolve ({error.strerror}): check the name, or the DNS") from None
    except OSError as error:  # of Python itself, which reads files for some names
        words = f"cannot look {host} up: {os.strerror(error.errno or 0)}"
        raise shortage(error.errno or 0, words) or ConnectFailed(words) from None
    except ValueError:
        raise NameUnknown(f"{host!r} cannot be a host name: check its spelling") from None
    addresses = [Address(family, kind, protocol, target) for family, kind, protocol, _, target in rows]
    return list(dict.fromkeys(addresses))


def _numeric(host: str, port: int, kind: socket.SocketKind) -> list[Any]:
    """Read every spelling of an address that the resolver knows (0x7f.1, 2130706433), or return nothing."""
    try:
        return socket.getaddrinfo(host, port, type=kind, flags=socket.AI_NUMERICHOST)
    except socket.gaierror:
        return []


def _look_up(host: str, port: int, kind: socket.SocketKind, timeout: float) -> list[Any]:
    """Ask the resolver, in a thread, because getaddrinfo has no timeout of its own.

    A thread that is given up ends when the resolver does (after half a minute with glibc's
    defaults); as a daemon, it does not hold up the end of the process.
    """
    answer: Future[list[Any]] = Future()

    def ask() -> None:
        try:
            answer.set_result(socket.getaddrinfo(host, port, type=kind))
        except (OSError, ValueError) as error:
            answer.set_exception(error)

    try:
        threading.Thread(target=ask, name=f"look up {host}", daemon=True).start()
    except RuntimeError:
        raise no_thread(f"look up {host}") from None
    try:
        return answer.result(timeout)
    except TimeoutError:
        raise ConnectTimedOut(f"{host} did not resolve within {timeout:g} s: check the DNS") from None


def _refusal(host: str, objections: dict[Address, str | None]) -> str:
    address, reason = next(iter(objections.items()))
    ip = address.target[0]
    others = f" (and {len(objections) - 1} more)" if len(objections) > 1 else ""
    subject = ip if ip == host else f"{host} resolves to {ip}{others}, which"
    return f"{subject} {reason}"


def _connect(address: Address, share: float, timeout: float) -> DeadlineSocket:
    if not share:
        raise TimeoutError
    sock = DeadlineSocket(address.family, address.kind, address.protocol)
    try:
        for level, option, value in TCP_OPTIONS if address.kind is socket.SOCK_STREAM else ():
            sock.setsockopt(level, option, value)
        sock.settimeout(share)
        sock.connect(address.target)
        sock.settimeout(timeout)
    except BaseException:
        sock.close()
        raise
    return sock


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


def _failure(error: OSError, address: Address) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer from {address}"
    if isinstance(error, ConnectionRefusedError):
        return f"connection refused by {address}"
    if error.errno in {errno.EHOSTUNREACH, errno.ENETUNREACH}:
        return f"no route to {address}"
    reason = os.strerror(error.errno) if error.errno else "unknown reason"
    return f"cannot connect to {address}: {reason}"
