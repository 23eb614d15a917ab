"""Where requests go, what is the same in all of them, and what the other side speaks."""

from dataclasses import dataclass
from typing import Any

from worker.transports.probe import TlsInquiry


@dataclass(slots=True)
class Dialect:
    """What the other side speaks.

    `is_shared`: whether requests share a connection, as in HTTP/2; None until the first answer.
    `only_http1`: it has asked for HTTP/1.1 (RFC 9113, section 7: HTTP_1_1_REQUIRED).
    """

    is_shared: bool | None
    only_http1: bool = False

    def learn(self, *, is_shared: bool) -> None:
        """Take what an answer came by."""
        self.is_shared = is_shared and not self.only_http1

    def require_http1(self) -> None:
        """Speak HTTP/1.1 from now on."""
        self.only_http1 = True
        self.is_shared = False


@dataclass(frozen=True, slots=True)
class Route:
    """Where requests go, and what is the same in all of them; `peer` is "host:port".

    `tls` says why TLS fails there, which libcurl often does not; None where there is none.
    """

    host: str
    port: int
    peer: str
    encrypts: bool
    headers: tuple[str, ...]
    options: list[tuple[int, Any]]
    dialect: Dialect
    tls: TlsInquiry | None = None
    #: Whether libcurl ends a request whose time is over; else it ends those that do not get a connection, and
    #: the caller all others.
    times_out: bool = True
    #: Request line and headers as they go over HTTP/1.1, without the empty line behind them, where requests
    #: are written here.
    head: bytes = b""
