"""How `requests` is made to connect by our rules: its adapter, with urllib3's pools and connections below.

A prepared request comes in, an unread response goes out. The guard makes every connection, our TLS
context alone decides which CAs to trust, and nothing is tried twice.
"""

import contextlib
import functools
import ssl
import threading
from collections.abc import Callable, Iterator
from queue import LifoQueue
from time import monotonic
from typing import Any

from requests import PreparedRequest
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.util.connection import is_connection_dropped

from worker.integrations import TlsOptions
from worker.model.errors import ConnectTimedOut
from worker.transports.certificates import shown_chain, shown_end
from worker.transports.deadline import DeadlineSocket, seconds_left
from worker.transports.guard import Guard, Lifetime
from worker.transports.http_response import FinalResponse
from worker.transports.resolver import LOOK_UP_TIMEOUT
from worker.transports.tls_failures import handshake_failure

#: How often a pool looks at the connections that rest, in seconds.
_LOOK_EVERY = 15.0

ContextSource = Callable[[], ssl.SSLContext]


class GuardedAdapter(HTTPAdapter):
    """Sends prepared requests over connections of the guard; keeps `connections` open per host.

    `context` is asked for the TLS context at every new connection, and only for https.
    """

    def __init__(self, guard: Guard, tls: TlsOptions, context: ContextSource, connections: int) -> None:
        """Keep no connection yet. More threads than `connections` do not wait: theirs are not kept."""
        super().__init__(pool_connections=connections, pool_maxsize=connections, max_retries=0)
        self.poolmanager.pool_classes_by_scheme = {
            "http": functools.partial(_PlainPool, guard=guard),
            "https": functools.partial(_TlsPool, guard=guard, tls=tls, context=context),
        }

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
        """Leave the pool alone: requests would load roots of its own here."""

    def build_connection_pool_key_attributes(
        self, request: PreparedRequest, verify: Any, cert: Any = None
    ) -> tuple[Any, Any]:
        """Distinguish pools by scheme, host and port, and not by TLS settings of requests."""
        origin, _ = super().build_connection_pool_key_attributes(request, verify, cert)
        return origin, {}


class _PlainConnection(HTTPConnection):
    """Dials through the guard; the URL's host stays in the Host header."""

    response_class = FinalResponse

    def __init__(self, *args: Any, guard: Guard, **options: Any) -> None:
        super().__init__(*args, **options)
        self._guard = guard
        self.lifetime: Lifetime | None = None

    def _new_conn(self) -> DeadlineSocket:
        sock, self.lifetime = _dialled(self._guard, self)
        return sock


class _TlsConnection(HTTPSConnection):
    """Dials through the guard; the certificate must carry the URL's host, or the name that is configured."""

    response_class = FinalResponse

    def __init__(
        self, *args: Any, guard: Guard, tls: TlsOptions, context: ContextSource, **options: Any
    ) -> None:
        super().__init__(*args, **options)
        self._guard = guard
        self._tls = tls
        self._context = context
        self.lifetime: Lifetime | None = None

    def connect(self) -> None:
        """Shake hands by our context; urllib3 would alter it and add roots of its own."""
        context = self._context()
        peer = f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"
        encrypted: ssl.SSLSocket | None = None
        plain, self.lifetime = _dialled(self._guard, self)
        self.sock = plain
        try:
            # A handshake inside wrap_socket would leave the socket open when the deadline cuts it.
            self.sock = encrypted = context.wrap_socket(
                plain, server_hostname=self._tls.server_name(self.host), do_handshake_on_connect=False
            )
            encrypted.do_handshake()
            if (ends := shown_end(encrypted)) is not None:
                self._guard.note_certificate(ends)
        except ConnectTimedOut:
            # Not another address now: the time is over. But the next attempt begins with another one.
            self._guard.note_silent(self.lifetime.ip, self.port)
            raise
        except (OSError, ValueError) as error:
            shown = shown_chain(encrypted) if encrypted is not None else ()
            raise handshake_failure(error, peer, self._tls, shown) from None


