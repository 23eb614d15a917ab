"""Fair shares of the API, and what was refused to those who use more: counted for `/metrics`, and logged.

Refusals come by the thousand, so each kind and each offender is logged once a minute, with the number.

Divides what there is among those who ask for it: no one may hold more than is still free.

One alone gets half of it, two get a third each, and however many take all that they can, there is as much
left for who comes next. (Dynamic thresholds, as switches divide their memory among ports: Choudhury and
Hahne, IEEE/ACM Transactions on Networking 6(2), 1998.)
"""

import logging
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Hashable, Iterable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from ipaddress import IPv6Address, ip_address, ip_network
from typing import NamedTuple

from worker.broker.connection import Client
from worker.broker.counters import SharedCounters
from worker.model.errors import BrokerUnavailable
from worker.model.log_events import REQUEST_NOT_COUNTED, REQUEST_REFUSED

log = logging.getLogger(__name__)

#: One line for each offender in so many seconds, and so many offenders are remembered.
_LOG_EVERY = 60.0
_MOST_OFFENDERS = 1000
#: How often what was refused is added to the counts in Redis, in seconds.
SHARE_EVERY = 2.0


class RefusalReason(StrEnum):
    """Why a request or a connection was refused; the value is a label of a metric."""

    #: A tenant (an address, before the sign-in) has its share of the requests under way that use
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


#: What every process of the API refused, by reason.
REFUSED_REQUESTS = SharedCounters("api_refused", [reason.value for reason in RefusalReason])


class _Offence(NamedTuple):
    number: int
    logged: float


class _Book:
    """Counts refusals; may be shared between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._offences: OrderedDict[tuple[RefusalReason, str], _Offence] = OrderedDict()

    def note(self, why: RefusalReason, who: str) -> None:
        now = time.monotonic()
        with self._lock:
            REFUSED_REQUESTS.add(why.value)
            before = self._offences.pop((why, who), _Offence(0, now - _LOG_EVERY))
            number = before.number + 1
            is_due = now - before.logged >= _LOG_EVERY
            self._offences[why, who] = _Offence(0, now) if is_due else _Offence(number, before.logged)
            if len(self._offences) > _MOST_OFFENDERS:
                self._offences.popitem(last=False)
        if is_due:
            REQUEST_REFUSED.log(log, count=number, who=who, reason=why.value)


note_refusal = _Book().note


@contextmanager
def sharing_refusals(client: Client) -> Iterator[None]:
    """Add what this process refuses to the counts in Redis every two seconds, and when the block ends."""
    stopping = threading.Event()
    thread = threading.Thread(target=_share, args=(client, stopping), name="refusal-counts", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join(SHARE_EVERY)


def _share(client: Client, stopping: threading.Event) -> None:
    is_last = False
    while not is_last:
        is_last = stopping.wait(SHARE_EVERY)
        try:
            REFUSED_REQUESTS.flush(client)
        except BrokerUnavailable as error:
            REQUEST_NOT_COUNTED.log(log, error=str(error))


#: What one subscriber of IPv6 has at least (RFC 6177, section 2): its addresses are as good as one.
_PREFIX = 64
#: What a proxy of ours may have named in place of an address.
UNKNOWN = "unknown"


def origin_of(host: str | None) -> str:
    """Return the address that callers are distinguished by; of IPv6 the /64."""
    try:
        address = ip_address((host or "").partition("%")[0])
    except ValueError:
        return UNKNOWN
    if not isinstance(address, IPv6Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ip_network((address, _PREFIX), strict=False))


class Shares:
    """So much of something; for one event loop."""

    def __init__(self, total: int) -> None:
        """Begin with all of it free."""
        self.total = total
        self.held = 0
        self._of: Counter[Hashable] = Counter()

    @property
    def is_overdrawn(self) -> bool:
        """Whether more is held than there is."""
        return self.held > self.total

    def exceeds(self, holder: Hashable, parts: int = 1) -> bool:
        """Whether this holder has more than is free, or than one of so many parts of it."""
        return self._of.get(holder, 0) * parts > self.total - self.held

    def take(self, amount: int, holders: Iterable[Hashable]) -> None:
        """Give so much to these holders, who count as one; if it `exceeds` their shares, give it back."""
        self.held += amount
        for holder in holders:
            self._of[holder] += amount

    def give_back(self, amount: int, holders: Iterable[Hashable]) -> None:
        """Take back what `take` gave to the same holders."""
        self.held -= amount
        for holder in holders:
            self._of[holder] -= amount
            if not self._of[holder]:
                del self._of[holder]
