"""Requests that may come twice, and must be done once: what was answered to each key is kept for a day.

Input: a tenant, the key that its client chose, and the digest of what was asked. Output: a leave to do
it, or what was answered the first time.

Of each tenant no more bytes are kept than its share: beyond it, the oldest answers are forgotten first. What
an earlier release keeps is found as well, but counts towards no share.

Each leave carries a name that stays the same when the first attempt was cut short, so that what is made
under that name is not made twice even if it is not known how far that attempt came.

Texts of one tenant that are kept in Redis for a while, no more bytes of them than its share.

Beyond the share, the oldest are forgotten first. What stands in Redis without being in the index, as an
earlier release put it there, counts towards no share, and expires.
"""

import hashlib
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from worker.broker import keys
from worker.broker.connection import broker_errors, script_text
from worker.broker.locks import LeaderLock
from worker.model.errors import SiemError
from worker.model.untrusted_json import DAMAGED

if TYPE_CHECKING:
    import redis


#: Bytes of Redis that a text takes beside itself: its key, and its place in the index.
BESIDE = 300
_REMEMBER = script_text("remember")


@dataclass(frozen=True, slots=True)
class BoundedStore:
    """Where the texts of one tenant are kept: for so many seconds, and so many bytes of them.

    `index` and `total` name what stands there, and how many bytes that takes. Every method raises
    BrokerUnavailable.
    """

    client: "redis.Redis"
    index: str
    total: str
    share: int
    seconds: int

    def put(self, place: str, text: bytes, before: int | None = None) -> None:
        """Keep the text under this key; `before` is the length of the one that stands there."""
        now_ms = time.time_ns() // 1_000_000
        sizes = (len(text) + BESIDE, 0 if before is None else before + BESIDE)
        with broker_errors():
            self.client.register_script(_REMEMBER)(
                keys=[place, self.index, self.total], args=[text, self.seconds, now_ms, self.share, *sizes]
            )

    def drop(self, place: str, length: int) -> None:
        """Keep the text, which is of this length, no longer."""
        size = length + BESIDE
        pipeline = self.client.pipeline(transaction=True)
        pipeline.delete(place)
        pipeline.zrem(self.index, f"{size}:{place}")
        with broker_errors():
            if pipeline.execute()[1]:
                self.client.decrby(self.total, size)


#: How long an answer is kept, and how long an attempt may be under way, in seconds.
KEPT, UNDER_WAY = 24 * 3600, 60.0


class KeyReused(SiemError):
    """The key was given before, with another request."""


class RequestInProgress(SiemError):
    """A request with this key is being done at this moment."""


class StoredResponse(msgspec.Struct, frozen=True):
    """What was answered: the HTTP status, some headers, and the body."""

    status: int
    headers: dict[str, str]
    body: bytes


class _Request(msgspec.Struct, frozen=True):
    digest: str
    name: str
    answer: StoredResponse | None = None


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_Request).decode


def request_digest(request: bytes) -> str:
    """Return what stands for a request that holds no secret."""
    return hashlib.sha256(request).hexdigest()


class IdempotencyLock:
    """The right to do a request, until `keep` or `give_up`. `name` is for what it makes: 16 letters or so.

    `is_first` is whether it is the first request with this key.
    """

    def __init__(
        self, shelf: BoundedStore, key: str, request: _Request, turn: LeaderLock, *, first: bool
    ) -> None:
        """Take what `Idempotency.begin` found."""
        self._shelf = shelf
        self._key = key
        self._request = request
        self._turn = turn
        self.name = request.name
        self.is_first = first

    def keep(self, answer: StoredResponse) -> None:
        """Keep the answer for a day. Raises BrokerUnavailable."""
        answered = _encode(_Request(self._request.digest, self.name, answer))
        self._shelf.put(self._key, answered, len(_encode(self._request)))
        self._turn.pass_on()

    def forget(self) -> None:
        """Let the key be used again: nothing was done. Raises BrokerUnavailable."""
        self._shelf.drop(self._key, len(_encode(self._request)))
        self._turn.pass_on()

    def give_up(self) -> None:
        """Let the same request be tried again under the same name. Raises BrokerUnavailable."""
        self._turn.pass_on()


class Idempotency:
    """The requests of all tenants that gave a key. Raises BrokerUnavailable."""

    def __init__(self, client: "redis.Redis", share: int) -> None:
        """Use the client, which may be shared between threads, and keep `share` bytes for each tenant."""
        self._client = client
        self._share = share

    def begin(
        self, tenant_id: str, purpose: str, key: str, request: bytes, signs: Sequence[str] = ()
    ) -> IdempotencyLock | StoredResponse:
        """Return a leave to do the request, or what was answered to the very same one before.

        `purpose` distinguishes what may be asked for. `signs` stand for the request: the first is kept,
        and it is known again by any of them; by its digest alone if there are none. Raises UsedForAnother,
        StillUnderWay.
        """
        signs = signs or [request_digest(request)]
        place = keys.idempotency(hashlib.sha256(_encode([tenant_id, purpose, key])).hexdigest())
        if (before := self._find(place, signs)) and before.answer:
            return before.answer
        turn = LeaderLock(self._client, f"{place}:lock", UNDER_WAY)
        if not turn.is_mine():
            raise RequestInProgress
        # It may have been done between the two looks.
        if (before := self._find(place, signs)) and before.answer:
            turn.pass_on()
            return before.answer
        asked = before or _Request(signs[0], secrets.token_hex(8))
        shelf = self._shelf_of(tenant_id)
        if before is None:
            shelf.put(place, _encode(asked))
        return IdempotencyLock(shelf, place, asked, turn, first=before is None)

    def _shelf_of(self, tenant_id: str) -> BoundedStore:
        digest = hashlib.sha256(tenant_id.encode()).hexdigest()[:32]
        return BoundedStore(self._client, *keys.idempotency_index(digest), self._share, KEPT)

    def _find(self, place: str, signs: Sequence[str]) -> _Request | None:
        with broker_errors():
            found: Any = self._client.get(place)
        if found is None:
            return None
        try:
            request = _decode(found)
        except DAMAGED:
            return None  # damaged: the answer is lost, so that it is done like a new one
        if request.digest not in signs:
            raise KeyReused
        return request
