"""How `requests` is made to connect by our rules: its adapter, with urllib3's pools and connections below.

A prepared request comes in, an unread response goes out. The guard makes every connection, our TLS
context alone decides whom to trust, and nothing is tried twice.
"""

import functools
import ssl
import threading
from collections.abc import Callable
from typing import Any

from requests import PreparedRequest
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from worker.model.destinations import TlsOptions
from worker.transports.certificates import shown_chain
from worker.transports.deadline import DeadlineSocket, seconds_left
from worker.transports.guard import LOOK_UP_TIMEOUT, Guard
from worker.transports.http_head import FinalResponse
from worker.transports.tls_failures import handshake_failure

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
        """Tell pools apart by scheme, host and port, and not by TLS settings of requests."""
        origin, _ = super().build_connection_pool_key_attributes(request, verify, cert)
        return origin, {}


class _PlainConnection(HTTPConnection):
    """Dials through the guard; the URL's host stays in the Host header."""

    response_class = FinalResponse

    def __init__(self, *args: Any, guard: Guard, **options: Any) -> None:
        super().__init__(*args, **options)
        self._guard = guard

    def _new_conn(self) -> DeadlineSocket:
        return _dialled(self._guard, self)


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

    def connect(self) -> None:
        """Shake hands by our context; urllib3 would alter it and add roots of its own."""
        context = self._context()
        peer = f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"
        encrypted: ssl.SSLSocket | None = None
        self.sock = plain = _dialled(self._guard, self)
        try:
            # A handshake inside wrap_socket would leave the socket open when the deadline cuts it.
            self.sock = encrypted = context.wrap_socket(
                plain, server_hostname=self._tls.server_name(self.host), do_handshake_on_connect=False
            )
            encrypted.do_handshake()
        except (OSError, ValueError) as error:
            shown = shown_chain(encrypted) if encrypted is not None else ()
            raise handshake_failure(error, peer, self._tls, shown) from None


class _Dials(threading.local):
    count = 0


_dials = _Dials()


def dial_count() -> int:
    """Return how many connections the running thread has dialled here so far."""
    return _dials.count


def _dialled(guard: Guard, connection: HTTPConnection) -> DeadlineSocket:
    _dials.count += 1
    # `host` has lost the dot at its end, which means something to the resolver; `_dns_host` has not.
    host = connection._dns_host  # noqa: SLF001 - as in urllib3's own _new_conn
    left = seconds_left()
    return guard.dial(host, connection.port, LOOK_UP_TIMEOUT if left is None else left)


class _PlainPool(HTTPConnectionPool):
    ConnectionCls = _PlainConnection


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _TlsConnection

    def _validate_conn(self, conn: Any) -> None:
        """Connect; urllib3 would warn of unverified certificates at every connection."""
        if conn.is_closed:
            conn.connect()
