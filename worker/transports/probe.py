"""What the way to a SIEM is like, step by step: addresses, connection, TLS handshake, certificate.

Input: a host, a port, the guard of every delivery. Output: facts, or a leaf of TransportError; what
they mean to an integration is for others to say. Nothing but the handshake is ever sent.

A second look at a server that ended a connection in TLS without a word that arrived.

libcurl does not report which certificates a server showed. And in TLS 1.3 a server judges the client's
certificate when the client is done with the handshake and sends already (RFC 8446, section 4.4.2.4): its
alert is lost behind the reset that answers what was sent. So this connects once more, and sends nothing.
"""

import contextlib
import select
import socket
import ssl
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address
from time import monotonic

from worker.integrations import TlsOptions
from worker.model.errors import (
    ConnectFailed,
    ConnectTimedOut,
    DeadlinePassed,
    InvalidIntegration,
    OutOfResources,
    TlsFailed,
    TransportError,
)
from worker.transports.certificates import Certificate, shown_chain, verified_chain
from worker.transports.deadline import NOTICE, DeadlineSocket, hang_up, within
from worker.transports.guard import Guard
from worker.transports.ranges import objection
from worker.transports.tls import client_context
from worker.transports.tls_failures import closed_behind_handshake, handshake_failure


@dataclass(frozen=True, slots=True)
class Candidate:
    """An address: why it may not be dialled, or None; `is_listed` if only the allow-list opens it."""

    ip: str
    objection: str | None
    is_listed: bool


def candidates(guard: Guard, host: str, port: int, seconds: float, *, datagrams: bool) -> list[Candidate]:
    """Look the host up and have each address judged, in the resolver's order.

    Raises NameUnknown, and ConnectTimedOut when the look-up takes longer than that.
    """
    kind = socket.SOCK_DGRAM if datagrams else socket.SOCK_STREAM
    found = guard.judged(host, port, kind, seconds)
    return [_candidate(str(address.target[0]), reason) for address, reason in found.items()]


def _candidate(ip: str, reason: str | None) -> Candidate:
    unlisted = reason or objection(ip_address(ip.partition("%")[0]), ())
    return Candidate(ip, reason, is_listed=reason is None and unlisted is not None)


@dataclass(frozen=True, slots=True)
class Handshake:
    """What TLS came to: the version, and the chain by which the server is trusted, its own certificate first.

    With a `failure` there is no version, and the chain is what the server has shown, if anything. So it is
    where nothing is verified.
    """

    version: str
    chain: tuple[Certificate, ...]
    failure: TransportError | None = None


class ProbedConnection:
    """A connection to `ip`, and TLS upon it; `missed` says which addresses before that one did not answer."""

    def __init__(self, sock: DeadlineSocket, ip: str, peer: str, missed: tuple[str, ...]) -> None:
        """Take a connected socket, and the peer's name in messages: "host:port"."""
        self.ip = ip
        self.missed = missed
        self._peer = peer
        self._socket: socket.socket = sock
        self._options = TlsOptions()

    def shake_hands(self, options: TlsOptions, host: str, seconds: float) -> Handshake:
        """Begin TLS as a delivery would. Raises InvalidIntegration when a PEM cannot be used."""
        self._options = options
        context = client_context(options)
        try:
            encrypted = context.wrap_socket(
                self._socket, server_hostname=options.server_name(host), do_handshake_on_connect=False
            )
        except (OSError, ValueError) as error:
            return Handshake("", (), handshake_failure(error, self._peer, options))
        self._socket = encrypted
        try:
            with within(seconds, self._peer):
                encrypted.do_handshake()
        except OSError as error:
            shown = shown_chain(encrypted)
            return Handshake("", shown, handshake_failure(error, self._peer, options, shown))
        except DeadlinePassed as error:
            return Handshake("", (), error)
        chain = verified_chain(encrypted) if options.verify_tls else shown_chain(encrypted)
        return Handshake(encrypted.version() or "TLS", chain)

    def hear_whether_let_in(self, seconds: float) -> bool:
        """Wait for what the server makes of us; return whether it said that we are let in.

        In TLS 1.3 it judges the client's certificate after the handshake has ended (RFC 8446, 4.4.2.4), and
        the session ticket that most servers send comes after that. Who says nothing has not refused us.
        Raises TlsFailed for a refusal, and for a connection that is closed without a word.
        """
        encrypted = self._socket
        if not isinstance(encrypted, ssl.SSLSocket) or encrypted.version() != "TLSv1.3":
            return True
        encrypted.setblocking(False)  # noqa: FBT003 - the standard library's signature
        end = monotonic() + seconds
        poll = select.poll()
        poll.register(encrypted, select.POLLIN)
        while not self._is_let_in(encrypted):
            left = end - monotonic()
            if left <= 0 or not poll.poll(left * 1000):
                return False
        return True

    def _is_let_in(self, encrypted: ssl.SSLSocket) -> bool:
        try:
            received = encrypted.recv(1)
        except ssl.SSLWantReadError:
            session = encrypted.session
            return session is not None and session.has_ticket
        except (ssl.SSLEOFError, ssl.SSLZeroReturnError, ConnectionError):
            received = b""
        except OSError as error:
            shown = shown_chain(encrypted)
            raise handshake_failure(error, self._peer, self._options, shown) from None
        if not received:
            raise closed_behind_handshake(self._peer, self._options)
        return True

    def close(self) -> None:
        """Hang up, and give the other side a moment to notice: it may take one connection at a time."""
        hang_up(self._socket, NOTICE)


