"""What the API refuses because somebody uses more than a share: counted for `/metrics`, and logged.

Refusals come by the thousand, so each kind and each offender is logged once a minute, with the number.
"""

import logging
import threading
import time
from collections import Counter, OrderedDict
from enum import StrEnum
from typing import NamedTuple

log = logging.getLogger(__name__)

#: One line for each offender in so many seconds, and so many offenders are remembered.
_LOG_EVERY = 60.0
_MOST_OFFENDERS = 1000


class RefusalReason(StrEnum):
    """Why a request or a connection was refused; the value is a label of a metric."""

    #: A tenant (an address, where nobody has signed in) has its share of the requests under way that use
    #: Redis and the database, or of the tests.
    THREADS_OF_ONE = "threads_of_one"
    #: All together have as many under way as this process takes.
    THREADS = "threads"
    #: A key or a tenant has its share of requests under way, whatever they wait for.
    REQUESTS_OF_KEY = "requests_of_key"
    #: An address has its share of requests under way without a key.
    REQUESTS_OF_ADDRESS = "requests_of_address"
    #: A key or a tenant holds its share of the memory for bodies.
    BODIES_OF_KEY = "bodies_of_key"
    #: An address holds its share of that memory, without a key.
    BODIES_OF_ADDRESS = "bodies_of_address"
    #: An address has its share of the connections, all of them busy.
    CONNECTIONS_OF_ADDRESS = "connections_of_address"
    #: All connections are busy.
    CONNECTIONS = "connections"
    #: Wrong keys beyond those that are answered 401.
    WRONG_KEYS = "wrong_keys"


class _Offence(NamedTuple):
    number: int
    logged: float


class _Book:
    """Counts refusals; may be shared between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._offences: OrderedDict[tuple[RefusalReason, str], _Offence] = OrderedDict()

    def note(self, why: RefusalReason, who: str) -> None:
        now = time.monotonic()
        with self._lock:
            self._counts[why.value] += 1
            before = self._offences.pop((why, who), _Offence(0, now - _LOG_EVERY))
            number = before.number + 1
            is_due = now - before.logged >= _LOG_EVERY
            self._offences[why, who] = _Offence(0, now) if is_due else _Offence(number, before.logged)
            if len(self._offences) > _MOST_OFFENDERS:
                self._offences.popitem(last=False)
        if is_due:
            log.warning("refused %s since the last line: %s of %s", number, why.value, who)

    def counts(self) -> dict[str, int]:
        with self._lock:
            return dict(self._counts)


_book = _Book()
note_refusal, refusal_counts = _book.note, _book.counts
