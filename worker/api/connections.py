"""How many connections there may be, which one is closed for another, and how one is refused.

An address may have as many as are still free (`worker.api.limits`). Beyond that its oldest idle connection
makes room for its new one; idle is one that has had no request under way and no answer to take for `GRACE`,
a half-sent head included. If all of them are busy, the new one is refused. A proxy of ours has no share, for
its connections are those of others: what its clients do is counted by request (`worker.api.load`).
"""

import asyncio
from collections.abc import Iterable, Sequence
from ipaddress import ip_address
from typing import ClassVar, Protocol

from worker.api.limits import UNKNOWN, RefusalReason, Shares, note_refusal, origin_of
from worker.api.problems import MEDIA_TYPE, Problem
from worker.settings import Network

#: A connection that has been idle for less may have a request on its way, in seconds.
GRACE = 0.25


class ServedConnection(Protocol):
    """One of them: when it became idle, on the clock of the event loop, or None while it is busy."""

    idle_since: float | None

    def make_room(self) -> None:
        """End an idle connection."""
        ...


class ConnectionLimit:
    """The connections of one process."""

    def __init__(self, most: int, trusted: Sequence[Network]) -> None:
        """Have room for so many; connections from these networks are a proxy's."""
        self._shares = Shares(most)
        self._trusted = trusted
        self._of: dict[str, dict[ServedConnection, None]] = {}
        self._origins: dict[ServedConnection, str] = {}

    def enter(self, one: ServedConnection, host: str) -> RefusalReason | None:
        """Let a new connection in, or return why there is no room for it."""
        origin, is_proxy = origin_of(host), self._is_trusted(host)
        self._take(one, origin)
        if not is_proxy and self._shares.exceeds(origin) and not self._end_idle(self._of[origin], one):
            return self._refuse(one, RefusalReason.CONNECTIONS_OF_ADDRESS, f"address {origin}")
        if self._shares.is_overdrawn and not self._end_idle(self._origins, one):
            return self._refuse(one, RefusalReason.CONNECTIONS, "all callers")
        return None

    def leave(self, one: ServedConnection) -> None:
        """Take a connection out that has ended, if it is in."""
        origin = self._origins.pop(one, None)
        if origin is None:
            return
        self._shares.give_back(1, [origin])
        del self._of[origin][one]
        if not self._of[origin]:
            del self._of[origin]

    def _take(self, one: ServedConnection, origin: str) -> None:
        self._shares.take(1, [origin])
        self._origins[one] = origin
        self._of.setdefault(origin, {})[one] = None

    def _refuse(self, one: ServedConnection, why: RefusalReason, who: str) -> RefusalReason:
        self.leave(one)
        note_refusal(why, who)
        return why

    def _end_idle(self, among: Iterable[ServedConnection], new: ServedConnection) -> bool:
        """End the one that has been idle for longest; return whether there was one."""
        # The new one has just become idle: its clock is that of all.
        until = (new.idle_since or 0.0) - GRACE
        idle = [one for one in among if one.idle_since is not None and one.idle_since <= until]
        if not idle:
            return False
        oldest = min(idle, key=lambda one: one.idle_since or 0.0)
        self.leave(oldest)
        oldest.make_room()
        return True

    def _is_trusted(self, host: str) -> bool:
        if origin_of(host) == UNKNOWN:
            return False
        address = ip_address(host.partition("%")[0])
        return any(address in network for network in self._trusted)


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