class _Pin:
    """One thread's wish to stay with one address: the address, and the connection that is kept for it."""

    def __init__(self) -> None:
        self.ip = ""
        self._pool: _RenewingPool | None = None
        self._connection: Any = None

    def take(self, pool: "_RenewingPool") -> Any:
        """Return the connection that was kept, or None if there is none to this pool's origin."""
        connection = self._connection if self._pool is pool else None
        if connection is None:
            self.let_go()
        self._pool = self._connection = None
        return connection

    def keep(self, pool: "_RenewingPool", connection: Any) -> None:
        """Keep it for the thread's next request."""
        self.let_go()
        self._pool, self._connection = pool, connection

    def let_go(self) -> None:
        """Leave the connection to the other threads."""
        if self._pool is not None:
            self._pool.take_back(self._connection)
        self._pool = self._connection = None

    def allows(self, connection: Any) -> bool:
        """Whether a connection from the pool leads to the address; the first one says which that is."""
        self.ip = self.ip or connection.lifetime.ip
        return bool(connection.lifetime.ip == self.ip)


class _Thread(threading.local):
    dials = 0
    pin: _Pin | None = None


_thread = _Thread()


def dial_count() -> int:
    """Return how many connections the running thread has dialled here so far."""
    return _thread.dials


@contextlib.contextmanager
def pinned() -> Iterator[None]:
    """Let all requests of the running thread go to one address while it answers, over one connection.

    For what only the server knows that took an earlier request. A connection is not renewed meanwhile.
    """
    _thread.pin = pin = _Pin()
    try:
        yield
    finally:
        _thread.pin = None
        pin.let_go()


def _dialled(guard: Guard, connection: HTTPConnection) -> tuple[DeadlineSocket, Lifetime]:
    _thread.dials += 1
    pin = _thread.pin
    # `host` has lost the dot at its end, which means something to the resolver; `_dns_host` has not.
    host = connection._dns_host  # noqa: SLF001 - as in urllib3's own _new_conn
    left = seconds_left()
    timeout = LOOK_UP_TIMEOUT if left is None else left
    sock = guard.dial(host, connection.port, timeout, first=pin.ip if pin else "")
    if pin is not None:
        pin.ip = sock.peer_ip
    return sock, guard.lifetime(host, connection.port, sock.peer_ip)


class _RenewingPool(HTTPConnectionPool):
    """Uses no connection that has had its time, and closes those that rest: nothing is under way on them."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._next_look = monotonic() + _LOOK_EVERY

    def _get_conn(self, timeout: float | None = None) -> Any:
        pin = _thread.pin
        connection: Any = pin.take(self) if pin is not None else None
        if connection is not None:
            if is_connection_dropped(connection):
                connection.close()
            return connection
        connection = super()._get_conn(timeout)
        if not connection.is_closed and (
            connection.lifetime.is_over() or not (pin is None or pin.allows(connection))
        ):
            connection.close()
        return connection

    def _put_conn(self, conn: Any) -> None:
        pin = _thread.pin
        if pin is None or conn is None:
            self.take_back(conn)
        else:
            pin.keep(self, conn)

    def take_back(self, connection: Any) -> None:
        """Keep a connection for whichever thread comes next."""
        super()._put_conn(connection)
        if monotonic() >= self._next_look and self.pool is not None:
            self._next_look = monotonic() + _LOOK_EVERY
            self._close_resting(self.pool)

    def _close_resting(self, pool: "LifoQueue[Any]") -> None:
        """Close those that were not taken recently, for there are newer ones; they stay in their places."""
        with pool.mutex:  # so that no thread takes one meanwhile
            for connection in filter(None, pool.queue):
                if not connection.is_closed and connection.lifetime.is_over(waits=False):
                    connection.close()


class _PlainPool(_RenewingPool):
    ConnectionCls = _PlainConnection


class _TlsPool(_RenewingPool, HTTPSConnectionPool):
    ConnectionCls = _TlsConnection

    def _validate_conn(self, conn: Any) -> None:
        """Connect; urllib3 would warn of unverified certificates at every connection."""
        if conn.is_closed:
            conn.connect()
