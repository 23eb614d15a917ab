"""What names lead to: asked when a connection is made, and again in the background while it is kept.

A look-up costs no send any time: its answer serves the sends that follow. One that fails changes nothing, for
a resolver that is away is no reason to part with a connection that works.
"""

import os
import socket
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from time import monotonic

from worker.model.errors import ConnectFailed, ConnectTimedOut, NameUnknown, TransportError
from worker.transports.dialer import Address
from worker.transports.shortages import no_thread, short_of_descriptors, shortage

#: A look-up that takes longer than this, in seconds, is given up, unless the caller says otherwise.
LOOK_UP_TIMEOUT = 10.0

#: For so many seconds a send waits for a look-up that is overdue because nothing was sent for a while.
_OVERDUE_WAIT = 0.5
#: No resolver takes so many seconds: who asked is gone.
_LONGEST_HANG = 120.0
#: So many names are remembered; the one that was looked up longest ago is forgotten first.
_MOST_NAMES = 10_000

#: While an answer is waited for, a name is asked for no more often than once in so many seconds.
_MOST_OFTEN = 1.0

#: All addresses of a name, in the resolver's order, and why each may not be dialled, or None.
Judged = Mapping[Address, str | None]
#: A host and a port.
Place = tuple[str, int]
Judge = Callable[[Address], str | None]
Begin = Callable[[], "Future[list[Address]]"]


def look_up(host: str, port: int, kind: socket.SocketKind, timeout: float) -> list[Address]:
    """Return the addresses of the host, in the resolver's order.

    Raises NameUnknown if the name does not resolve, ConnectTimedOut if that takes longer than `timeout`
    seconds, and ConnectFailed (OutOfResources) where this machine cannot ask.
    """
    try:
        return begin_look_up(host, port, kind).result(timeout)
    except TimeoutError:
        raise ConnectTimedOut(f"{host} did not resolve within {timeout:g} s: check the DNS") from None


def begin_look_up(host: str, port: int, kind: socket.SocketKind) -> Future[list[Address]]:
    """Begin to look up the host, in a thread, because getaddrinfo has no timeout of its own.

    A thread whose answer is given up ends when the resolver does (after half a minute with glibc's
    defaults); as a daemon, it does not hold up the end of the process. An address needs no thread, in any
    spelling that the resolver knows (0x7f.1, 2130706433). Raises OutOfResources where no thread can be
    started; the future has what else `look_up` raises.
    """
    answer: Future[list[Address]] = Future()
    try:
        _answer(answer, host, port, kind, socket.AI_NUMERICHOST)
    except socket.gaierror:
        asks = threading.Thread(
            target=_ask, args=(answer, host, port, kind), name=f"look up {host}", daemon=True
        )
        try:
            asks.start()
        except RuntimeError:
            raise no_thread(f"look up {host}") from None
    except (OSError, ValueError) as error:
        answer.set_exception(_fault(error, host))
    return answer


def _ask(answer: Future[list[Address]], host: str, port: int, kind: socket.SocketKind) -> None:
    try:
        _answer(answer, host, port, kind)
    except (OSError, ValueError) as error:
        answer.set_exception(_fault(error, host))


def _answer(
    answer: Future[list[Address]], host: str, port: int, kind: socket.SocketKind, flags: int = 0
) -> None:
    rows = socket.getaddrinfo(host, port, type=kind, flags=flags)
    found = [Address(family, kind, protocol, target) for family, kind, protocol, _, target in rows]
    answer.set_result(list(dict.fromkeys(found)))


#: That there is no such name, or no address of it.
_NO_SUCH_NAME = frozenset({socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)})


def _fault(error: OSError | ValueError, host: str) -> TransportError:
    if isinstance(error, socket.gaierror):
        # glibc calls a name unknown when it cannot open its files, or a socket to the DNS.
        if (lack := short_of_descriptors()) is not None:
            return lack
        unknown = NameUnknown(f"{host} does not resolve ({error.strerror}): check the name, or the DNS")
        unknown.is_denied = error.errno in _NO_SUCH_NAME
        return unknown
    if isinstance(error, OSError):  # of Python itself, which reads files for some names
        words = f"cannot look {host} up: {os.strerror(error.errno or 0)}"
        return shortage(error.errno or 0, words) or ConnectFailed(words)
    return NameUnknown(f"{host!r} cannot be a host name: check its spelling")


@dataclass(slots=True)
class _Name:
    """What is known of one name; moments are in monotonic seconds."""

    judged: Judged
    #: When it was asked for, when addresses came, and when the DNS has said anything of it, last.
    asked: float
    answered: float
    heard: float
    under_way: threading.Event | None = None


class Names:
    """The last answer about each name. Shared by threads; names that are used are asked for again."""

    def __init__(self, every: float) -> None:
        """Ask for a name that is used once in so many seconds."""
        self._every = every
        self._lock = threading.Lock()
        self._known: dict[Place, _Name] = {}

    def learn(self, place: Place, judged: Judged) -> None:
        """Take the answer to a look-up that was just made."""
        now = monotonic()
        with self._lock:
            self._known.pop(place, None)
            self._known[place] = _Name(judged, now, now, now)
            if len(self._known) > _MOST_NAMES:
                del self._known[next(iter(self._known))]

    def judged(self, place: Place, stale: float) -> Judged | None:
        """Return the last answer; None where there is none, or the DNS denies it for `stale` seconds."""
        known = self._known.get(place)
        return known.judged if known is not None and known.heard - known.answered <= stale else None

    def heard(self, place: Place) -> float:
        """Return when the DNS has said anything of the name, in monotonic seconds; 0 for never."""
        known = self._known.get(place)
        return known.heard if known is not None else 0.0

    def refresh(
        self, place: Place, begin: Begin, judge: Judge, *, wants: float = 0.0, waits: bool = True
    ) -> None:
        """Begin another look-up if the last one is old, or what it brought was heard before `wants`.

        `waits`: if that matters to this very send, or nothing was sent for a while, wait a moment for it.
        """
        now = monotonic()
        with self._lock:
            known = self._known.get(place)
            if known is None:
                return
            age = now - known.asked
            if known.under_way is not None and age < _LONGEST_HANG:
                return
            if age < (self._every if known.heard >= wants else min(self._every, _MOST_OFTEN)):
                return
            is_overdue = known.heard < wants or age >= 2 * self._every
            known.asked = now
            known.under_way = done = threading.Event()
        try:
            begin().add_done_callback(lambda answer: self._take(known, done, answer, judge))
        except TransportError:  # no thread to ask with
            self._settle(known, done)
        if waits and is_overdue:
            done.wait(_OVERDUE_WAIT)

    def _take(self, known: _Name, done: threading.Event, answer: Future[list[Address]], judge: Judge) -> None:
        error = answer.exception()
        if error is None:
            known.judged = {address: judge(address) for address in answer.result()}
            known.answered = known.heard = monotonic()
        elif isinstance(error, NameUnknown) and error.is_denied:
            known.heard = monotonic()
        self._settle(known, done)

    def _settle(self, known: _Name, done: threading.Event) -> None:
        with self._lock:
            known.under_way = None
        done.set()
