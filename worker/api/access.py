"""Who knocks: an API key becomes a caller, with a tenant and a role, or is turned away.

Comes in: the text of a key and the address that it came from. Goes out: an ApiKey. Keys that were recognised
are remembered for some seconds. While the database is away, the copy of the keys in Redis decides, so that
events can be published meanwhile, after a restart as well.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

from worker.broker.key_copy import Found
from worker.model.api_keys import ApiKey, digest_of, id_in, matches
from worker.model.errors import BrokerUnavailable, LedgerUnavailable, SchemaOutdated, SiemError

#: A key that was recognised is not looked up again for so long: it may open for so long after it was revoked.
#: While the database is away and Redis has no copy of the keys (no recorder of this release made one), it
#: opens for `AWAY`. Both in seconds.
REMEMBERED, AWAY = 5.0, 3600.0
#: So many failures in so many seconds, and a bearer at that address is not listened to until they are over;
#: after so many of whatever bearers, nobody at that address whose key has not been recognised lately.
MOST_FAILURES, MOST_OF_ADDRESS, FAILURE_SECONDS = 20, 200, 60.0
#: How many keys, and how many who failed, are remembered at the most.
_MOST_REMEMBERED = 10_000
#: In the place of a key's id, which has sixteen digits.
_EVERYBODY = "*"


class UnknownKey(SiemError):
    """The API key is unknown, or was revoked."""


class TooManyFailures(SiemError):
    """Too many wrong API keys came from this address."""

    def __init__(self, retry_after: float) -> None:
        """Say in how many seconds it is worth another try."""
        super().__init__()
        self.retry_after = retry_after


class _Known(NamedTuple):
    key: ApiKey
    looked_up: float
    #: When the database was asked last, even if it did not answer: while it hangs, not each request waits.
    asked: float


class _Failures(NamedTuple):
    number: int
    since: float


class _Outage(NamedTuple):
    """The database was away when it was asked last, for this reason; it is not asked again before `until`."""

    error: LedgerUnavailable | SchemaOutdated
    until: float


class Access:
    """Recognises callers; may be shared between threads."""

    def __init__(
        self,
        recognise: Callable[[str], ApiKey | None],
        copied: Callable[[str], Found | None],
        note: Callable[[Exception], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Look keys up by their text in the ledger, by their id in the copy; the clock tells seconds.

        `recognise` may raise LedgerUnavailable and SchemaOutdated, `copied` BrokerUnavailable; `note` takes
        these errors where callers are let in all the same.
        """
        self._recognise = recognise
        self._copied = copied
        self._note = note
        self._clock = clock
        self._outage: _Outage | None = None
        self._lock = threading.Lock()
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._failures: OrderedDict[tuple[str, str], _Failures] = OrderedDict()

    def admit(self, text: str, address: str) -> ApiKey:
        """Return the key of this text. Raises UnknownKey, TooManyFailures, LedgerUnavailable, SchemaOutdated.

        Failures count for an address and the key that was named, and, so that nobody goes from one to the
        next, for the address: neighbours behind one proxy who use their keys do not suffer from somebody's.
        """
        digest = digest_of(text)
        known = self._known.get(digest)
        if known and self._clock() - known.asked < REMEMBERED:
            return known.key
        bearer, everybody = (address, id_in(text) or ""), (address, _EVERYBODY)
        self._refuse_if_barred(bearer, MOST_FAILURES)
        self._refuse_if_barred(everybody, MOST_OF_ADDRESS)
        key = self._find(text, digest)
        if key is None:
            self._note_failure(bearer)
            self._note_failure(everybody)
            raise UnknownKey
        return key

    def standing(self, key_id: str, find: Callable[[str], ApiKey | None]) -> ApiKey | None:
        """Return the key of a session if it is still good; `find` looks it up in the ledger.

        While that is away, the copy in Redis decides. Raises LedgerUnavailable, SchemaOutdated where neither
        tells.
        """
        known = self._known.get(key_id)
        if known and self._clock() - known.asked < REMEMBERED:
            return known.key
        try:
            key = self._ask_ledger(lambda: find(key_id))
        except (LedgerUnavailable, SchemaOutdated) as outage:
            found = self._find_copy(key_id)
            if found is None:
                raise
            self._note(outage)
            key = found.key
        now = self._clock()
        self._remember(key_id, _Known(key, now, now) if key else None)
        return key

    def _find(self, text: str, digest: str) -> ApiKey | None:
        now = looked_up = self._clock()
        try:
            key = self._ask_ledger(lambda: self._recognise(text))
        except (LedgerUnavailable, SchemaOutdated) as outage:
            found = self._find_copy(id_in(text))
            known = self._known.get(digest)
            if found is not None:
                key = found.key if matches(text, found.digest) else None
            elif known is not None and now - known.looked_up < AWAY:
                key, looked_up = known.key, known.looked_up
            else:
                raise
            self._note(outage)
        self._remember(digest, _Known(key, looked_up, self._clock()) if key else None)
        return key

    def _ask_ledger(self, ask: Callable[[], ApiKey | None]) -> ApiKey | None:
        """Ask, unless the database was away a moment ago: one that hangs must not hold up each request."""
        with self._lock:
            outage = self._outage
            if outage is not None and self._clock() < outage.until:
                raise type(outage.error)(str(outage.error), outage.error.cause)
            if outage is not None:
                # This one finds out for all.
                self._outage = outage._replace(until=self._clock() + REMEMBERED)
        try:
            key = ask()
        except (LedgerUnavailable, SchemaOutdated) as error:
            self._outage = _Outage(error, self._clock() + REMEMBERED)
            raise
        self._outage = None
        return key

    def _find_copy(self, key_id: str | None) -> Found | None:
        try:
            return self._copied(key_id) if key_id else None
        except BrokerUnavailable as error:
            self._note(error)
            return None

    def _remember(self, digest: str, known: _Known | None) -> None:
        with self._lock:
            self._known.pop(digest, None)
            if known is not None:
                self._known[digest] = known
                _shorten(self._known)

    def _refuse_if_barred(self, bearer: tuple[str, str], most: int) -> None:
        failures = self._failures.get(bearer)
        if failures is None or failures.number < most:
            return
        left = failures.since + FAILURE_SECONDS - self._clock()
        if left > 0:
            raise TooManyFailures(left)

    def _note_failure(self, bearer: tuple[str, str]) -> None:
        now = self._clock()
        with self._lock:
            before = self._failures.pop(bearer, _Failures(0, now))
            if now - before.since >= FAILURE_SECONDS:
                before = _Failures(0, now)
            self._failures[bearer] = _Failures(before.number + 1, before.since)
            _shorten(self._failures)


def _shorten(remembered: "OrderedDict[str, _Known] | OrderedDict[tuple[str, str], _Failures]") -> None:
    while len(remembered) > _MOST_REMEMBERED:
        remembered.popitem(last=False)
