"""What one request takes of this process while it is under way: a place, and the memory for its body.

It counts for the address that it came from until its key is known, then for the key and its tenant. Each has
a share (`worker.api.limits`): who has used it is refused, in words, and no other is. A tenant has no more
than what is free, one key of it no more than half of that.
"""

from collections.abc import Hashable, Sequence
from typing import NamedTuple

from fastapi import Request
from starlette.types import Scope

from worker.api.limits import RefusalReason, Shares, note_refusal, origin_of
from worker.api.problems import Problem
from worker.model.api_keys import ApiKey

#: Where the load of a request stands in its scope.
_SCOPE = "siem.load"
#: Bodies without a key have, beside those with one, one of so many parts of their memory.
_WITHOUT_KEY = 8
#: The largest body of a request whose key is not known, in bytes: that of a form whose sender must sign in.
MOST_WITHOUT_KEY = 256 << 10


class _Holder(NamedTuple):
    kind: str
    name: str
    #: It may have one of so many parts of what is free.
    parts: int


class _Shared:
    """What requests with a key share, or those without one: places, and bytes of bodies."""

    def __init__(self, requests: int, body_bytes: int) -> None:
        self.requests = Shares(requests)
        self.bytes = Shares(body_bytes)


class Loads:
    """All requests of one process that are under way."""

    def __init__(self, requests: int, body_bytes: int) -> None:
        """Share out so many requests, and bytes of bodies; what comes without a key has none of them."""
        self.with_key = _Shared(requests, body_bytes)
        self.without_key = _Shared(requests, max(body_bytes // _WITHOUT_KEY, 16 * MOST_WITHOUT_KEY))

    def begin(self, scope: Scope) -> "Load":
        """Return the load of a request that has just come."""
        client = scope.get("client")
        load = Load(self, origin_of(client[0] if client else None))
        scope[_SCOPE] = load
        return load


class Load:
    """One request; `end` it."""

    def __init__(self, loads: Loads, origin: str) -> None:
        """Begin with no body, and count for an address."""
        self.size = 0
        self.has_key = False
        self._loads = loads
        self._shared = loads.without_key
        self._holders: Sequence[_Holder] = (_Holder("address", origin, 1),)
        self._take()

    def refuse_if_crowded(self) -> None:
        """Raise a Problem, 429, if there are too many requests of its tenant or address."""
        if self._exceeds(self._shared.requests):
            why = RefusalReason.REQUESTS_OF_KEY if self.has_key else RefusalReason.REQUESTS_OF_ADDRESS
            words = f"too many requests of your {self._kind} are under way"
            raise self._refused(why, words, "wait until some have ended")

    def belongs_to(self, key: ApiKey) -> None:
        """Count for this key from now on. Raises a Problem, 429, when that has used its share."""
        self.end()
        self._shared = self._loads.with_key
        self._holders = (_Holder("tenant", key.tenant_id, 1), _Holder("key", key.id, 2))
        self.has_key = True
        self._take()
        self.refuse_if_crowded()

    def grow(self, size: int) -> None:
        """Hold so many bytes more. Raises a Problem, 429, when that is too much."""
        if not self._holders:
            return  # it is refused, and what still comes is dropped
        self.size += size
        self._shared.bytes.take(size, self._holders)
        if self._exceeds(self._shared.bytes):
            why = RefusalReason.BODIES_OF_KEY if self.has_key else RefusalReason.BODIES_OF_ADDRESS
            words = f"the requests of your {self._kind} that are under way hold too much memory"
            raise self._refused(why, words, "send less at once, or wait until some have ended")

    def end(self) -> None:
        """Hold nothing any more."""
        holders: Sequence[Hashable] = self._holders
        self._holders = ()
        if holders:
            self._shared.requests.give_back(1, holders)
            self._shared.bytes.give_back(self.size, holders)

    @property
    def _kind(self) -> str:
        return self._holders[0].kind

    def _exceeds(self, shares: Shares) -> bool:
        return any(shares.exceeds(one, one.parts) for one in self._holders)

    def _take(self) -> None:
        self._shared.requests.take(1, self._holders)
        self._shared.bytes.take(self.size, self._holders)

    def _refused(self, why: RefusalReason, detail: str, hint: str) -> Problem:
        """Let go at once, so that others are not refused while this is only logged; return what to log."""
        note_refusal(why, ", ".join(f"{one.kind} {one.name}" for one in self._holders))
        self.end()
        return Problem(429, detail, headers={"Retry-After": "1"}, hint=hint)


def load_of(request: Request) -> Load:
    """Return the load of this request."""
    load: Load = request.scope[_SCOPE]
    return load
