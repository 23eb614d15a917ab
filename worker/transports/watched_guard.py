"""A guard that keeps an eye on what it has connected, so that the other side's reaction can be seen.

A syslog receiver that has gone, or that waits for TLS, hangs up only after the sender has left; a UDP port
where nobody listens answers by ICMP, a round trip later.
"""

import select
import socket
from enum import Enum, auto

from worker.transports.addresses import Address
from worker.transports.deadline import DeadlineSocket
from worker.transports.guard import Guard


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
        # Past the deadlines of its class, and without taking anything from whoever uses it.
        received = socket.socket.recv(sock, 1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except ConnectionRefusedError:
        return PeerReaction.REFUSED
    except OSError:
        return PeerReaction.HUNG_UP
    return PeerReaction.ANSWERED if received else PeerReaction.HUNG_UP
