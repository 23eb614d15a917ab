"""Who knocks: an API key becomes a caller, with a tenant and a role, or is turned away.

Comes in: the text of a key and the address that it came from. Goes out: an ApiKey. Keys that were recognised
are remembered for some seconds, and for as long as the database is away: events can be published meanwhile.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

from worker.model.api_keys import ApiKey, digest_of, id_in
from worker.model.errors import LedgerUnavailable, SiemError

#: A key that was recognised is not looked up again for so long: it may open for so long after it was revoked.
#: While the database is away, it opens for `AWAY`. Both in seconds.
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


class Access:
    """Recognises callers; may be shared between threads."""

    def __init__(
        self, recognise: Callable[[str], ApiKey | None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Look keys up by this function, which may raise LedgerUnavailable; the clock tells seconds."""
        self._recognise = recognise
        self._clock = clock
        self._lock = threading.Lock()
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._failures: OrderedDict[tuple[str, str], _Failures] = OrderedDict()

    def admit(self, text: str, address: str) -> ApiKey:
        """Return the key of this text. Raises UnknownKey, TooManyFailures, LedgerUnavailable.

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

    def stands(self, key_id: str, find: Callable[[str], ApiKey | None]) -> bool:
        """Whether the key of a session is still good; `find` looks it up. Raises LedgerUnavailable."""
        now = self._clock()
        known = self._known.get(key_id)
        if known and now - known.looked_up < REMEMBERED:
            return True
        key = find(key_id)
        self._remember(key_id, _Known(key, now, now) if key else None)
        return key is not None

    def _find(self, text: str, digest: str) -> ApiKey | None:
        try:
            key = self._recognise(text)
        except LedgerUnavailable:
            known = self._known.get(digest)
            if known is None or self._clock() - known.looked_up >= AWAY:
                raise
            self._remember(digest, known._replace(asked=self._clock()))
            return known.key
        now = self._clock()
        self._remember(digest, _Known(key, now, now) if key else None)
        return key

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