def connect_first(guard: Guard, host: str, ips: Sequence[str], port: int, seconds: float) -> ProbedConnection:
    """Connect to the first of these addresses that answers, each with a fair share of the time.

    Raises ConnectFailed, or ConnectTimedOut when every one of them stays silent; and AddressRefused.
    """
    failures: list[ConnectFailed | ConnectTimedOut] = []
    end = monotonic() + seconds
    for shares, ip in zip(range(len(ips), 0, -1), ips, strict=True):
        try:
            sock = guard.dial(ip, port, max(0.0, end - monotonic()) / shares)
        except (ConnectFailed, ConnectTimedOut) as error:
            failures.append(error)
        else:
            return ProbedConnection(sock, ip, _peer(host, port), tuple(map(str, failures)))
    ours = next((failure for failure in failures if isinstance(failure, OutOfResources)), None)
    if ours is not None or len(failures) == 1:
        raise ours or failures[0]
    silent = all(isinstance(failure, ConnectTimedOut) for failure in failures)
    raise (ConnectTimedOut if silent else ConnectFailed)("; ".join(map(str, failures)))


def speaks_tls(guard: Guard, host: str, port: int, seconds: float) -> bool:
    """Whether TLS is spoken on this port; whose certificate it is does not matter.

    To be asked only of a peer that hung up on plain text: it would log our half of a handshake.
    """
    with suppress(TransportError, OSError):
        context = client_context(TlsOptions(verify_tls=False))
        with (
            within(seconds, _peer(host, port)),
            guard.dial(host, port, seconds) as plain,
            context.wrap_socket(
                plain, server_hostname=host.rstrip("."), do_handshake_on_connect=False
            ) as encrypted,
        ):
            return _shakes_hands(encrypted)
    return False


def _shakes_hands(encrypted: ssl.SSLSocket) -> bool:
    try:
        encrypted.do_handshake()
    except ssl.SSLError as error:
        # A server that refuses us in TLS speaks it: it may want a client's certificate.
        return "ALERT" in (error.reason or "")
    return True


def _peer(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


#: What was found holds for so many seconds, so that a batch costs one look and not one for each request.
_FRESH = 10.0
#: No look takes longer, in seconds.
_LONGEST = 1.5


class TlsInquiry:
    """Finds out why one server refuses TLS with one set of options; shared by the threads of a process."""

    def __init__(self, guard: Guard, options: TlsOptions, host: str, port: int) -> None:
        """Dial nothing yet."""
        self._guard = guard
        self._options = options
        self._host = host
        self._port = port
        self._lock = threading.Lock()
        self._until = 0.0
        self._found: TlsFailed | None = None

    def refusal(self, seconds: float) -> TlsFailed | None:
        """Return why TLS fails there, or None if it does not, or for another reason than TLS.

        Takes up to that many seconds, and never more than one and a half.
        """
        with self._lock:
            if time.monotonic() >= self._until:
                self._found = self._look(min(seconds, _LONGEST))
                self._until = time.monotonic() + _FRESH
            return self._found

    def _look(self, seconds: float) -> TlsFailed | None:
        end = time.monotonic() + seconds
        with contextlib.suppress(TransportError, InvalidIntegration, OSError):
            made = connect_first(self._guard, self._host, [self._host], self._port, seconds)
            with contextlib.closing(made):
                return self._hear(made, end)
        return None

    def _hear(self, made: ProbedConnection, end: float) -> TlsFailed | None:
        handshake = made.shake_hands(self._options, self._host, max(0.0, end - time.monotonic()))
        if handshake.failure is not None:
            return handshake.failure if isinstance(handshake.failure, TlsFailed) else None
        try:
            made.hear_whether_let_in(max(0.0, end - time.monotonic()))
        except TlsFailed as refusal:
            return refusal
        return None
