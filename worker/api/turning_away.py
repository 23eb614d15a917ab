"""Tells a connection for which there is no room why it is closed, and lets it read that."""

import asyncio
from typing import ClassVar

from worker.api.limits import RefusalReason
from worker.api.problems import MEDIA_TYPE, Problem

#: How long what still comes is passed over, in seconds: a close at once would take the answer with it.
_LINGER = 1.0
#: So many may linger at once; those beyond are cut off.
_MOST_LINGERING = 100

_WORDS = {
    RefusalReason.CONNECTIONS_OF_ADDRESS: (
        429,
        "too many connections from your address are busy",
        "wait until some requests have ended; a proxy belongs into SIEM_API_TRUSTED_PROXIES",
    ),
    RefusalReason.CONNECTIONS: (503, "all connections are busy", "try again later"),
}


class RejectedConnection(asyncio.Protocol):
    """A connection that was answered before it asked."""

    #: How many of them are not closed yet.
    lingering: ClassVar[int] = 0

    def __init__(self, transport: asyncio.Transport, why: RefusalReason) -> None:
        """Answer it."""
        RejectedConnection.lingering += 1
        if RejectedConnection.lingering > _MOST_LINGERING:
            transport.abort()
            return
        transport.write(_answer(*_WORDS[why]))
        try:
            transport.write_eof()
        except OSError:  # it has hung up before it was answered
            transport.abort()
            return
        asyncio.get_running_loop().call_later(_LINGER, transport.abort)

    def data_received(self, data: bytes) -> None:
        """Pass over what it asks."""

    def eof_received(self) -> bool | None:
        """Close: it has read the answer."""
        return False

    def connection_lost(self, _error: Exception | None) -> None:
        """Be gone."""
        RejectedConnection.lingering -= 1


def _answer(status: int, detail: str, hint: str) -> bytes:
    response = Problem(status, detail, headers={"Retry-After": "1"}, hint=hint).response()
    phrase = {429: "Too Many Requests", 503: "Service Unavailable"}[status]
    head = [
        f"HTTP/1.1 {status} {phrase}",
        f"Content-Type: {MEDIA_TYPE}",
        f"Content-Length: {len(response.body)}",
        "Retry-After: 1",
        "Cache-Control: no-store",
        "Connection: close",
    ]
    return "\r\n".join([*head, "", ""]).encode() + bytes(response.body)
