"""Who knocks: an API key becomes a caller, with a tenant and a role, or is turned away.

Input: the text of a key and the address that it came from. Output: an ApiKey. A right key is never
refused for the wrong ones of others: it is looked at before anything is said of its address, and only
failures are limited. What a wrong one costs is bounded by the way it is looked up (`worker.api.key_lookups`).
"""

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

from worker.api.key_lookups import KeyLookups
from worker.api.limits import RefusalReason, note_refusal, origin_of
from worker.broker.api_keys import FoundKey
from worker.model.api_keys import NO_DIGEST, ApiKey, key_id_of, matches
from worker.model.errors import SiemError

#: So many failures in so many seconds, and wrong texts of that key from that address are answered 429 until
#: they are over; after so many of whatever keys, every wrong text from there.
MOST_FAILURES, MOST_OF_ADDRESS, FAILURE_SECONDS = 20, 200, 60.0
#: How many who failed are remembered at the most.
_MOST_REMEMBERED = 10_000
#: In the place of a key's id, which has sixteen digits.
_ANY_KEY = "*"


class UnknownKey(SiemError):
    """The API key is unknown, or was revoked."""


class TooManyFailures(SiemError):
    """Too many wrong API keys came from this address, and this one is wrong as well."""

    def __init__(self, retry_after: float) -> None:
        """Say in how many seconds it is worth another try."""
        super().__init__()
        self.retry_after = retry_after


class _Failures(NamedTuple):
    number: int
    since: float


class Throttle:
    """How often something may happen under a name; beyond that, it is not worth its record."""

    def __init__(self, most: int, seconds: float, clock: Callable[[], float]) -> None:
        """Allow it so often in so many seconds."""
        self._most, self._seconds, self._clock = most, seconds, clock
        self._seen: OrderedDict[str, _Failures] = OrderedDict()

    def allows(self, name: str) -> bool:
        """Count it, and return whether it may happen."""
        now = self._clock()
        before = self._seen.pop(name, _Failures(0, now))
        if now - before.since >= self._seconds:
            before = _Failures(0, now)
        self._seen[name] = _Failures(before.number + 1, before.since)
        if len(self._seen) > _MOST_REMEMBERED:
            self._seen.popitem(last=False)
        return before.number < self._most


class Access:
    """Recognises callers; all of it happens in one event loop."""

    def __init__(self, lookups: KeyLookups, clock: Callable[[], float] = time.monotonic) -> None:
        """Look keys up there; the clock returns seconds."""
        self._lookups = lookups
        self._clock = clock
        self._failures: OrderedDict[tuple[str, str], _Failures] = OrderedDict()
        #: Of each key, which sign-ins the audit trail has, and which that were refused.
        self.sign_ins, self.refusals = Throttle(60, 3600.0, clock), Throttle(1, 60.0, clock)

    async def admit(self, text: str, address: str) -> ApiKey:
        """Return the key of this text. Raises UnknownKey, TooManyFailures, LedgerUnavailable, SchemaOutdated.

        Failures count for an address and the key that was named, and, so that no one goes from one to the
        next, for the address.
        """
        key_id = key_id_of(text)
        found = await self._lookups.find(key_id) if key_id else None
        key = _key_of(text, found)
        if key is None:
            raise self._failure(origin_of(address), key_id or "")
        return key

    def refused_key(self, text: str) -> tuple[str, ApiKey | None] | None:
        """Return which key a wrong text has just named, with its id; None if there is or was none such.

        A key that was revoked has an id alone.
        """
        key_id = key_id_of(text)
        found = self._lookups.remembered(key_id) if key_id else None
        return (key_id, found.key) if key_id and found else None

    async def standing(self, key_id: str) -> ApiKey | None:
        """Return the key of a session, unless it was revoked. Raises LedgerUnavailable, SchemaOutdated."""
        found = await self._lookups.find(key_id)
        return found.key if found else None

    def _failure(self, origin: str, key_id: str) -> UnknownKey | TooManyFailures:
        """Note a failure, and return what to say to it."""
        bearer, address = (origin, key_id), (origin, _ANY_KEY)
        left = max(self._barred_for(bearer, MOST_FAILURES), self._barred_for(address, MOST_OF_ADDRESS))
        self._note(bearer)
        self._note(address)
        if left <= 0:
            return UnknownKey()
        note_refusal(RefusalReason.WRONG_KEYS, f"address {origin}")
        return TooManyFailures(left)

    def _barred_for(self, bearer: tuple[str, str], most: int) -> float:
        failures = self._failures.get(bearer)
        if failures is None or failures.number < most:
            return 0.0
        return failures.since + FAILURE_SECONDS - self._clock()

    def _note(self, bearer: tuple[str, str]) -> None:
        now = self._clock()
        before = self._failures.pop(bearer, _Failures(0, now))
        if now - before.since >= FAILURE_SECONDS:
            before = _Failures(0, now)
        self._failures[bearer] = _Failures(before.number + 1, before.since)
        if len(self._failures) > _MOST_REMEMBERED:
            self._failures.popitem(last=False)


def _key_of(text: str, found: FoundKey | None) -> ApiKey | None:
    """Return the key if it stands and this is its text; to find out takes as long for a near miss."""
    is_it = matches(text, found.digest if found else NO_DIGEST)
    return found.key if found and is_it else None
