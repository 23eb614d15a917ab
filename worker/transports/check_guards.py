"""Guards of the doctor: one judges as all workers of a type do, one watches what comes of a connection.

For who tests an integration in their place: what one of them refuses is refused here, and what all allow is
open, whatever the own environment allows; but for loopback, which is another machine's there.

A guard that keeps an eye on what it has connected, so that the other side's reaction can be seen.

A syslog receiver that has gone, or that waits for TLS, hangs up only after the sender has left; a UDP port
where nothing listens answers by ICMP, a round trip later.
"""

import select
import socket
from collections.abc import Callable
from enum import Enum, auto
from ipaddress import ip_address

from worker.model.allowed_networks import AllowedNetworks, hosts_of
from worker.transports.deadline import DeadlineSocket
from worker.transports.dialer import Address
from worker.transports.guard import Guard
from worker.transports.ranges import NO_HINT, IpAddress, objection

_LIST_IT = "list its network in their SIEM_ALLOWED_NETWORKS"


class FleetGuard(Guard):
    """Judges by what the workers report, and by the own setting where none does."""

    def __init__(self, reach: AllowedNetworks) -> None:
        """Keep what they report."""
        super().__init__(reach.own)
        self._reach = reach
        self.basis = reach.basis

    def _objection(self, address: Address) -> str | None:
        # A scope (fe80::1%eth0) says which interface, not which address.
        return fleet_objection(ip_address(address.target[0].partition("%")[0]), self._reach)


def fleet_objection(address: IpAddress, reach: AllowedNetworks) -> str | None:
    """Return why the workers may not dial the address and what would help, or None if all may."""
    telling = reach.telling
    if not telling:
        return objection(address, reach.own)
    refusing = [(one, said) for one in telling if (said := objection(address, one.networks or ()))]
    if refusing:
        name, _, hint = refusing[0][1].partition(": ")
        if hint == NO_HINT:
            return refusing[0][1]
        hosts = hosts_of([one for one, _ in refusing])
        return f"{name} that the workers on {hosts} do not allow: {_LIST_IT}"
    if address.is_loopback and not any(one.is_here for one in telling) and objection(address, reach.own):
        hosts = hosts_of(telling)
        return f"is a loopback address, which is another machine's for the workers on {hosts}: test it there"
    return None


def address_warning(host: str, ask: Callable[[], AllowedNetworks]) -> str | None:
    """Return what keeps workers from an integration whose url has this host, or None.

    Only of an address, for what a name leads to changes; `ask` is called for one that is not public.
    """
    address = literal(host)
    if address is None or (reason := objection(address, ())) is None:
        return None
    reach = ask()
    name, _, hint = reason.partition(": ")
    if hint == NO_HINT:
        return f"{host} {reason}"
    if reach.why_own:
        must = "nothing is sent there unless the workers' SIEM_ALLOWED_NETWORKS lists its network"
        return f"{host} {name}: {must}; {reach.why_own}"
    refusing = [one for one in reach.telling if objection(address, one.networks or ())]
    if not refusing:
        return None
    until = "nothing is sent there until their SIEM_ALLOWED_NETWORKS lists its network"
    return f"{host} {name} that the workers on {hosts_of(refusing)} do not allow: {until}"


def literal(host: str) -> IpAddress | None:
    """Return the address that a host is written as, if it is no name."""
    if host == "localhost":
        return ip_address("127.0.0.1")
    try:
        return ip_address(host)
    except ValueError:
        return None


class PeerReaction(Enum):
    """What the other side did with a connection in plain text on which it had been sent something."""

    NONE = auto()
    ANSWERED = auto()
    HUNG_UP = auto()
    REFUSED = auto()


class WatchedGuard(Guard):
    """Judges as another guard does, and remembers the socket that it handed out last. For one thread."""

    def __init__(self, guard: Guard) -> None:
        """Judge as that one does."""
        super().__init__(())
        self._judge = guard
        self._dialled: _WatchedSocket | None = None

    def reaction(self, seconds: float) -> PeerReaction:
        """Wait that long for a reaction on the last connection; NONE once it is closed, or encrypted."""
        sock = self._dialled
        if sock is None:
            return PeerReaction.NONE
        if sock.was_answered:
            return PeerReaction.ANSWERED
        if sock.fileno() < 0:
            return PeerReaction.NONE
        poll = select.poll()
        poll.register(sock, select.POLLIN)
        if not poll.poll(seconds * 1000):
            return PeerReaction.NONE
        return _look(sock)

    def _objection(self, address: Address) -> str | None:
        return self._judge.judge(address)

    def _dial(
        self, host: str, port: int, kind: socket.SocketKind, timeout: float, first: str = ""
    ) -> DeadlineSocket:
        sock = super()._dial(host, port, kind, timeout, first)
        watched = _WatchedSocket(sock.family, sock.type, sock.proto, fileno=sock.detach())
        watched.settimeout(timeout)
        watched.peer_ip = sock.peer_ip
        self._dialled = watched
        return watched


class _WatchedSocket(DeadlineSocket):
    """Notes that something has come: a sender of syslog reads it off and thinks no more of it."""

    was_answered = False

    def receive_at_once(self, most: int) -> bytes:
        received = super().receive_at_once(most)
        self.was_answered |= bool(received)
        return received


def _look(sock: socket.socket) -> PeerReaction:
    try:
        # Past the deadlines of its class, and without taking anything from its user.
        received = socket.socket.recv(sock, 1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except ConnectionRefusedError:
        return PeerReaction.REFUSED
    except OSError:
        return PeerReaction.HUNG_UP
    return PeerReaction.ANSWERED if received else PeerReaction.HUNG_UP
